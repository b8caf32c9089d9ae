//! How often a peer may offer.
use std::time::Duration;

use web_time::Instant;

/// Offers a peer may make at once; each costs a peer connection for as long as an attempt may take.
pub const OFFERS_BURST: u32 = 8;

/// One more after so many seconds.
pub const OFFER_EVERY_S: u64 = 2;

pub(super) struct Pace {
    left: u32,
    since: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { left: OFFERS_BURST, since: Instant::now() }
    }
}

impl Pace {
    pub fn take(&mut self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&mut self, now: Instant) -> bool {
        let every = Duration::from_secs(OFFER_EVERY_S);
        let passed = now.saturating_duration_since(self.since);
        let gained = u32::try_from(passed.as_secs() / OFFER_EVERY_S).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(gained).min(OFFERS_BURST);
        self.since = if self.left == OFFERS_BURST { now } else { self.since + every * gained };
        let may = self.left > 0;
        self.left -= u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_come_in_a_burst_and_then_slowly() {
        let mut pace = Pace::default();
        let start = pace.since;
        for _ in 0..OFFERS_BURST {
            assert!(pace.take_at(start));
        }
        assert!(!pace.take_at(start));
        assert!(!pace.take_at(start + Duration::from_secs(OFFER_EVERY_S) / 2));
        assert!(pace.take_at(start + Duration::from_secs(OFFER_EVERY_S)));
        assert!(!pace.take_at(start + Duration::from_secs(OFFER_EVERY_S)));
        let later = start + Duration::from_secs(1000);
        assert_eq!((0..100).filter(|_| pace.take_at(later)).count(), OFFERS_BURST as usize);
    }
}
