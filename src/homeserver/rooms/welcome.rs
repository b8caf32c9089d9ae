//! What servers that join are told the room's state rests on, kept for the next: of many that join at once, each is told what
//! the one before was, and a little more.
use std::cell::RefCell;

use rpds::RedBlackTreeSet;
use ruma::{OwnedEventId, OwnedRoomId};

use super::{
    Room,
    history::{AUTH_CHAIN_MAX, HistoryError},
};
use crate::{
    domain::{event::create_event_id, sized_cache::SizedCache},
    homeserver::{
        Homeserver,
        states::{State, StateKey},
    },
};

/// What is kept of answers, in bytes.
const WELCOMES_MAX_BYTES: usize = 8 * 1024 * 1024;
/// What an entry of a state takes, of which most is shared with the states in memory; and an event id of a chain.
const ENTRY_BYTES: usize = 160;
const CHAIN_BYTES: usize = 192;

/// A state that was told, and everything it rests on.
#[derive(Clone)]
struct Told {
    state: State,
    auth_chain: RedBlackTreeSet<OwnedEventId>,
}

/// The latest of each room.
pub struct Welcomes(RefCell<SizedCache<OwnedRoomId, Told>>);

impl Default for Welcomes {
    fn default() -> Self {
        Self(RefCell::new(SizedCache::new(WELCOMES_MAX_BYTES)))
    }
}

/// Everything that `state` of the room rests on.
pub async fn auth_chain(
    server: &Homeserver,
    room: &Room,
    state: &State,
) -> Result<RedBlackTreeSet<OwnedEventId>, HistoryError> {
    let known = server.welcomes.0.borrow_mut().get(&room.id);
    let (mut chain, added) = match known.and_then(|told| Some((added_since(&told.state, state)?, told.auth_chain))) {
        Some((added, chain)) => (chain, added),
        None => (RedBlackTreeSet::new(), state.entries.values().cloned().collect()),
    };
    if room.rules.authorization.room_create_event_id_as_room_id
        && let Some(create) = create_event_id(&room.id)
    {
        // Nobody cites the create event there, though everything rests on it.
        chain.insert_mut(create);
    }
    let mut pending = added;
    while !pending.is_empty() && chain.size() < AUTH_CHAIN_MAX {
        let found = server.rooms.events.get_many(&pending).await?;
        pending.clear();
        for cited in found.iter().flatten().flat_map(|event| &event.pdu.auth_events) {
            if !chain.contains(cited) {
                chain.insert_mut(cited.clone());
                pending.push(cited.clone());
            }
        }
    }
    let told = Told { state: state.clone(), auth_chain: chain.clone() };
    let bytes = state.entries.size() * ENTRY_BYTES + chain.size() * CHAIN_BYTES;
    server.welcomes.0.borrow_mut().put(room.id.clone(), told, bytes);
    Ok(chain)
}

/// The events of `state` that `told` lacks; `None` if it has something that `state` has not: what only that rested on is
/// not to be told again.
fn added_since(told: &State, state: &State) -> Option<Vec<OwnedEventId>> {
    let added = |place: StateKey| match told.entries.contains_key(&place) {
        true => None,
        false => state.entries.get(&place).cloned(),
    };
    state.places_changed_since(told).into_iter().map(added).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruma::events::StateEventType;

    use super::*;

    fn state(id: u64, entries: &[(u8, u8)]) -> State {
        let entry = |(key, event): &(u8, u8)| {
            let event_id = OwnedEventId::try_from(format!("${event}")).unwrap();
            ((StateEventType::RoomMember, format!("@{key}:x.alt")), event_id)
        };
        State::new(id, entries.iter().map(entry).collect())
    }

    proptest! {
        #[test]
        fn what_was_added_is_all_that_differs_or_nothing_is_said(
            told in prop::collection::vec((0u8..12, 0u8..3), 0..12),
            now in prop::collection::vec((0u8..12, 0u8..3), 0..12),
            only_more: bool,
        ) {
            let told = state(1, &told);
            let mut now = state(2, &now);
            if only_more {
                told.entries.iter().for_each(|(key, id)| now.entries.insert_mut(key.clone(), id.clone()));
            }
            let is_kept = told.entries.iter().all(|(key, id)| now.entries.get(key) == Some(id));
            let expected: Vec<_> = now.entries.iter().filter(|(key, _)| told.entries.get(*key).is_none())
               .map(|(_, id)| id.clone()).collect();
            let sorted = |mut ids: Vec<_>| {
                ids.sort();
                ids
            };
            prop_assert_eq!(added_since(&told, &now).map(sorted), is_kept.then(|| sorted(expected)));
        }
    }
}
