//! How many are let through at once: a few go in, some wait, and who would wait too long is told when to come back, each at a
//! time of its own. Without clock or I/O.
use std::collections::BTreeMap;

/// How many are inside at once: what else is to be done never waits for more than these.
pub const INSIDE_MAX: usize = 4;
/// The most that wait.
pub const WAITING_MAX: usize = 64;
/// The most of one and the same, inside and waiting: nobody fills it alone.
pub const OF_ONE_MAX: usize = 4;
/// Who would wait longer than so many milliseconds, as far as can be told, comes back instead.
pub const WAIT_MAX_MS: u64 = 3_000;
/// The longest that somebody is told to stay away, in milliseconds.
pub const AWAY_MAX_MS: u64 = 20_000;
/// The least that lies between one leaving and the next, in milliseconds: before anybody has left nothing is known.
const PACE_MIN_MS: u64 = 10;
/// One in so many is what the latest passage counts for in the pace.
const PACE_WEIGHT: u64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    Inside,
    /// Until `let_in` says that it is its turn.
    Waits,
    Away {
        retry_after_ms: u64,
    },
}

/// Times are milliseconds of any clock, always the same one.
#[derive(Clone, Debug)]
pub struct Turnstile<K> {
    /// By who it is: inside and waiting.
    present: BTreeMap<K, usize>,
    inside: usize,
    waiting: usize,
    /// What lies between one leaving and the next, about.
    pace_ms: u64,
    /// When who was turned away last comes back.
    last_return_ms: u64,
}

impl<K> Default for Turnstile<K> {
    fn default() -> Self {
        Self { present: BTreeMap::new(), inside: 0, waiting: 0, pace_ms: 0, last_return_ms: 0 }
    }
}

impl<K: Ord + Clone> Turnstile<K> {
    pub fn enter(&mut self, who: &K, now_ms: u64) -> Entry {
        let of_one = self.present.get(who).copied().unwrap_or_default();
        if of_one >= OF_ONE_MAX || self.is_full() {
            return Entry::Away { retry_after_ms: self.turn_away(now_ms) };
        }
        self.present.insert(who.clone(), of_one + 1);
        if self.inside < INSIDE_MAX && self.waiting == 0 {
            self.inside += 1;
            return Entry::Inside;
        }
        self.waiting += 1;
        Entry::Waits
    }

    /// Whether nobody can come in now, nor wait.
    pub fn is_full(&self) -> bool {
        self.inside >= INSIDE_MAX && (self.waiting >= WAITING_MAX || self.wait_ms() > WAIT_MAX_MS)
    }

    /// Sends somebody away; answers in how many milliseconds there should be a place, which is nobody else's.
    pub fn turn_away(&mut self, now_ms: u64) -> u64 {
        let latest_ms = now_ms.saturating_add(AWAY_MAX_MS);
        let after_who_waits_ms = now_ms.saturating_add(self.wait_ms());
        // A clock that jumped back must not keep anybody away for longer.
        let after_who_returns_ms = self.last_return_ms.min(latest_ms).saturating_add(self.pace_ms());
        self.last_return_ms = after_who_waits_ms.max(after_who_returns_ms).min(latest_ms);
        self.last_return_ms - now_ms
    }

    /// One of those who wait may go in, if there is room: the caller knows whose turn it is.
    pub fn let_in(&mut self) -> bool {
        let has_room = self.waiting > 0 && self.inside < INSIDE_MAX;
        if has_room {
            self.waiting -= 1;
            self.inside += 1;
        }
        has_room
    }

    /// Somebody waits no longer, and never went in.
    pub fn give_up(&mut self, who: &K) {
        self.waiting = self.waiting.saturating_sub(1);
        self.forget(who);
    }

    /// Somebody who was inside for `took_ms` is out.
    pub fn leave(&mut self, who: &K, took_ms: u64) {
        let pace_ms = took_ms / self.inside.max(1) as u64;
        self.pace_ms = (self.pace_ms * (PACE_WEIGHT - 1) + pace_ms).div_ceil(PACE_WEIGHT);
        self.inside = self.inside.saturating_sub(1);
        self.forget(who);
    }

    /// What somebody would wait who came now.
    fn wait_ms(&self) -> u64 {
        self.pace_ms().saturating_mul(self.waiting as u64 + 1)
    }

    fn pace_ms(&self) -> u64 {
        self.pace_ms.max(PACE_MIN_MS)
    }

    fn forget(&mut self, who: &K) {
        if let Some(count) = self.present.get_mut(who) {
            *count -= 1;
            if *count == 0 {
                self.present.remove(who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn away(entry: Entry) -> Option<u64> {
        match entry {
            Entry::Away { retry_after_ms } => Some(retry_after_ms),
            Entry::Inside | Entry::Waits => None,
        }
    }

    #[test]
    fn a_few_go_in_some_wait_and_the_rest_come_back_one_after_the_other() {
        let mut turnstile = Turnstile::default();
        let entries: Vec<_> = (0..100).map(|who| turnstile.enter(&who, 0)).collect();
        assert_eq!(entries[..INSIDE_MAX], [Entry::Inside; INSIDE_MAX]);
        let waiting = entries.iter().filter(|entry| **entry == Entry::Waits).count();
        assert_eq!(waiting, WAITING_MAX);
        let returns: Vec<_> = entries.into_iter().filter_map(away).collect();
        assert!(returns.windows(2).all(|pair| pair[0] < pair[1]), "each has a time of its own: {returns:?}");
    }

    #[test]
    fn nobody_waits_long_where_it_takes_long() {
        let mut turnstile = Turnstile::default();
        for _ in 0..20 {
            turnstile.enter(&0, 0);
            turnstile.leave(&0, 2_000);
        }
        let entries: Vec<_> = (0..50).map(|who| turnstile.enter(&who, 0)).collect();
        assert_eq!(entries.iter().filter(|entry| **entry == Entry::Waits).count(), 1, "{entries:?}");
        let returns: Vec<_> = entries.into_iter().filter_map(away).collect();
        assert!(returns[1] - returns[0] >= 1_900, "{returns:?}");
        assert_eq!(returns.last(), Some(&AWAY_MAX_MS));
    }

    #[test]
    fn who_comes_again_and_again_has_no_more_than_its_share() {
        let mut turnstile = Turnstile::default();
        let entries: Vec<_> = (0..OF_ONE_MAX + 3).map(|_| turnstile.enter(&"greedy", 0)).collect();
        assert_eq!(entries.into_iter().filter_map(away).count(), 3);
        assert_eq!(turnstile.enter(&"another", 0), Entry::Waits);
    }

    #[test]
    fn a_clock_that_jumps_back_keeps_nobody_away_for_ever() {
        let mut turnstile = Turnstile::<u8>::default();
        turnstile.turn_away(1_000_000_000);
        assert!(turnstile.turn_away(0) <= AWAY_MAX_MS);
    }

    proptest! {
        #[test]
        fn it_counts_right(steps in prop::collection::vec((0u8..4, 0u8..9), 0..200)) {
            let (mut turnstile, mut inside, mut waiting) = (Turnstile::default(), Vec::new(), Vec::new());
            for (step, who) in steps {
                match step {
                    0 | 1 => match turnstile.enter(&who, 0) {
                        Entry::Inside => inside.push(who),
                        Entry::Waits => waiting.push(who),
                        Entry::Away { .. } => {}
                    },
                    2 if !inside.is_empty() => {
                        turnstile.leave(&inside.remove(0), 10);
                        if turnstile.let_in() {
                            inside.push(waiting.remove(0));
                        }
                    }
                    3 if !waiting.is_empty() => turnstile.give_up(&waiting.remove(0)),
                    _ => {}
                }
                prop_assert_eq!((turnstile.inside, turnstile.waiting), (inside.len(), waiting.len()));
                prop_assert_eq!(turnstile.present.values().sum::<usize>(), inside.len() + waiting.len());
                prop_assert!(turnstile.inside <= INSIDE_MAX && turnstile.waiting <= WAITING_MAX);
            }
        }
    }
}
