//! When to send to a server that may be asleep: the back-off of one destination, without clock or I/O.

/// The most PDUs one transaction carries (server-server API, "Transactions").
pub const TRANSACTION_PDUS_MAX: usize = 50;
/// The most EDUs one transaction carries (server-server API, "Transactions").
pub const TRANSACTION_EDUS_MAX: usize = 100;

/// The wait after the first failure, in milliseconds.
pub const OUTBOX_BACKOFF_MIN_MS: u64 = 1_000;
/// The longest wait between attempts, in milliseconds: a returning peer cuts it short, so it only bounds how often we
/// knock at a closed door.
pub const OUTBOX_BACKOFF_MAX_MS: u64 = 10 * 60 * 1_000;

/// The same for a server that got an invite and may share no room with us yet: it does not know us, and will not greet
/// us when it returns.
pub const OUTBOX_INVITE_BACKOFF_MAX_MS: u64 = 20 * 1_000;

/// The sending half of one destination. Times are milliseconds of any monotonic clock, always the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
    retry_at_ms: Option<u64>,
    in_flight: bool,
    seen_in_flight: bool,
}

impl Backoff {
    /// Whether a transaction may start now: none is under way and no wait is on.
    pub fn may_send(&self, now_ms: u64) -> bool {
        !self.in_flight && self.retry_at_ms.is_none_or(|retry_at_ms| now_ms >= retry_at_ms)
    }

    /// When to try again; `None` when no wait is on. While a transaction is under way it says nothing.
    pub fn retry_at_ms(&self) -> Option<u64> {
        self.retry_at_ms.filter(|_| !self.in_flight)
    }

    /// How many attempts in a row have failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A transaction goes out. One at a time: the order of events to a destination is kept.
    pub fn on_start(&mut self) {
        self.in_flight = true;
        self.seen_in_flight = false;
    }

    /// The transaction was answered.
    pub fn on_success(&mut self) {
        *self = Self::default();
    }

    /// The transaction was not answered. Returns when to try again, in milliseconds: doubling from
    /// [`OUTBOX_BACKOFF_MIN_MS`] to `max_ms`, of which `random` takes away up to half so that many servers do not wake
    /// one together.
    pub fn on_failure(&mut self, now_ms: u64, random: u64, max_ms: u64) -> u64 {
        // A peer that came back while this attempt was dying on its old connection is tried again soon.
        let failures = if self.seen_in_flight { 1 } else { self.failures.saturating_add(1) };
        let wait_ms =
            OUTBOX_BACKOFF_MIN_MS.saturating_mul(1u64.checked_shl(failures - 1).unwrap_or(u64::MAX)).min(max_ms);
        let retry_at_ms = now_ms.saturating_add(wait_ms - random % (wait_ms / 2));
        *self = Self { failures, retry_at_ms: Some(retry_at_ms), in_flight: false, seen_in_flight: false };
        retry_at_ms
    }

    /// The destination said that it has no time before `at_ms`: it is left alone until then, or as long as one may wait.
    pub fn not_before(&mut self, at_ms: u64, now_ms: u64) {
        let at_ms = at_ms.min(now_ms.saturating_add(OUTBOX_BACKOFF_MAX_MS));
        self.retry_at_ms = self.retry_at_ms.max(Some(at_ms));
    }

    /// The destination showed itself: it connected or sent something. Ends any wait; returns whether what waits for it
    /// should go out now.
    pub fn on_peer_seen(&mut self) -> bool {
        self.seen_in_flight = self.in_flight;
        if self.in_flight {
            return false;
        }
        *self = Self::default();
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failed(backoff: &mut Backoff, now_ms: u64, random: u64) -> u64 {
        backoff.on_start();
        backoff.on_failure(now_ms, random, OUTBOX_BACKOFF_MAX_MS)
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| failed(&mut backoff, 5_000, 0) - 5_000).collect();
        assert_eq!(waits[..4], [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(waits[10..], [OUTBOX_BACKOFF_MAX_MS; 2]);
        assert_eq!(backoff.failures(), 12);
        backoff.on_start();
        assert_eq!(backoff.on_failure(0, 0, OUTBOX_INVITE_BACKOFF_MAX_MS), OUTBOX_INVITE_BACKOFF_MAX_MS);
    }

    #[test]
    fn one_transaction_at_a_time_and_none_while_waiting() {
        let mut backoff = Backoff::default();
        assert!(backoff.may_send(0));
        backoff.on_start();
        assert!(!backoff.may_send(0));
        assert_eq!(backoff.retry_at_ms(), None);
        let retry_at_ms = backoff.on_failure(100, 0, OUTBOX_BACKOFF_MAX_MS);
        assert_eq!(backoff.retry_at_ms(), Some(retry_at_ms));
        assert!(!backoff.may_send(retry_at_ms - 1) && backoff.may_send(retry_at_ms));
        backoff.on_start();
        backoff.on_success();
        assert_eq!(backoff, Backoff::default());
    }

    #[test]
    fn who_says_when_it_has_time_is_left_alone_until_then() {
        let mut backoff = Backoff::default();
        let retry_at_ms = failed(&mut backoff, 100, 0);
        backoff.not_before(0, 100);
        assert_eq!(backoff.retry_at_ms(), Some(retry_at_ms), "it cannot hurry us");
        backoff.not_before(30_100, 100);
        assert!(!backoff.may_send(30_099) && backoff.may_send(30_100));
        backoff.not_before(u64::MAX, 100);
        assert_eq!(backoff.retry_at_ms(), Some(100 + OUTBOX_BACKOFF_MAX_MS));
    }

    #[test]
    fn a_peer_that_shows_itself_ends_the_wait() {
        let mut backoff = Backoff::default();
        for _ in 0..9 {
            failed(&mut backoff, 0, 0);
        }
        assert!(backoff.on_peer_seen());
        assert!(backoff.may_send(0));
        assert_eq!(failed(&mut backoff, 0, 0), OUTBOX_BACKOFF_MIN_MS, "the count starts again");
    }

    #[test]
    fn a_peer_that_shows_itself_while_an_old_attempt_dies_is_tried_again_soon() {
        let mut backoff = Backoff::default();
        for _ in 0..9 {
            failed(&mut backoff, 0, 0);
        }
        backoff.on_start();
        assert!(!backoff.on_peer_seen(), "one is under way already");
        assert_eq!(backoff.on_failure(0, 0, OUTBOX_BACKOFF_MAX_MS), OUTBOX_BACKOFF_MIN_MS);
        assert_eq!(failed(&mut backoff, 0, 0), 2 * OUTBOX_BACKOFF_MIN_MS, "seen once helps once");
    }

    proptest! {
        #[test]
        fn a_wait_is_between_half_and_whole(failures in 0..200u32, now_ms in 0..u64::MAX / 2, random: u64) {
            let mut backoff = Backoff { failures, ..Backoff::default() };
            let whole = failed(&mut backoff.clone(), now_ms, 0) - now_ms;
            let wait = failed(&mut backoff, now_ms, random) - now_ms;
            prop_assert!(wait <= whole && wait > whole / 2, "{wait} of {whole}");
            prop_assert!((OUTBOX_BACKOFF_MIN_MS..=OUTBOX_BACKOFF_MAX_MS).contains(&whole));
        }
    }
}
