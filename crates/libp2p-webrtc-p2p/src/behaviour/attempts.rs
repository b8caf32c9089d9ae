//! Attempts that are under way, and what becomes of them.
use std::task::{Context, Poll};

use futures::FutureExt;
use futures_timer::Delay;
use libp2p_identity::PeerId;
use libp2p_swarm::{ConnectionId, Stream, ToSwarm};

use super::{ARRIVAL_S, Behaviour, CIRCUIT_S, Event, FAREWELLS_MAX, YIELD_S, after};
use crate::{
    backend::PeerConnection,
    error::Error,
    handler::OPENING_S,
    negotiation::{Concluded, Farewell, Negotiation},
    signaling::session::{Role, Stage as SessionStage, Tried},
    transport::{Answer, Notice},
};

/// The one attempt at a connection to a peer.
pub(super) struct Attempt {
    /// Tells its streams from those of earlier attempts.
    pub number: u64,
    pub stage: Stage,
    /// Whoever dialed: one for an attempt of ours, any number up to the limit for one of theirs.
    pub answers: Vec<Answer>,
}

pub(super) enum Stage {
    /// The circuit is dialed as this connection.
    Circuit(ConnectionId, Delay),
    /// The offer is made while the signalling stream for it is still asked for.
    Offering(Option<Opening>, Box<Negotiation<Stream>>),
    /// The stream came by this connection.
    Answering(ConnectionId, Box<Negotiation<Stream>>),
    /// The peer refused our offer: its own is on its way.
    Yielded(Delay),
    /// The connection is there, and the swarm has still to take it.
    Arriving(Delay),
}

/// A stream is asked for.
pub(super) struct Opening {
    connection: ConnectionId,
    deadline: Delay,
}

impl Stage {
    pub fn circuit(connection: ConnectionId) -> Self {
        Self::Circuit(connection, after(CIRCUIT_S))
    }

    /// `made` offers by a stream that is asked for on `connection`.
    pub fn offering(connection: ConnectionId, made: Box<dyn PeerConnection>) -> Self {
        let opening = Opening { connection, deadline: after(OPENING_S) };
        Self::Offering(Some(opening), Box::new(Negotiation::new(Role::Offerer, None, made)))
    }

    /// Whether a stream is asked for on `connection`.
    pub fn opens_on(&self, connection: ConnectionId) -> bool {
        matches!(self, Self::Offering(Some(opening), _) if opening.connection == connection)
    }
}

impl Attempt {
    /// Not begun by a dial of ours, or over already: more dials can wait for it.
    pub fn can_be_waited_for(&self) -> bool {
        matches!(self.stage, Stage::Answering(..) | Stage::Arriving(_))
    }

    /// The stream that was asked for is there; dropped, if it is not waited for any more.
    pub fn signal_over(&mut self, stream: Stream) {
        if let Stage::Offering(opening, negotiation) = &mut self.stage
            && opening.take().is_some()
        {
            negotiation.signal_over(stream);
        }
    }

    /// Whether everybody who asked for an attempt of ours has given up.
    fn is_unwanted(&mut self, context: &mut Context<'_>) -> bool {
        !self.can_be_waited_for() && self.answers.iter_mut().all(|answer| answer.poll_canceled(context).is_ready())
    }
}

/// What an attempt has come to.
enum Turn {
    Offered(Box<Concluded<Stream>>, SessionStage),
    Answered(Box<Concluded<Stream>>),
    Late(Error),
    Unwanted,
}

impl Behaviour {
    /// Returns whether anything has changed.
    pub(super) fn poll_attempts(&mut self, context: &mut Context<'_>) -> bool {
        let turn = self.attempts.iter_mut().find_map(|(peer, attempt)| Some((*peer, poll(attempt, context)?)));
        let Some((peer, turn)) = turn else { return false };
        match turn {
            Turn::Offered(concluded, stage) => self.offer_concluded(peer, *concluded, stage),
            Turn::Answered(concluded) => self.answer_concluded(peer, *concluded),
            Turn::Late(error) => self.late(peer, error),
            Turn::Unwanted => drop(self.attempts.remove(&peer)),
        }
        true
    }

    fn offer_concluded(&mut self, peer: PeerId, Concluded { result, tried }: Concluded<Stream>, stage: SessionStage) {
        let unanswered = matches!(stage, SessionStage::MakingOffer | SessionStage::AwaitingAnswer);
        match result {
            Err(error) if unanswered && error.is_refusal() && self.local < peer => {
                if let Some(attempt) = self.attempts.get_mut(&peer) {
                    attempt.stage = Stage::Yielded(after(YIELD_S));
                }
            }
            Err(error) => {
                let refused = unanswered && error.is_refusal();
                self.tell(Event { peer, role: Role::Offerer, error: Some(error.to_string()), refused, tried });
                self.fail_with(peer, error);
            }
            Ok((connection, farewell)) => {
                self.part(farewell);
                self.tell(Event { peer, role: Role::Offerer, error: None, refused: false, tried });
                let Some(attempt) = self.attempts.get_mut(&peer) else { return };
                attempt.stage = Stage::Arriving(after(ARRIVAL_S));
                let taken = attempt.answers.pop().is_some_and(|answer| answer.send(Ok((peer, connection))).is_ok());
                if !taken {
                    // Whoever dialed gave up this moment: the connection is dropped, and closed.
                    self.attempts.remove(&peer);
                }
            }
        }
    }

    fn answer_concluded(&mut self, peer: PeerId, Concluded { result, tried }: Concluded<Stream>) {
        match result {
            Err(error) => {
                let error_text = Some(error.to_string());
                self.tell(Event { peer, role: Role::Answerer, error: error_text, refused: false, tried });
                self.fail_with(peer, error);
            }
            Ok((connection, farewell)) => {
                self.part(farewell);
                self.tell(Event { peer, role: Role::Answerer, error: None, refused: false, tried });
                if let Some(attempt) = self.attempts.get_mut(&peer) {
                    attempt.stage = Stage::Arriving(after(ARRIVAL_S));
                }
                let _ = self.notices.unbounded_send(Notice::Incoming(peer, Box::new(connection)));
            }
        }
    }

    fn late(&mut self, peer: PeerId, error: Error) {
        let stage = self.attempts.get(&peer).map(|attempt| &attempt.stage);
        if matches!(stage, Some(Stage::Arriving(_))) {
            return self.fail(peer, || Error::Superseded);
        }
        let refused = matches!(stage, Some(Stage::Yielded(_)));
        let (error_text, tried) = (Some(error.to_string()), Tried::default());
        self.tell(Event { peer, role: Role::Offerer, error: error_text, refused, tried });
        self.fail_with(peer, error);
    }

    /// The first who waits gets the error itself, the others its words.
    pub(super) fn fail_with(&mut self, peer: PeerId, error: Error) {
        let words = error.to_string();
        let error = std::cell::Cell::new(Some(error));
        self.fail(peer, || error.take().unwrap_or_else(|| Error::NotSignalled(words.clone())));
    }

    fn part(&mut self, farewell: Farewell<Stream>) {
        if self.farewells.len() < FAREWELLS_MAX {
            self.farewells.push(farewell);
        }
    }

    fn tell(&mut self, event: Event) {
        self.actions.push_back(ToSwarm::GenerateEvent(event));
    }
}

fn poll(attempt: &mut Attempt, context: &mut Context<'_>) -> Option<Turn> {
    if attempt.is_unwanted(context) {
        return Some(Turn::Unwanted);
    }
    let late = |delay: &mut Delay, context: &mut Context<'_>, error: Error| match delay.poll_unpin(context) {
        Poll::Ready(()) => Some(Turn::Late(error)),
        Poll::Pending => None,
    };
    match &mut attempt.stage {
        Stage::Circuit(_, delay) => {
            late(delay, context, Error::Circuit(format!("it took more than {CIRCUIT_S} seconds")))
        }
        Stage::Yielded(delay) => late(delay, context, Error::NotSignalled("it refused the offer".to_owned())),
        Stage::Arriving(delay) => late(delay, context, Error::Superseded),
        Stage::Offering(opening, negotiation) => match (negotiation.poll_unpin(context), opening) {
            (Poll::Ready(concluded), _) => Some(Turn::Offered(Box::new(concluded), negotiation.stage())),
            (Poll::Pending, Some(Opening { deadline, .. })) => {
                late(deadline, context, Error::NotSignalled("it does not answer".to_owned()))
            }
            (Poll::Pending, None) => None,
        },
        Stage::Answering(_, negotiation) => match negotiation.poll_unpin(context) {
            Poll::Ready(concluded) => Some(Turn::Answered(Box::new(concluded))),
            Poll::Pending => None,
        },
    }
}
