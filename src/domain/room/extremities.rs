//! The forward extremities of a room: the events no other event follows yet, which the next event will cite.
use std::collections::BTreeSet;

use ruma::{EventId, OwnedEventId};

use crate::domain::event::Pdu;

/// The most events a new event cites as its predecessors (room version 1, "Event format": at most 20).
pub const PREV_EVENTS_MAX: usize = 20;

/// The most hidden events walked through when an event follows a soft-failed or rejected one.
pub const HIDDEN_WALK_MAX: usize = 1_000;

/// The greatest depth canonical JSON can hold.
pub const DEPTH_MAX: u64 = (1 << 53) - 1;

pub type Heads = BTreeSet<OwnedEventId>;

/// The extremities once `pdu`, accepted and followed by no event we hold, has entered the room. Soft-failed and
/// rejected events never become extremities and replace none: do not call this for them.
///
/// `hidden_prevs` gives the `prev_events` of an event that was soft-failed or rejected, and `None` for any other: what
/// stands behind a hidden event that `pdu` follows is followed by `pdu` too.
pub fn advance(heads: &Heads, pdu: &Pdu, hidden_prevs: &dyn Fn(&EventId) -> Option<Vec<OwnedEventId>>) -> Heads {
    let mut heads = heads.clone();
    let mut seen = BTreeSet::new();
    let mut pending = pdu.prev_events.clone();
    while let Some(id) = pending.pop() {
        heads.remove(&id);
        if seen.len() < HIDDEN_WALK_MAX && seen.insert(id.clone()) {
            pending.extend(hidden_prevs(&id).into_iter().flatten());
        }
    }
    heads.insert(pdu.event_id.clone());
    heads
}

/// Those of `events` that no other of them follows.
pub fn heads_of<'a>(events: impl IntoIterator<Item = &'a Pdu> + Clone) -> Heads {
    let followed: BTreeSet<&OwnedEventId> = events.clone().into_iter().flat_map(|event| &event.prev_events).collect();
    events.into_iter().map(|event| &event.event_id).filter(|id| !followed.contains(id)).cloned().collect()
}

/// Which extremities a new event cites, given each with its depth, and the depth it gets. When there are more than
/// [`PREV_EVENTS_MAX`] the deepest are cited; the others wait for the event after.
pub fn cite(heads: &[(OwnedEventId, u64)]) -> (Vec<OwnedEventId>, u64) {
    let mut by_depth: Vec<_> = heads.iter().collect();
    by_depth.sort_by(|(id, depth), (other_id, other_depth)| other_depth.cmp(depth).then(id.cmp(other_id)));
    by_depth.truncate(PREV_EVENTS_MAX);
    let depth = by_depth.first().map_or(0, |(_, depth)| *depth).saturating_add(1).min(DEPTH_MAX);
    (by_depth.into_iter().map(|(id, _)| id.clone()).collect(), depth)
}
