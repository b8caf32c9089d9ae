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
    /// [`OUTBOX_BACKOFF_MIN_MS`] to [`OUTBOX_BACKOFF_MAX_MS`], of which `random` takes away up to half so that many
    /// servers do not wake one together.
    pub fn on_failure(&mut self, now_ms: u64, random: u64) -> u64 {
        // A peer that came back while this attempt was dying on its old connection is tried again soon.
        let failures = if self.seen_in_flight { 1 } else { self.failures.saturating_add(1) };
        let wait_ms = OUTBOX_BACKOFF_MIN_MS
            .saturating_mul(1u64.checked_shl(failures - 1).unwrap_or(u64::MAX))
            .min(OUTBOX_BACKOFF_MAX_MS);
        let retry_at_ms = now_ms.saturating_add(wait_ms - random % (wait_ms / 2));
        *self = Self { failures, retry_at_ms: Some(retry_at_ms), in_flight: false, seen_in_flight: false };
        retry_at_ms
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
