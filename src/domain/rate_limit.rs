//! How often somebody may ask: token buckets in bounded memory, without clock or I/O.
use std::{hash::Hash, num::NonZeroUsize};

use lru::LruCache;

/// How much may be asked at once, and how fast that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens of a full bucket: what may be asked at once by somebody who was quiet.
    pub burst: u32,
    /// Milliseconds in which one token comes back.
    pub refill_ms: u32,
}

/// There are too few tokens: so many milliseconds later there will be enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    pub retry_after_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In milliseconds of refilling, so that there are no fractions: `refill_ms` make a token.
    level_ms: u64,
    at_ms: u64,
}

/// One bucket for each who asks. Those who were quiet the longest are forgotten first, which fills their buckets.
pub struct Buckets<K: Hash + Eq> {
    rate: Rate,
    buckets: LruCache<K, Bucket>,
}

impl<K: Hash + Eq> Buckets<K> {
    pub fn new(rate: Rate, remembered: NonZeroUsize) -> Self {
        Self { rate, buckets: LruCache::new(remembered) }
    }

    /// Takes `cost` tokens from the bucket of `key`, or none if there are too few. A cost greater than the burst takes a
    /// full bucket.
    ///
    /// `now_ms` is of any clock, always the same one; where it jumps back, nothing comes back for the while.
    pub fn take(&mut self, key: K, cost: u32, now_ms: u64) -> Result<(), Exhausted> {
        let refill_ms = u64::from(self.rate.refill_ms);
        let full_ms = u64::from(self.rate.burst) * refill_ms;
        let bucket = self.buckets.get_or_insert_mut(key, || Bucket { level_ms: full_ms, at_ms: now_ms });
        let passed_ms = now_ms.saturating_sub(bucket.at_ms);
        *bucket = Bucket { level_ms: bucket.level_ms.saturating_add(passed_ms).min(full_ms), at_ms: now_ms };
        let cost_ms = u64::from(cost.min(self.rate.burst)) * refill_ms;
        if bucket.level_ms < cost_ms {
            return Err(Exhausted { retry_after_ms: cost_ms - bucket.level_ms });
        }
        bucket.level_ms -= cost_ms;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate { burst: 3, refill_ms: 100 };

    fn buckets(remembered: usize) -> Buckets<&'static str> {
        Buckets::new(RATE, NonZeroUsize::new(remembered).unwrap())
    }

    #[test]
    fn a_burst_then_as_fast_as_it_refills() {
        let mut buckets = buckets(9);
        (0..3).for_each(|_| buckets.take("a", 1, 1_000).unwrap());
        assert_eq!(buckets.take("a", 1, 1_000), Err(Exhausted { retry_after_ms: 100 }));
        assert_eq!(buckets.take("a", 1, 1_060), Err(Exhausted { retry_after_ms: 40 }), "what is refused costs nothing");
        assert_eq!(buckets.take("a", 1, 1_100), Ok(()));
        assert_eq!(buckets.take("b", 3, 1_100), Ok(()), "others have their own");
        assert_eq!(buckets.take("a", 99, 1_100), Err(Exhausted { retry_after_ms: 300 }));
        assert_eq!(buckets.take("a", 99, 1_400), Ok(()), "more than a full bucket takes a full one");
    }

    #[test]
    fn a_clock_that_jumps_gives_a_full_bucket_at_most() {
        let mut buckets = buckets(9);
        (0..3).for_each(|_| buckets.take("a", 1, 5_000).unwrap());
        assert_eq!(buckets.take("a", 1, 0), Err(Exhausted { retry_after_ms: 100 }));
        assert_eq!(buckets.take("a", 1, 100), Ok(()));
        (0..3).for_each(|_| buckets.take("a", 1, u64::MAX).unwrap());
        assert!(buckets.take("a", 1, u64::MAX).is_err());
    }

    #[test]
    fn memory_has_a_bound() {
        let mut buckets = buckets(2);
        for key in ["a", "b", "c"] {
            (0..3).for_each(|_| buckets.take(key, 1, 0).unwrap());
        }
        assert_eq!(buckets.buckets.len(), 2);
        assert!(buckets.take("b", 1, 0).is_err());
        assert!(buckets.take("c", 1, 0).is_err());
    }

    proptest! {
        #[test]
        fn in_any_while_no_more_than_the_burst_and_what_came_back(steps in prop::collection::vec((0u64..400, 1u32..4), 1..80)) {
            let mut buckets = buckets(9);
            let (mut now_ms, mut taken) = (0, 0u64);
            for (wait_ms, cost) in steps {
                now_ms += wait_ms;
                match buckets.take("a", cost, now_ms) {
                    Ok(()) => taken += u64::from(cost),
                    Err(Exhausted { retry_after_ms }) => {
                        prop_assert!(buckets.take("a", cost, now_ms + retry_after_ms - 1).is_err());
                        now_ms += retry_after_ms;
                        prop_assert!(buckets.take("a", cost, now_ms).is_ok());
                        taken += u64::from(cost);
                    }
                }
                prop_assert!(taken <= 3 + now_ms / 100, "{taken} in {now_ms} ms");
            }
        }
    }
}
