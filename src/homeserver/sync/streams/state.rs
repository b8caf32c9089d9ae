//! The state a client needs beside the timeline: what changed since it last heard of the room, or all of it.
use std::collections::{BTreeMap, BTreeSet};

use ruma::{
    OwnedEventId, OwnedUserId,
    api::client::{
        filter::LazyLoadOptions,
        sync::sync_events::v3::{State as Written, StateEvents},
    },
    events::StateEventType,
};

use super::timeline::Recent;
use crate::{
    domain::event_filter::{allows_event, allows_room},
    homeserver::{
        client_event::{Style, format_state},
        rooms::Room,
        states::{State, StateKey},
        sync::Look,
        timeline::state_following,
    },
    ports::StoreError,
};

type Changes = BTreeMap<StateKey, OwnedEventId>;

/// What decides the state to tell.
pub struct Between<'a> {
    /// The state the client has; `None` if it knows nothing of the room, or asked for everything.
    pub known: Option<State>,
    /// The state at the end of the timeline.
    pub end: State,
    pub recent: &'a Recent,
    /// Users whose membership must be known to show the room: its heroes.
    pub heroes: &'a [OwnedUserId],
}

pub struct Told {
    pub state: Written,
    /// Whether somebody's membership is among what is told.
    pub members: bool,
}

pub async fn between(look: &Look<'_>, room: &Room, between: Between<'_>) -> Result<Told, StoreError> {
    let view = View::new(look, between).await?;
    let mut changes = view.changes(look);
    let lazy = match look.filter.room.state.lazy_load_options {
        LazyLoadOptions::Disabled => None,
        LazyLoadOptions::Enabled { include_redundant_members } => Some(include_redundant_members),
    };
    let members = changes.keys().any(|(kind, _)| *kind == StateEventType::RoomMember);
    if let Some(include_redundant) = lazy {
        view.load_lazily(look, room, &mut changes, include_redundant);
    }
    let events = write(look, room, changes).await?;
    let state = if look.state_after { Written::After(events) } else { Written::Before(events) };
    Ok(Told { state, members })
}

struct View<'a> {
    between: Between<'a>,
    /// The state before the first event of the timeline; `end` if there is none.
    start: State,
    /// Places that events of the timeline fill.
    in_timeline: BTreeSet<StateKey>,
}

impl<'a> View<'a> {
    async fn new(look: &Look<'_>, between: Between<'a>) -> Result<Self, StoreError> {
        let first = between.recent.events.first().and_then(|seen| seen.event.header.state_before);
        let start = match first {
            Some(state) => look.server.rooms.states.load(state).await?,
            None => between.end.clone(),
        };
        let in_timeline = between.recent.events.iter().filter_map(|seen| seen.event.pdu.state_map_key()).collect();
        Ok(Self { between, start, in_timeline })
    }

    /// The event the client should be told for a place. Before a timeline that fills the place itself it is what held it
    /// when the timeline began. Otherwise it is what holds it at the end: where branches of the room met, what became
    /// of the place may be no event of the timeline.
    fn target(&self, look: &Look<'_>, key: &StateKey) -> Option<&OwnedEventId> {
        let state = if !look.state_after && self.in_timeline.contains(key) { &self.start } else { &self.between.end };
        state.entries.get(key)
    }

    fn changes(&self, look: &Look<'_>) -> Changes {
        if self.is_one_branch() {
            // The timeline itself is the difference.
            let told = self.in_timeline.iter().filter(|_| look.state_after);
            return told.filter_map(|key| Some((key.clone(), self.target(look, key)?.clone()))).collect();
        }
        let known = self.between.known.as_ref();
        let mut changes = difference(known, &self.between.end);
        if !look.state_after {
            for key in &self.in_timeline {
                match self.start.entries.get(key) {
                    Some(id) if known.and_then(|known| known.entries.get(key)) != Some(id) => {
                        changes.insert(key.clone(), id.clone());
                    }
                    _ => drop(changes.remove(key)),
                }
            }
        }
        changes
    }

    /// Whether the timeline shows every event since the known state, each following the one before it.
    fn is_one_branch(&self) -> bool {
        let Some(known) = &self.between.known else { return false };
        let mut state = known.id;
        for seen in &self.between.recent.events {
            let header = &seen.event.header;
            match (header.state_before, state_following(&seen.event)) {
                (Some(before), Some(after)) if before == state => state = after,
                _ => return false,
            }
        }
        self.between.recent.whole && state == self.between.end.id
    }

    /// Leaves out members nobody needs to see the timeline, and adds those that are needed and were not sent before.
    fn load_lazily(&self, look: &Look<'_>, room: &Room, changes: &mut Changes, include_redundant: bool) {
        let member = |user: &str| (StateEventType::RoomMember, user.to_owned());
        let viewer = &look.session.user_id;
        let mut needed: BTreeSet<StateKey> =
            self.between.recent.events.iter().map(|seen| member(seen.event.pdu.sender.as_str())).collect();
        needed.extend(self.between.heroes.iter().map(|hero| member(hero.as_str())));
        let sent = &look.server.lazy_members;
        if self.between.known.is_none() {
            needed.insert(member(viewer.as_str()));
            changes.retain(|key, _| key.0 != StateEventType::RoomMember || needed.contains(key));
        } else {
            for key in needed {
                let Some(event_id) = self.target(look, &key).cloned() else { continue };
                let Ok(user) = OwnedUserId::try_from(key.1.as_str()) else { continue };
                let has = sent.has(look.session, &room.id, &user, &event_id, look.confirmed);
                if include_redundant || !has {
                    changes.entry(key).or_insert(event_id);
                }
            }
        }
        for ((kind, key), event_id) in changes.iter() {
            if *kind == StateEventType::RoomMember
                && let Ok(user) = OwnedUserId::try_from(key.as_str())
            {
                sent.note(look.session, &room.id, &user, event_id, look.until);
            }
        }
    }
}

/// The entries of `new` that `old` lacks or has otherwise. What `old` has and `new` lacks cannot be told to clients.
fn difference(old: Option<&State>, new: &State) -> Changes {
    let Some(old) = old else {
        return new.entries.iter().map(|(key, id)| (key.clone(), id.clone())).collect();
    };
    let mut changes = Changes::new();
    if old.id == new.id {
        return changes;
    }
    // Both are in the order of their keys.
    let mut old = old.entries.iter().peekable();
    for (key, id) in &new.entries {
        while old.next_if(|(old_key, _)| *old_key < key).is_some() {}
        let before = old.next_if(|(old_key, _)| *old_key == key);
        if before.is_none_or(|(_, old_id)| old_id != id) {
            changes.insert(key.clone(), id.clone());
        }
    }
    changes
}

async fn write(look: &Look<'_>, room: &Room, changes: Changes) -> Result<StateEvents, StoreError> {
    let filter = &look.filter.room.state;
    if !allows_room(filter.rooms.as_deref(), &filter.not_rooms, &room.id) {
        return Ok(StateEvents::new());
    }
    let ids: Vec<_> = changes.into_values().collect();
    let events = look.server.rooms.events.get_many(&ids).await?;
    let events: Vec<_> = events.into_iter().flatten().filter(|event| allows_event(filter, &event.pdu)).collect();
    let events = format_state(look.server, look.session, look.style(Style::SYNC_STATE), &events).await?;
    Ok(StateEvents::with_events(events))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rpds::RedBlackTreeMap;

    use super::*;

    fn state(id: u64, entries: &BTreeMap<u8, u8>) -> State {
        let key = |n: &u8| (StateEventType::RoomMember, format!("@{n}:x.alt"));
        let event = |n: &u8| OwnedEventId::try_from(format!("${n}")).unwrap();
        State::new(id, entries.iter().map(|(k, v)| (key(k), event(v))).collect::<RedBlackTreeMap<_, _>>())
    }

    proptest! {
        #[test]
        fn a_difference_turns_the_old_state_into_the_new(
            old in prop::collection::btree_map(0u8..20, 0u8..3, 0..15),
            new in prop::collection::btree_map(0u8..20, 0u8..3, 0..15),
        ) {
            let (old, new) = (state(1, &old), state(2, &new));
            let changes = difference(Some(&old), &new);
            for (key, id) in &new.entries {
                prop_assert_eq!(changes.get(key).or(old.entries.get(key)), Some(id));
            }
            prop_assert!(changes.iter().all(|(key, id)| old.entries.get(key) != Some(id)));
            prop_assert!(changes.keys().all(|key| new.entries.contains_key(key)));
            prop_assert_eq!(difference(None, &new).len(), new.entries.size());
        }
    }
}
