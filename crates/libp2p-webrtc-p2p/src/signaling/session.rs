//! One attempt at a direct connection, as rules: what the other side and the browser say goes in, what to do comes out.
//!
//! No I/O, no clock: the deadline is the caller's, and so is the choice between two attempts that cross.
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
};

use thiserror::Error;

use super::{
    candidate::{Candidate, Kind, Told},
    message::Message,
};

/// Candidates used of each side; those after are left out. A device with six addresses and a STUN server has about 20.
pub const CANDIDATES_MAX: usize = 64;

/// Messages read of one attempt, whatever they say. The one after ends it.
pub const MESSAGES_MAX: usize = 128;

/// Who begins: the side that dialed offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Offerer,
    Answerer,
}

/// The states of `RTCPeerConnection.connectionState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    New,
    Connecting,
    Connected,
    /// May recover.
    Disconnected,
    /// Will not.
    Failed,
    Closed,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    Received(Message),
    /// The other side has closed its half of the stream.
    Ended,
    /// Our offer or answer, asked for by [`Output::MakeOffer`] or [`Output::MakeAnswer`], is there.
    Described(String),
    /// The other side's answer, given by [`Output::ApplyAnswer`], is in place.
    Applied,
    /// We can be reached there.
    Found(Candidate),
    State(ConnectionState),
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Create the channel `init` and an offer, and set it as the local description.
    MakeOffer,
    /// Set this offer as the remote description, create an answer and set it as the local description.
    MakeAnswer(String),
    /// Set this answer as the remote description.
    ApplyAnswer(String),
    AddCandidate(Candidate),
    Send(Message),
    /// The direct connection stands; nothing comes after.
    Connected,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    #[error("the peer closed the signalling stream before it had answered")]
    EndedEarly,
    #[error("the peer sent an offer that nobody asked for")]
    UnexpectedOffer,
    #[error("the peer sent an answer that nobody asked for")]
    UnexpectedAnswer,
    #[error("the peer offers something else than one set of data channels")]
    NotDataOnly,
    #[error("the peer sent more than {MESSAGES_MAX} signalling messages")]
    TooManyMessages,
    #[error("no path between the two devices works")]
    NoPath,
    #[error("the connection was closed while it was being made")]
    Closed,
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    MakingOffer,
    AwaitingAnswer,
    ApplyingAnswer,
    AwaitingOffer,
    MakingAnswer,
    /// Both descriptions are in place and paths are being tried.
    Connecting,
    Connected,
}

/// What was tried, for whoever asks why there is no connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Candidates of ours that were sent, by kind.
    pub ours: BTreeMap<Kind, usize>,
    /// Candidates of theirs that were used, by kind.
    pub theirs: BTreeMap<Kind, usize>,
    /// Where we are seen from outside.
    pub our_outside: BTreeSet<IpAddr>,
    /// Where they are.
    pub their_outside: BTreeSet<IpAddr>,
    /// Candidates of theirs that could not be read, or were too many.
    pub skipped: usize,
}

#[derive(Debug)]
pub struct Session {
    role: Role,
    stage: Stage,
    outputs: VecDeque<Output>,
    /// Ours, found before our description was sent.
    unsent: Vec<Candidate>,
    /// Theirs, received before their description was in place.
    early: Vec<Candidate>,
    received: usize,
    tried: Tried,
}

impl Session {
    pub fn new(role: Role) -> Self {
        let (stage, first) = match role {
            Role::Offerer => (Stage::MakingOffer, Some(Output::MakeOffer)),
            Role::Answerer => (Stage::AwaitingOffer, None),
        };
        Self {
            role,
            stage,
            outputs: first.into_iter().collect(),
            unsent: Vec::new(),
            early: Vec::new(),
            received: 0,
            tried: Tried::default(),
        }
    }

    pub fn stage(&self) -> Stage {
        self.stage
    }

    pub fn tried(&self) -> &Tried {
        &self.tried
    }

    /// The next thing to do, if there is one already.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// After an error the attempt is over: the stream is reset and the connection closed.
    pub fn handle(&mut self, input: Input) -> Result<(), Failure> {
        match input {
            Input::Received(message) => self.receive(message),
            Input::Ended => self.ended(),
            Input::Described(description) => {
                self.described(description);
                Ok(())
            }
            Input::Applied => {
                if self.stage == Stage::ApplyingAnswer {
                    self.connect();
                }
                Ok(())
            }
            Input::Found(candidate) => {
                self.found(candidate);
                Ok(())
            }
            Input::State(state) => self.state_changed(state),
        }
    }

    fn receive(&mut self, message: Message) -> Result<(), Failure> {
        self.received += 1;
        if self.received > MESSAGES_MAX {
            return Err(Failure::TooManyMessages);
        }
        match message {
            Message::Candidate(json) => {
                self.candidate_received(&json);
                Ok(())
            }
            Message::Offer(sdp) if self.stage == Stage::AwaitingOffer => {
                check_data_only(&sdp)?;
                self.stage = Stage::MakingAnswer;
                self.outputs.push_back(Output::MakeAnswer(sdp));
                Ok(())
            }
            Message::Answer(sdp) if self.stage == Stage::AwaitingAnswer => {
                check_data_only(&sdp)?;
                self.stage = Stage::ApplyingAnswer;
                self.outputs.push_back(Output::ApplyAnswer(sdp));
                Ok(())
            }
            Message::Offer(_) => Err(Failure::UnexpectedOffer),
            Message::Answer(_) => Err(Failure::UnexpectedAnswer),
        }
    }

    fn candidate_received(&mut self, json: &str) {
        let used = self.early.len() + self.tried.theirs.values().sum::<usize>();
        match Told::parse(json) {
            Told::End => {}
            Told::Candidate(candidate) if used < CANDIDATES_MAX => match self.stage {
                Stage::Connecting => self.add(candidate),
                Stage::Connected => {}
                _ => self.early.push(candidate),
            },
            Told::Candidate(_) | Told::Unusable => self.tried.skipped += 1,
        }
    }

    fn add(&mut self, candidate: Candidate) {
        *self.tried.theirs.entry(candidate.kind()).or_default() += 1;
        self.tried.their_outside.extend(candidate.outside());
        self.outputs.push_back(Output::AddCandidate(candidate));
    }

    /// Nothing more comes. What is there may be enough, once both descriptions are.
    fn ended(&self) -> Result<(), Failure> {
        match self.stage {
            Stage::MakingOffer | Stage::AwaitingAnswer | Stage::AwaitingOffer => Err(Failure::EndedEarly),
            Stage::ApplyingAnswer | Stage::MakingAnswer | Stage::Connecting | Stage::Connected => Ok(()),
        }
    }

    fn described(&mut self, sdp: String) {
        let message = match self.stage {
            Stage::MakingOffer => Message::Offer(sdp),
            Stage::MakingAnswer => Message::Answer(sdp),
            _ => return,
        };
        self.outputs.push_back(Output::Send(message));
        for candidate in std::mem::take(&mut self.unsent) {
            self.send(&candidate);
        }
        match self.role {
            Role::Offerer => self.stage = Stage::AwaitingAnswer,
            Role::Answerer => self.connect(),
        }
    }

    /// Both descriptions are in place.
    fn connect(&mut self) {
        self.stage = Stage::Connecting;
        for candidate in std::mem::take(&mut self.early) {
            self.add(candidate);
        }
    }

    fn found(&mut self, candidate: Candidate) {
        if self.unsent.len() + self.tried.ours.values().sum::<usize>() >= CANDIDATES_MAX {
            return;
        }
        match self.stage {
            Stage::MakingOffer | Stage::AwaitingOffer | Stage::MakingAnswer => self.unsent.push(candidate),
            Stage::AwaitingAnswer | Stage::ApplyingAnswer | Stage::Connecting => self.send(&candidate),
            Stage::Connected => {}
        }
    }

    fn send(&mut self, candidate: &Candidate) {
        *self.tried.ours.entry(candidate.kind()).or_default() += 1;
        self.tried.our_outside.extend(candidate.outside());
        self.outputs.push_back(Output::Send(Message::Candidate(candidate.to_json())));
    }

    fn state_changed(&mut self, state: ConnectionState) -> Result<(), Failure> {
        match (state, self.stage) {
            (_, Stage::Connected) => Ok(()),
            (ConnectionState::Connected, Stage::ApplyingAnswer | Stage::Connecting) => {
                self.stage = Stage::Connected;
                // Candidates that are still to be sent or added are of no more use; an answer is waited for.
                self.outputs.retain(|output| matches!(output, Output::Send(Message::Answer(_))));
                self.outputs.push_back(Output::Connected);
                Ok(())
            }
            (ConnectionState::Failed, _) => Err(Failure::NoPath),
            (ConnectionState::Closed, _) => Err(Failure::Closed),
            _ => Ok(()),
        }
    }
}

/// A description may ask for data channels and for nothing else: media would cost what nobody asked for.
fn check_data_only(sdp: &str) -> Result<(), Failure> {
    let mut media = sdp.lines().filter(|line| line.starts_with("m="));
    match (media.next(), media.next()) {
        (Some(line), None) if line.starts_with("m=application ") => Ok(()),
        _ => Err(Failure::NotDataOnly),
    }
}

#[cfg(test)]
mod tests;
