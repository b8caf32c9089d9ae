//! Two ends of a stream against a model of what was written, however the bytes are cut and whatever is done when.
use proptest::prelude::*;

use super::*;
use crate::stream::frame;

#[derive(Clone, Copy, Debug)]
enum Act {
    Write(usize),
    Read(usize),
    Finish,
    Abandon,
    Reset,
    /// Lets so many bytes arrive.
    Deliver(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_usize..3000).prop_map(Act::Write),
        6 => (0_usize..3000).prop_map(Act::Read),
        1 => Just(Act::Finish),
        1 => Just(Act::Abandon),
        1 => Just(Act::Reset),
        12 => (1_usize..4000).prop_map(Act::Deliver),
    ]
}

/// One end, and what a user of it may believe.
#[derive(Default)]
struct End {
    state: State,
    /// On the way to this end.
    wire: Vec<u8>,
    written: Vec<u8>,
    read: Vec<u8>,
    finished: bool,
    abandoned: bool,
    reset: bool,
    saw_end: bool,
}

impl End {
    fn say(&mut self, flags: impl IntoIterator<Item = Flag>, other: &mut Vec<u8>) {
        flags.into_iter().for_each(|flag| other.extend_from_slice(&frame::flag(flag)));
    }

    fn act(&mut self, act: Act, other: &mut Vec<u8>) {
        match act {
            Act::Write(length) if self.state.check_writable().is_ok() && !self.abandoned => {
                let from = self.written.len();
                self.written.extend((from..from + length).map(|n| (n % 251) as u8));
                other.extend_from_slice(&frame::data(&self.written[from..]));
            }
            Act::Read(length) if !self.abandoned => self.read_up_to(length),
            Act::Finish => {
                let fin = self.state.finish();
                self.finished |= fin.is_some();
                self.say(fin, other);
            }
            Act::Abandon if !self.abandoned => {
                self.abandoned = true;
                self.reset |= self.state.check_writable().is_ok();
                let flags = self.state.abandon();
                assert!(!(self.state.stopped && flags.contains(&Flag::Reset)), "STOP_SENDING is not answered by RESET");
                self.finished |= flags.contains(&Flag::Fin);
                self.say(flags, other);
            }
            Act::Reset => {
                self.reset = true;
                let reset = self.state.reset();
                self.say(reset, other);
            }
            Act::Deliver(length) => {
                let arrived: Vec<u8> = self.wire.drain(..length.min(self.wire.len())).collect();
                let answers = self.state.receive(&arrived);
                self.say(answers, other);
            }
            Act::Write(_) | Act::Read(_) | Act::Abandon => {}
        }
    }

    fn read_up_to(&mut self, length: usize) {
        let mut buffer = vec![0; length];
        match self.state.read(&mut buffer) {
            ReadOutcome::Data(length) => {
                assert!(length == 0 || !self.saw_end, "nothing comes after the end");
                self.read.extend_from_slice(&buffer[..length]);
            }
            ReadOutcome::End => self.saw_end = true,
            ReadOutcome::Nothing | ReadOutcome::Broken(_) => {}
        }
    }
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(acts in proptest::collection::vec((any::<bool>(), act()), 0..80)) {
        let (mut one, mut two) = (End::default(), End::default());
        for (first, act) in acts {
            let (end, other) = if first { (&mut one, &mut two) } else { (&mut two, &mut one) };
            end.act(act, &mut other.wire);
            prop_assert!(other.written.starts_with(&end.read));
            prop_assert!(!end.saw_end || other.finished || end.abandoned, "an end that nobody announced");
            let held: usize = end.state.unread.iter().map(|piece| piece.len() + PIECE_BYTES).sum();
            prop_assert_eq!(end.state.unread_bytes(), held);
            prop_assert!(held <= UNREAD_MAX_BYTES);
        }
        // Both say that they are through, and everything arrives.
        for _ in 0..4 {
            one.act(Act::Finish, &mut two.wire);
            two.act(Act::Finish, &mut one.wire);
            one.act(Act::Deliver(usize::MAX), &mut two.wire);
            two.act(Act::Deliver(usize::MAX), &mut one.wire);
        }
        prop_assert!(one.wire.is_empty() && two.wire.is_empty(), "nobody answers answers");
        prop_assert!(one.state.is_over() && two.state.is_over());
        if !(one.reset || two.reset) {
            let (one_written, two_written) = (one.written.clone(), two.written.clone());
            for (end, written) in [(&mut one, &two_written), (&mut two, &one_written)] {
                end.read_up_to(usize::from(!end.abandoned) * 400_000);
                end.read_up_to(1);
                prop_assert!(end.abandoned || (&end.read == written && end.saw_end));
            }
        }
    }

    #[test]
    fn no_bytes_are_a_panic(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..20)) {
        let mut state = State::default();
        for piece in pieces {
            prop_assert!(state.receive(&piece).len() <= 60);
        }
    }
}

fn read_all(state: &mut State) -> (Vec<u8>, ReadOutcome) {
    let (mut all, mut buffer) = (Vec::new(), [0; 1000]);
    loop {
        match state.read(&mut buffer) {
            ReadOutcome::Data(length) => all.extend_from_slice(&buffer[..length]),
            outcome => return (all, outcome),
        }
    }
}

#[test]
fn the_answer_can_be_read_after_writing_has_ended() {
    let mut state = State::default();
    assert_eq!(state.finish(), Some(Flag::Fin));
    assert_eq!(state.finish(), None, "it is said once");
    assert!(state.check_writable().is_err());
    assert_eq!(state.receive(&frame::flag(Flag::FinAck)), []);
    assert_eq!(state.receive(&frame::data(b"answer")), []);
    assert!(!state.is_over());
    // Data and FIN in one frame, as some send it.
    assert_eq!(state.receive(b"\x05\x08\x00\x12\x01!"), [Flag::FinAck]);
    assert!(state.is_over());
    assert_eq!(read_all(&mut state), (b"answer!".to_vec(), ReadOutcome::End));
}

#[test]
fn a_closed_channel_leaves_what_had_arrived() {
    let mut state = State::default();
    state.receive(&frame::data(b"half"));
    state.channel_closed();
    assert_eq!(read_all(&mut state), (b"half".to_vec(), ReadOutcome::Broken(Broken::ChannelClosed)));
    let mut state = State::default();
    state.receive(&frame::data(b"all"));
    state.receive(&frame::flag(Flag::Fin));
    state.channel_closed();
    assert_eq!(read_all(&mut state), (b"all".to_vec(), ReadOutcome::End));
    assert!(state.check_writable().is_err());
}

#[test]
fn flags_are_heeded_after_reading_was_stopped() {
    let mut state = State::default();
    assert_eq!(state.finish(), Some(Flag::Fin));
    assert_eq!(state.abandon(), [Flag::StopSending]);
    state.receive(&frame::data(b"nobody reads this"));
    assert_eq!(state.unread_bytes(), 0);
    assert_eq!(state.receive(&frame::flag(Flag::Fin)), [Flag::FinAck]);
    assert!(!state.is_over());
    state.receive(&frame::flag(Flag::FinAck));
    assert!(state.is_over());
}

#[test]
fn a_reader_who_does_not_read_costs_no_more_than_the_limit() {
    let mut state = State::default();
    let frame = frame::data(&[0; frame::PAYLOAD_MAX_BYTES]);
    let mut answers = Vec::new();
    while answers.is_empty() {
        answers = state.receive(&frame);
        assert!(state.unread_bytes() <= UNREAD_MAX_BYTES);
    }
    assert_eq!(answers, [Flag::Reset]);
    assert_eq!(read_all(&mut state), (vec![], ReadOutcome::Broken(Broken::TooMuchUnread)));
    // Tiny pieces cost more than their bytes.
    let (mut state, mut count) = (State::default(), 0);
    while state.receive(&frame::data(b"x")).is_empty() {
        count += 1;
    }
    assert!(count <= UNREAD_MAX_BYTES / PIECE_BYTES);
}

#[test]
fn frames_that_are_too_long_or_no_frames_reset_the_stream() {
    let mut long = Vec::new();
    crate::unframe::put_length(FRAME_MAX_BYTES - 1, &mut long);
    long.resize(FRAME_MAX_BYTES + 1, 0);
    let announced: &[u8] = b"\x81\x80\x01";
    for bytes in [&long[..], announced, b"\xff\xff\xff\xff", b"\x03\x12\x05x"] {
        let mut state = State::default();
        assert_eq!(state.receive(bytes), [Flag::Reset], "{:?}", &bytes[..3]);
        assert!(matches!(state.read(&mut [0]), ReadOutcome::Broken(Broken::Invalid(_))));
        assert!(state.is_over());
        assert_eq!(state.receive(bytes), [], "it is said once");
    }
}
