//! State resolution of room version 1 (room versions, "Room Version 1", "State resolution"): conflicts are settled place by
//! place, by depth and then by the SHA-1 of event ids; of what authorizes others, each event only if the one before it
//! allows it.
//!
//! Where the specification leaves it open this does as the servers of those rooms do: a place that some states leave
//! empty is in no conflict; conflicting join rules and memberships are each settled without the others of their kind;
//! and where no event of a place is allowed the one of least depth holds it.
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use ruma::{
    OwnedEventId,
    events::StateEventType,
    room_version_rules::RoomVersionRules,
    state_res::{auth_types_for_event, check_state_dependent_auth_rules},
};
use sha1::{Digest, Sha1};

use super::{BorrowedState, Fork, Key, ResolveError, StateMap, View, owned};
use crate::domain::event::Pdu;

/// What is settled together. Each step sees what those before it settled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    PowerLevels,
    JoinRules,
    Members,
    Others,
}

impl Step {
    fn of(key: &Key) -> Self {
        match &key.0 {
            StateEventType::RoomPowerLevels if key.1.is_empty() => Self::PowerLevels,
            StateEventType::RoomJoinRules => Self::JoinRules,
            StateEventType::RoomMember => Self::Members,
            _ => Self::Others,
        }
    }
}

/// What holds the places the states differ in. Judges each conflicting event once at most.
pub(super) fn settle(rules: &RoomVersionRules, fork: &Fork<'_>, view: &View<'_>) -> Result<StateMap, ResolveError> {
    let (mut resolved, conflicts) = separate(fork);
    let conflicts: Vec<(&Key, Vec<&Pdu>)> = conflicts
        .into_iter()
        .map(|(key, ids)| (key, latest_first(ids.into_iter().filter_map(|id| view.get(id)).collect())))
        .collect();
    for event in conflicts.iter().flat_map(|(_, events)| events) {
        load_authorizing(event, rules, &resolved, view);
    }
    view.complete()?;
    for step in [Step::PowerLevels, Step::JoinRules, Step::Members, Step::Others] {
        let settled: Vec<(&Key, &OwnedEventId)> = conflicts
            .iter()
            .filter(|(key, _)| Step::of(key) == step)
            .filter_map(|(key, events)| {
                let judge = Judge { rules, resolved: &resolved, view, key };
                let holder =
                    if step == Step::Others { judge.latest_allowed(events) } else { judge.last_in_a_row(events) };
                Some((*key, &holder?.event_id))
            })
            .collect();
        resolved.extend(settled);
    }
    let contested = fork.contested();
    resolved.retain(|key, _| contested.contains(*key));
    Ok(owned(&resolved).collect())
}

/// The places that hold one event wherever they hold any, and the events of the others.
fn separate<'a>(fork: &Fork<'a>) -> (BorrowedState<'a>, BTreeMap<&'a Key, BTreeSet<&'a OwnedEventId>>) {
    let mut held: BTreeMap<&Key, BTreeSet<&OwnedEventId>> = BTreeMap::new();
    for (key, id) in fork.conflicted_by_state.iter().flatten() {
        held.entry(key).or_default().insert(id);
    }
    let mut agreed = fork.unconflicted.clone();
    let (alone, conflicts): (BTreeMap<_, _>, _) = held.into_iter().partition(|(_, ids)| ids.len() == 1);
    agreed.extend(alone.into_iter().filter_map(|(key, ids)| Some((key, ids.into_iter().next()?))));
    (agreed, conflicts)
}

/// By descending depth, then ascending hash of the id.
fn latest_first(mut events: Vec<&Pdu>) -> Vec<&Pdu> {
    events.sort_by_cached_key(|event| (Reverse(event.depth), Sha1::digest(event.event_id.as_bytes())));
    events
}

/// Notes as wanted what may authorize the event and is not in the view.
fn load_authorizing(event: &Pdu, rules: &RoomVersionRules, resolved: &BorrowedState<'_>, view: &View<'_>) {
    let state_key = event.state_key.as_deref();
    // An event too malformed to say what authorizes it is allowed by nothing.
    let types = auth_types_for_event(&event.kind, &event.sender, state_key, &event.content, &rules.authorization);
    for id in types.unwrap_or_default().iter().filter_map(|key| resolved.get(key)) {
        view.get(id);
    }
}

/// Judges the events of one place by what is settled so far.
struct Judge<'a, 'b> {
    rules: &'b RoomVersionRules,
    resolved: &'b BorrowedState<'a>,
    view: &'b View<'a>,
    key: &'b Key,
}

impl<'a> Judge<'a, '_> {
    /// Whether `event` is allowed where `holder` has its place.
    fn allows(&self, event: &Pdu, holder: Option<&'a Pdu>) -> bool {
        let state = |kind: &StateEventType, state_key: &str| {
            let key = (kind.clone(), state_key.to_owned());
            if key == *self.key { holder } else { self.view.get(self.resolved.get(&key)?) }
        };
        check_state_dependent_auth_rules(&self.rules.authorization, event, state).is_ok()
    }

    /// From the earliest on, each as long as it is allowed where the one before holds the place.
    fn last_in_a_row(&self, latest_first: &[&'a Pdu]) -> Option<&'a Pdu> {
        let mut earliest_first = latest_first.iter().rev().copied();
        let mut holder = earliest_first.next()?;
        for event in earliest_first {
            if !self.allows(event, Some(holder)) {
                break;
            }
            holder = event;
        }
        Some(holder)
    }

    fn latest_allowed(&self, latest_first: &[&'a Pdu]) -> Option<&'a Pdu> {
        latest_first.iter().copied().find(|event| self.allows(event, None)).or_else(|| latest_first.last().copied())
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use ruma::RoomVersionId;
    use serde_json::json;

    use super::super::{StateMap, resolve};
    use crate::domain::{
        event::Pdu,
        room_version::rules,
        test_room::{TestRoom, user},
    };

    /// A room with users 0 to 2 in it, forked: each side is a copy that grew on its own.
    fn forked(left: impl FnOnce(&mut TestRoom), right: impl FnOnce(&mut TestRoom)) -> (TestRoom, TestRoom, StateMap) {
        let base = || {
            let mut room = TestRoom::new(RoomVersionId::V1);
            room.member(1, 1, "join");
            room.member(2, 2, "join");
            power(&mut room, 0, json!({ user(0): 100, user(1): 60 }));
            room
        };
        let (mut one, mut two) = (base(), base());
        left(&mut one);
        two.clock_ms += 1;
        right(&mut two);
        let events = one.events.clone().into_iter().chain(two.events.clone()).collect();
        let states = [one.state.clone(), two.state.clone()];
        let resolved = resolve(&rules(&RoomVersionId::V1).unwrap(), &states, &events).unwrap();
        (one, two, resolved)
    }

    fn power(room: &mut TestRoom, sender: u8, users: serde_json::Value) -> Rc<Pdu> {
        let content = json!({ "users": users, "state_default": 50, "events": { "m.room.power_levels": 60 } });
        room.set(sender, "m.room.power_levels", "", content)
    }

    fn key(kind: &str, state_key: &str) -> super::Key {
        (kind.into(), state_key.to_owned())
    }

    #[test]
    fn what_is_deepest_wins_if_it_is_allowed() {
        let topic = key("m.room.topic", "");
        let (_, right, state) = forked(
            |room| drop(room.set(0, "m.room.topic", "", json!({ "topic": "left" }))),
            |room| {
                room.send(1, "m.room.message", json!({}));
                room.set(1, "m.room.topic", "", json!({ "topic": "right" }));
            },
        );
        assert_eq!(state[&topic], right.state[&topic]);
        // User 2 never had the power; being deepest does not help.
        let (left, _, state) = forked(
            |room| drop(room.set(0, "m.room.topic", "", json!({ "topic": "left" }))),
            |room| {
                room.send(2, "m.room.message", json!({}));
                room.set(2, "m.room.topic", "", json!({ "topic": "right" }));
            },
        );
        assert_eq!(state[&topic], left.state[&topic]);
        // Where nobody had it, the first attempt stays.
        let (left, _, state) = forked(
            |room| drop(room.set(2, "m.room.topic", "", json!({ "topic": "left" }))),
            |room| {
                room.send(2, "m.room.message", json!({}));
                room.set(2, "m.room.topic", "", json!({ "topic": "right" }));
            },
        );
        assert_eq!(state[&topic], left.state[&topic]);
    }

    #[test]
    fn of_equal_depth_the_lesser_hash_of_the_id_wins() {
        use sha1::{Digest, Sha1};
        for n in 0..6 {
            let name = |text: &'static str| {
                move |room: &mut TestRoom| drop(room.set(0, "m.room.topic", "", json!({ "topic": text, "n": n })))
            };
            let (left, right, state) = forked(name("left"), name("right"));
            let ids = [left, right].map(|room| room.state[&key("m.room.topic", "")].clone());
            let least = ids.iter().min_by_key(|id| Sha1::digest(id.as_bytes())).unwrap();
            assert_eq!(state[&key("m.room.topic", "")], *least);
        }
    }

    #[test]
    fn power_follows_power_as_far_as_it_was_given() {
        let levels = key("m.room.power_levels", "");
        // The creator takes the power of user 1, who meanwhile gives some away twice.
        let (left, _, state) = forked(
            |room| drop(power(room, 0, json!({ user(0): 100, user(1): 0 }))),
            |room| {
                power(room, 1, json!({ user(0): 100, user(1): 60, user(2): 50 }));
                power(room, 1, json!({ user(0): 100, user(1): 60, user(2): 55 }));
            },
        );
        // The list begins with the event of least depth; the deeper one of user 1 is judged at it.
        let deeper = state[&levels] != left.state[&levels];
        assert!(!deeper, "what was taken away gives nothing away");
    }

    #[test]
    fn a_ban_is_settled_before_what_the_banned_did() {
        let (left, _, state) = forked(
            |room| {
                room.set(0, "m.room.topic", "", json!({ "topic": "left" }));
                room.send(0, "m.room.message", json!({}));
                room.send(0, "m.room.message", json!({}));
                room.member(0, 1, "ban");
            },
            |room| {
                room.member(1, 1, "join");
                room.set(1, "m.room.topic", "", json!({ "topic": "right" }));
            },
        );
        let member = key("m.room.member", user(1).as_str());
        assert_eq!(state[&member], left.state[&member], "the ban is deeper, and allowed after the join");
        assert_eq!(state[&key("m.room.topic", "")], left.state[&key("m.room.topic", "")]);
    }

    #[test]
    fn what_only_one_side_knows_is_no_conflict_and_needs_no_event() {
        let (left, right, state) = forked(
            |room| drop(room.member(3, 3, "join")),
            |room| drop(room.set(0, "m.room.topic", "", json!({ "topic": "right" }))),
        );
        assert_eq!(state.len(), left.state.len() + 1);
        assert!(right.state.iter().chain(&left.state).all(|(key, id)| state[key] == *id));
        let rules = rules(&RoomVersionId::V1).unwrap();
        assert_eq!(resolve(&rules, &[left.state, right.state], &Default::default()).unwrap(), state);
    }
}
