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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{room_version::DEFAULT_ROOM_VERSION, test_room::TestRoom};

    fn ids(events: &[&Pdu]) -> Heads {
        events.iter().map(|event| event.event_id.clone()).collect()
    }

    fn nothing_hidden(_: &EventId) -> Option<Vec<OwnedEventId>> {
        None
    }

    /// Two events after the same one, and one after each of them.
    fn fork() -> [std::rc::Rc<Pdu>; 5] {
        let mut room = TestRoom::new(DEFAULT_ROOM_VERSION);
        let message = |room: &mut TestRoom| room.send(0, "m.room.message", json!({ "body": "x" }));
        let base = message(&mut room);
        let left = message(&mut room);
        let left_next = message(&mut room);
        room.head = base.event_id.clone();
        let right = message(&mut room);
        let right_next = message(&mut room);
        [base, left, left_next, right, right_next]
    }

    #[test]
    fn an_event_replaces_what_it_follows_and_nothing_else() {
        let [base, left, left_next, right, _] = fork();
        let heads = advance(&ids(&[&base]), &left, &nothing_hidden);
        assert_eq!(heads, ids(&[&left]));
        let heads = advance(&heads, &right, &nothing_hidden);
        assert_eq!(heads, ids(&[&left, &right]), "a fork");
        assert_eq!(advance(&heads, &left_next, &nothing_hidden), ids(&[&left_next, &right]));
        assert_eq!(advance(&heads, &right, &nothing_hidden), heads, "twice is once");
    }

    #[test]
    fn what_stands_behind_a_hidden_event_is_replaced_too() {
        let [base, left, left_next, ..] = fork();
        let left_hidden = |id: &EventId| (id == left.event_id).then(|| left.prev_events.clone());
        assert_eq!(advance(&ids(&[&base]), &left_next, &left_hidden), ids(&[&left_next]));
        assert_eq!(advance(&ids(&[&base]), &left_next, &nothing_hidden), ids(&[&base, &left_next]));
        // Hidden events that claim to follow each other end the walk like any other.
        let circle = |id: &EventId| Some(vec![id.to_owned(), base.event_id.clone()]);
        assert_eq!(advance(&ids(&[&base]), &left_next, &circle), ids(&[&left_next]));
    }

    #[test]
    fn heads_of_a_set_are_what_no_other_follows() {
        let [base, left, left_next, right, right_next] = fork();
        let all: [&Pdu; 5] = [&right, &base, &left_next, &right_next, &left];
        assert_eq!(heads_of(all), ids(&[&left_next, &right_next]));
        assert_eq!(heads_of([&*base]), ids(&[&base]));
        assert_eq!(heads_of([]), Heads::new());
    }

    #[test]
    fn the_deepest_heads_are_cited() {
        let id = |n: u64| -> OwnedEventId { format!("$event{n:03}").try_into().unwrap() };
        let many: Vec<_> = (0..30).map(|n| (id(n), n % 15)).collect();
        let (cited, depth) = cite(&many);
        assert_eq!((cited.len(), depth), (PREV_EVENTS_MAX, 15));
        assert_eq!(cited[..3], [id(14), id(29), id(13)]);
        let mut shuffled = many;
        shuffled.reverse();
        assert_eq!(cite(&shuffled), (cited, depth));
        assert_eq!(cite(&[]), (vec![], 1));
        assert_eq!(cite(&[(id(1), u64::MAX)]).1, DEPTH_MAX);
    }
}
