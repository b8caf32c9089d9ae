//! What other servers sent or answered and we refused, and by which rule: said in one place, so that a log tells why a
//! room is as it is, and nobody fills it at will.
use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    num::NonZeroUsize,
};

use super::Homeserver;
use crate::domain::rate_limit::{Buckets, Rate};

/// What these lines of the log are found by.
pub const REFUSED: &str = "warren::refused";
/// The most characters of a rule that are told, to whoever broke it and in the log: rules quote what they refuse.
pub const RULE_MAX_CHARS: usize = 300;
/// How many refusals of one server are said: what a few transactions hold, then ten a second. The rest are counted.
const SAID_RATE: Rate = Rate { burst: 500, refill_ms: 100 };
const SERVERS_REMEMBERED: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

pub struct Refusals {
    said: RefCell<Buckets<String>>,
    /// How many were not said since the last one that was.
    unsaid: Cell<u64>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { said: RefCell::new(Buckets::new(SAID_RATE, SERVERS_REMEMBERED)), unsaid: Cell::default() }
    }
}

/// Says that `what` (an event id, a request) of `of`, a server or whatever connects, was refused, and by which `rule`.
pub fn note(server: &Homeserver, of: &(impl AsRef<str> + ?Sized), what: &dyn Display, rule: &dyn Display) {
    let (refusals, of) = (&server.refusals, of.as_ref());
    let now_ms = server.environment.clock.now_ms();
    if refusals.said.borrow_mut().take(of.to_string(), 1, now_ms).is_err() {
        refusals.unsaid.set(refusals.unsaid.get() + 1);
        return;
    }
    let (unsaid, what, rule) = (refusals.unsaid.take(), told(what), told(rule));
    tracing::info!(target: REFUSED, %of, %what, %rule, unsaid, "refused");
}

/// The text in one line of [`RULE_MAX_CHARS`] at most: what it quotes may be an event of 64 KiB, or make other lines up.
pub fn told(text: &dyn Display) -> String {
    let visible = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    text.to_string().chars().take(RULE_MAX_CHARS).map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_told_in_one_short_line() {
        assert_eq!(
            told(&"event_id: \"$x\"\nWARN all is well\u{1b}[2J"),
            "event_id: \"$x\"\u{fffd}WARN all is well\u{fffd}[2J"
        );
        assert_eq!(told(&"é".repeat(70_000)).chars().count(), RULE_MAX_CHARS);
    }
}
