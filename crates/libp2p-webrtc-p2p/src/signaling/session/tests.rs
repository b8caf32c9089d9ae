//! Both sides of a session against a model of the two browsers, in every order of events; and one side against anybody.
use proptest::prelude::*;

use super::*;

const SDP: &str = "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";

fn candidate(number: usize) -> Candidate {
    Candidate {
        candidate: format!("candidate:{number} 1 udp 1 192.0.2.1 9 typ host"),
        sdp_mid: Some("0".to_owned()),
        sdp_m_line_index: Some(0),
        username_fragment: None,
    }
}

/// One side, its browser, and what is on the way to it.
struct Side {
    session: Session,
    inbox: VecDeque<Message>,
    /// What the browser has been asked for and not answered yet, in order.
    calls: VecDeque<Output>,
    remote_described: bool,
    described: bool,
    found: usize,
    to_find: usize,
    added: Vec<Candidate>,
    connected: bool,
}

impl Side {
    fn new(role: Role, to_find: usize) -> Self {
        Self {
            session: Session::new(role),
            inbox: VecDeque::new(),
            calls: VecDeque::new(),
            remote_described: false,
            described: false,
            found: 0,
            to_find,
            added: Vec::new(),
            connected: false,
        }
    }

    /// Does what the session asks for; messages go to `other`.
    fn obey(&mut self, other: &mut VecDeque<Message>) {
        while let Some(output) = self.session.next_output() {
            assert!(!self.connected, "nothing comes after the connection: {output:?}");
            match output {
                Output::Send(message) => other.push_back(message),
                Output::Connected => self.connected = true,
                call => self.calls.push_back(call),
            }
        }
    }

    /// Lets one of the things happen that may happen now. Returns whether there was one.
    fn step(&mut self, choice: usize, other: &mut VecDeque<Message>, linked: bool) -> bool {
        let mut inputs: Vec<fn(&mut Self) -> Option<Input>> = Vec::new();
        if !self.inbox.is_empty() {
            inputs.push(|side| side.inbox.pop_front().map(Input::Received));
        }
        if !self.calls.is_empty() {
            inputs.push(Self::browser_answers);
        }
        if self.described && self.found < self.to_find {
            inputs.push(|side| {
                side.found += 1;
                Some(Input::Found(candidate(side.found)))
            });
        }
        if linked && !self.connected {
            inputs.push(|_| Some(Input::State(ConnectionState::Connected)));
        }
        if inputs.is_empty() {
            return false;
        }
        if let Some(input) = inputs[choice % inputs.len()](self) {
            self.session.handle(input).expect("nobody breaks a rule");
        }
        self.obey(other);
        true
    }

    fn browser_answers(&mut self) -> Option<Input> {
        match self.calls.pop_front()? {
            Output::MakeOffer => {
                self.described = true;
                Some(Input::Described(SDP.to_owned()))
            }
            Output::MakeAnswer(_) => {
                self.described = true;
                self.remote_described = true;
                Some(Input::Described(SDP.to_owned()))
            }
            Output::ApplyAnswer(_) => {
                self.remote_described = true;
                Some(Input::Applied)
            }
            Output::AddCandidate(candidate) => {
                assert!(self.remote_described, "a browser refuses candidates before the description");
                self.added.push(candidate);
                None
            }
            other => panic!("{other:?} is no call"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn both_sides_connect_in_every_order_of_events(
        choices in proptest::collection::vec((any::<bool>(), 0_usize..4), 1..400),
        (ours, theirs) in (1_usize..8, 1_usize..8),
    ) {
        let mut offerer = Side::new(Role::Offerer, ours);
        let mut answerer = Side::new(Role::Answerer, theirs);
        offerer.obey(&mut answerer.inbox);
        // The last choices let everything that is left happen.
        let rest = (0..500).map(|n| (n % 2 == 0, n / 2));
        for (first, choice) in choices.into_iter().chain(rest) {
            // A path is there when each has tried an address of the other.
            let linked = !offerer.added.is_empty() && !answerer.added.is_empty();
            let (side, other) = if first { (&mut offerer, &mut answerer) } else { (&mut answerer, &mut offerer) };
            side.step(choice, &mut other.inbox, linked);
        }
        prop_assert!(offerer.connected && answerer.connected);
        for side in [&offerer, &answerer] {
            prop_assert_eq!(side.session.stage(), Stage::Connected);
            let mut once = side.added.clone();
            once.dedup();
            prop_assert_eq!(&once, &side.added, "each candidate once, in order");
        }
    }

    #[test]
    fn nobody_makes_a_session_grow_or_panic(
        offerer in any::<bool>(),
        inputs in proptest::collection::vec(hostile_input(), 0..400),
    ) {
        let mut session = Session::new(if offerer { Role::Offerer } else { Role::Answerer });
        let (mut sent, mut added, mut described) = (0, 0, 0);
        for input in inputs {
            let over = session.handle(input).is_err();
            prop_assert!(session.early.len() <= CANDIDATES_MAX && session.unsent.len() <= CANDIDATES_MAX);
            while let Some(output) = session.next_output() {
                match output {
                    Output::Send(Message::Candidate(_)) => sent += 1,
                    Output::Send(_) => described += 1,
                    Output::AddCandidate(_) => added += 1,
                    _ => {}
                }
            }
            if over {
                break;
            }
        }
        prop_assert!(sent <= CANDIDATES_MAX && added <= CANDIDATES_MAX && described <= 1);
    }
}

fn hostile_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        1 => Just(Input::Received(Message::Offer(SDP.to_owned()))),
        1 => Just(Input::Received(Message::Answer(SDP.to_owned()))),
        20 => (0_usize..300).prop_map(|n| Input::Received(Message::Candidate(candidate(n).to_json()))),
        2 => ".{0,20}".prop_map(|text| Input::Received(Message::Candidate(text))),
        1 => Just(Input::Ended),
        2 => Just(Input::Described(SDP.to_owned())),
        2 => Just(Input::Applied),
        5 => (0_usize..300).prop_map(|n| Input::Found(candidate(n))),
        1 => Just(Input::State(ConnectionState::Disconnected)),
    ]
}

fn offerer_awaiting_the_answer() -> Session {
    let mut session = Session::new(Role::Offerer);
    assert_eq!(session.next_output(), Some(Output::MakeOffer));
    session.handle(Input::Described(SDP.to_owned())).unwrap();
    assert_eq!(session.next_output(), Some(Output::Send(Message::Offer(SDP.to_owned()))));
    session
}

#[test]
fn what_comes_out_of_turn_ends_the_attempt() {
    let answer = || Input::Received(Message::Answer(SDP.to_owned()));
    let offer = || Input::Received(Message::Offer(SDP.to_owned()));
    assert_eq!(Session::new(Role::Answerer).handle(answer()), Err(Failure::UnexpectedAnswer));
    assert_eq!(Session::new(Role::Offerer).handle(answer()), Err(Failure::UnexpectedAnswer), "nothing was offered");
    assert_eq!(offerer_awaiting_the_answer().handle(offer()), Err(Failure::UnexpectedOffer));
    let mut twice = Session::new(Role::Answerer);
    twice.handle(offer()).unwrap();
    assert_eq!(twice.handle(offer()), Err(Failure::UnexpectedOffer));
}

#[test]
fn the_end_of_the_stream_matters_only_before_the_descriptions_are_there() {
    assert_eq!(Session::new(Role::Answerer).handle(Input::Ended), Err(Failure::EndedEarly));
    let mut session = offerer_awaiting_the_answer();
    assert_eq!(session.handle(Input::Ended), Err(Failure::EndedEarly));
    let mut session = offerer_awaiting_the_answer();
    session.handle(Input::Received(Message::Answer(SDP.to_owned()))).unwrap();
    assert_eq!(session.handle(Input::Ended), Ok(()));
}

#[test]
fn a_description_that_asks_for_media_is_refused() {
    for sdp in ["", "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", &format!("{SDP}m=video 9 x\r\n"), &format!("{SDP}{SDP}")] {
        let offer = Input::Received(Message::Offer(sdp.to_owned()));
        assert_eq!(Session::new(Role::Answerer).handle(offer), Err(Failure::NotDataOnly), "{sdp}");
    }
}

#[test]
fn a_flood_of_messages_ends_the_attempt_and_one_of_candidates_is_cut_off() {
    let mut session = Session::new(Role::Answerer);
    for n in 0..MESSAGES_MAX {
        session.handle(Input::Received(Message::Candidate(candidate(n).to_json()))).unwrap();
    }
    assert_eq!(session.early.len(), CANDIDATES_MAX);
    assert_eq!(session.tried().skipped, MESSAGES_MAX - CANDIDATES_MAX);
    let more = Input::Received(Message::Candidate(String::new()));
    assert_eq!(session.handle(more), Err(Failure::TooManyMessages));
}

#[test]
fn a_lost_path_may_come_back_while_a_failed_one_will_not() {
    let mut session = offerer_awaiting_the_answer();
    assert_eq!(session.handle(Input::State(ConnectionState::Disconnected)), Ok(()));
    assert_eq!(session.handle(Input::State(ConnectionState::Failed)), Err(Failure::NoPath));
    assert_eq!(offerer_awaiting_the_answer().handle(Input::State(ConnectionState::Closed)), Err(Failure::Closed));
}

#[test]
fn bad_candidates_are_skipped_and_the_end_of_them_needs_no_telling() {
    let mut session = offerer_awaiting_the_answer();
    for text in ["garbage", "null", "\"\"", ""] {
        session.handle(Input::Received(Message::Candidate(text.to_owned()))).unwrap();
    }
    assert_eq!(session.tried().skipped, 1);
    assert_eq!(session.next_output(), None);
}
