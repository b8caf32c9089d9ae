//! Which peers get the few direct connections there are: pure bookkeeping, without clock or I/O.
//!
//! Two tabs may think differently of each other, and each decides alone. So that they do not connect and evict in turns,
//! a connection is kept for a while whatever happens, gives way only to a peer that is clearly more wanted, and whoever
//! was refused, evicted or not reached waits longer each time. Peers that nobody wants get what is left over.
use std::collections::{BTreeMap, BTreeSet};

use libp2p::PeerId;

use crate::domain::ties::CLEARLY_MORE_WANTED;

/// A direct connection is not evicted before it is this old, in milliseconds.
pub const LIFETIME_MIN_MS: u64 = 2 * 60_000;

/// How long an evicted peer gets no direct connection, the first time and at the most, in milliseconds.
pub const EVICTED_MIN_MS: u64 = 60_000;
pub const EVICTED_MAX_MS: u64 = 10 * 60_000;

/// How long a peer that refused us is left alone, the first time and at the most, in milliseconds.
pub const REFUSED_MIN_MS: u64 = 2_000;
pub const REFUSED_MAX_MS: u64 = 30 * 60_000;

/// After somebody was evicted for a peer: how long nobody else is, the first time and at the most, in milliseconds. Where
/// three tabs each prefer the next, no choice is the last, so that each has to be longer than the one before.
pub const FAVOURED_MIN_MS: u64 = 10 * 60_000;
pub const FAVOURED_MAX_MS: u64 = 24 * 60 * 60_000;

/// How long a peer is spared that has no circuit to fall back to, in milliseconds. Once: it may be pretending.
pub const SPARED_MS: u64 = 10 * 60_000;

/// A peer that was never found idle for this long is evicted like one that is, in milliseconds: nobody keeps a place by
/// never being done. What is under way is waited for even then.
pub const BUSY_MAX_MS: u64 = 5 * 60_000;

/// What befell a peer is forgotten when nothing of the kind has for this long, in milliseconds.
pub const FORGOTTEN_MS: u64 = 4 * 60 * 60_000;

/// Peers whose past is remembered. What is over first makes room.
pub const REMEMBERED_MAX: usize = 1024;

/// The part of the budget that peers may have that nobody wants: one in so many, and one at least.
const UNWANTED_SHARE: usize = 4;

/// What to do about a peer that could have a direct connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Make it: there is room, and it is kept until [`Favourites::tried`].
    Connect,
    /// Make room by evicting this peer, then make it: likewise.
    Replace(PeerId),
    /// There is no room, or it is not the time. Ask again then, or when something has changed.
    NotNow { until_ms: Option<u64> },
}

/// Something that happens to a peer again and again, with longer and longer waits after it.
#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    times: u32,
    until_ms: u64,
}

impl Wait {
    fn again(&mut self, now_ms: u64, min_ms: u64, max_ms: u64) {
        if now_ms > self.until_ms.saturating_add(FORGOTTEN_MS) {
            self.times = 0;
        }
        let doubled = min_ms.saturating_mul(1u64.checked_shl(self.times).unwrap_or(u64::MAX));
        self.until_ms = now_ms.saturating_add(doubled.min(max_ms));
        self.times = self.times.saturating_add(1);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Past {
    evicted: Wait,
    refused: Wait,
    favoured: Wait,
    spared: Wait,
    /// It refused us, or no path to it was found, and it has not asked for one since: nobody is evicted for it.
    in_vain: bool,
}

impl Past {
    fn over_ms(&self) -> u64 {
        [self.evicted, self.refused, self.favoured, self.spared]
            .map(|wait| wait.until_ms)
            .into_iter()
            .max()
            .unwrap_or(0)
    }
}

#[derive(Clone, Copy, Debug)]
struct Held {
    since_ms: u64,
    /// Since when it was busy whenever it could have been evicted.
    busy_since_ms: Option<u64>,
}

#[derive(Debug)]
pub struct Favourites {
    budget: usize,
    now_ms: u64,
    /// How much each peer is wanted; others are not. `None` until anybody has said: then all are alike.
    wanted: Option<BTreeMap<PeerId, u32>>,
    /// Peers with a direct connection.
    held: BTreeMap<PeerId, Held>,
    /// Peers that a direct connection is being made to.
    making: BTreeSet<PeerId>,
    /// Peers for which there was no room.
    waiting: BTreeSet<PeerId>,
    past: BTreeMap<PeerId, Past>,
}

impl Favourites {
    pub fn new(budget: usize) -> Self {
        Self {
            budget,
            now_ms: 0,
            wanted: None,
            held: BTreeMap::new(),
            making: BTreeSet::new(),
            waiting: BTreeSet::new(),
            past: BTreeMap::new(),
        }
    }

    /// It is `now_ms`, in milliseconds of a clock that is always the same.
    pub fn at(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Replaces how much each peer is wanted.
    pub fn want(&mut self, wanted: BTreeMap<PeerId, u32>) {
        self.wanted = Some(wanted);
    }

    /// How much `peer` is wanted: 0 is not at all.
    pub fn weight(&self, peer: &PeerId) -> u32 {
        self.wanted.as_ref().map_or(1, |wanted| wanted.get(peer).copied().unwrap_or(0))
    }

    /// A direct connection to `peer` was made, by whichever side.
    pub fn made(&mut self, peer: PeerId) {
        self.waiting.remove(&peer);
        self.held.entry(peer).or_insert(Held { since_ms: self.now_ms, busy_since_ms: None });
        if let Some(past) = self.past.get_mut(&peer) {
            (past.refused, past.in_vain) = Default::default();
        }
    }

    /// There is no direct connection to `peer` any more. Returns whether there was.
    pub fn gone(&mut self, peer: &PeerId) -> bool {
        self.held.remove(peer).is_some()
    }

    /// Whether there is a direct connection to `peer`.
    pub fn holds(&self, peer: &PeerId) -> bool {
        self.held.contains_key(peer)
    }

    /// There is no connection to `peer` any more: it waits for nothing.
    pub fn left(&mut self, peer: &PeerId) {
        self.waiting.remove(peer);
    }

    /// What was begun when [`Choice::Connect`] or [`Choice::Replace`] was chosen is over.
    pub fn tried(&mut self, peer: &PeerId) {
        self.making.remove(peer);
    }

    /// `peer` refused a direct connection, as it does when it has no room for us.
    pub fn refused(&mut self, peer: PeerId) {
        let now_ms = self.now_ms;
        let past = self.remember(peer);
        past.refused.again(now_ms, REFUSED_MIN_MS, REFUSED_MAX_MS);
        past.in_vain = true;
    }

    /// No path to `peer` was found.
    pub fn failed(&mut self, peer: PeerId) {
        self.remember(peer).in_vain = true;
    }

    /// `peer` is about to lose its direct connection, and gets no other for a while.
    pub fn evicted(&mut self, peer: PeerId) {
        let now_ms = self.now_ms;
        self.remember(peer).evicted.again(now_ms, EVICTED_MIN_MS, EVICTED_MAX_MS);
    }

    /// `peer` was to be evicted, and there is no circuit to it. Returns whether it keeps its direct connection for now.
    pub fn spare(&mut self, peer: PeerId) -> bool {
        let (now_ms, wanted) = (self.now_ms, self.weight(&peer) > 0);
        let past = self.remember(peer);
        let spared = wanted && past.spared.times == 0;
        if spared {
            past.spared.again(now_ms, SPARED_MS, SPARED_MS);
            past.evicted = Wait::default();
        }
        spared
    }

    /// Whether a direct connection that `peer` asks for, or we do, is made when `others` have one or are about to.
    pub fn admits(&mut self, peer: &PeerId, others: &BTreeSet<PeerId>) -> bool {
        if !self.making.contains(peer)
            && let Some(past) = self.past.get_mut(peer)
        {
            past.in_vain = false;
        }
        let evicted = self.past.get(peer).is_some_and(|past| past.evicted.until_ms > self.now_ms);
        let mut taken: BTreeSet<_> = others.union(&self.making).copied().collect();
        taken.remove(peer);
        !evicted && self.has_room(peer, &taken)
    }

    /// What to do about `peer`, to which there is a circuit. `is_busy` says with whom an exchange is under way.
    pub fn choose(&mut self, peer: PeerId, is_busy: impl Fn(&PeerId) -> bool) -> Choice {
        let past = self.past.get(&peer).copied().unwrap_or_default();
        let until_ms = past.evicted.until_ms.max(past.refused.until_ms);
        if until_ms > self.now_ms {
            self.waiting.remove(&peer);
            return Choice::NotNow { until_ms: Some(until_ms) };
        }
        let mut taken: BTreeSet<_> = self.held.keys().chain(&self.making).copied().collect();
        taken.remove(&peer);
        if self.has_room(&peer, &taken) {
            self.waiting.remove(&peer);
            self.making.insert(peer);
            return Choice::Connect;
        }
        // One at a time: who is being connected to has a place already, or is having it made.
        let may_evict = !past.in_vain && past.favoured.until_ms <= self.now_ms && self.making.is_empty();
        if may_evict && let Some(evicted) = self.least_wanted(&peer, is_busy) {
            let now_ms = self.now_ms;
            self.remember(peer).favoured.again(now_ms, FAVOURED_MIN_MS, FAVOURED_MAX_MS);
            self.waiting.remove(&peer);
            self.making.insert(peer);
            return Choice::Replace(evicted);
        }
        self.waiting.insert(peer);
        Choice::NotNow { until_ms: None }
    }

    /// Whether there is room for `peer` beside `taken`. A place that somebody more wanted waits for is not free.
    fn has_room(&self, peer: &PeerId, taken: &BTreeSet<PeerId>) -> bool {
        let weight = self.weight(peer);
        let before = |other: &&PeerId| *other != peer && !taken.contains(other) && self.weight(other) > weight;
        let before = self.waiting.iter().filter(before).count();
        let unwanted = taken.iter().filter(|other| self.weight(other) == 0).count();
        taken.len() + before < self.budget && (weight > 0 || unwanted < (self.budget / UNWANTED_SHARE).max(1))
    }

    /// Whom to evict for `peer`: the least wanted, of those the one that came last. Nobody who is not clearly less wanted.
    fn least_wanted(&mut self, peer: &PeerId, is_busy: impl Fn(&PeerId) -> bool) -> Option<PeerId> {
        let wanted = self.wanted.as_ref()?;
        let now_ms = self.now_ms;
        let weigh = |other: &PeerId| wanted.get(other).copied().unwrap_or(0);
        let enough = weigh(peer).checked_sub(CLEARLY_MORE_WANTED)?;
        let mut found: Option<(u32, std::cmp::Reverse<u64>, PeerId)> = None;
        for (other, held) in &mut self.held {
            let spared = self.past.get(other).is_some_and(|past| past.spared.until_ms > now_ms);
            if weigh(other) > enough || spared || now_ms < held.since_ms.saturating_add(LIFETIME_MIN_MS) {
                continue;
            }
            if is_busy(other) {
                let since_ms = *held.busy_since_ms.get_or_insert(now_ms);
                if now_ms < since_ms.saturating_add(BUSY_MAX_MS) {
                    continue;
                }
            } else {
                held.busy_since_ms = None;
            }
            let candidate = (weigh(other), std::cmp::Reverse(held.since_ms), *other);
            found = Some(found.map_or(candidate, |best| best.min(candidate)));
        }
        found.map(|(_, _, other)| other)
    }

    fn remember(&mut self, peer: PeerId) -> &mut Past {
        if self.past.len() >= REMEMBERED_MAX && !self.past.contains_key(&peer) {
            let first = self.past.iter().min_by_key(|(_, past)| past.over_ms()).map(|(peer, _)| *peer);
            first.map(|first| self.past.remove(&first));
        }
        self.past.entry(peer).or_default()
    }
}

#[cfg(test)]
mod tests;
