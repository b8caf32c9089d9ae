//! What we tell other servers of a room's past: events they may see, states, and the events between two points.
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::{
    OwnedEventId, RoomId, ServerName, UserId,
    events::{StateEventType, room::member::MembershipState},
};
use thiserror::Error;

use super::{Room, acl, welcome};
use crate::{
    domain::{
        event::{Pdu, create_event_id},
        room::visibility::{Viewpoint, closest, server_may_see, visibility_of},
    },
    homeserver::{Homeserver, erasures, events::StoredEvent, states::State, sync::streams::summary},
    ports::StoreError,
};

/// The most events one answer holds, whatever was asked for.
pub const HISTORY_EVENTS_MAX: usize = 100;
/// The most event ids of a request that are looked at: twenty each of the heads a room should ever have, and to spare.
pub const HISTORY_REFERENCES_MAX: usize = 100;
/// The most events walked through for one answer.
const HISTORY_WALK_MAX: usize = 1_000;
/// The most events an auth chain we answer with may have.
pub(super) const AUTH_CHAIN_MAX: usize = 100_000;

#[derive(Debug, Error)]
pub enum HistoryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no such event here")]
    NotFound,
    #[error("{0}")]
    Forbidden(&'static str),
}

/// The room, if `origin` may ask about it: it has a user there and the room's ACL does not deny it.
pub async fn room_for(server: &Homeserver, room_id: &RoomId, origin: &ServerName) -> Result<Rc<Room>, HistoryError> {
    room_for_events(server, room_id, &[], origin).await
}

/// As `room_for`; or `origin` had a user there when each of `events` was made. Who was put out while away learns it from
/// those events, and must be able to tell what they follow.
pub async fn room_for_events(
    server: &Homeserver,
    room_id: &RoomId,
    events: &[OwnedEventId],
    origin: &ServerName,
) -> Result<Rc<Room>, HistoryError> {
    let room = server.rooms.get(room_id).await?.ok_or(HistoryError::NotFound)?;
    if acl::denies_origin(server, &room, origin).await? {
        return Err(HistoryError::Forbidden("your server is denied by the room's ACL"));
    }
    if room.has_joined_server(origin) || was_in(server, &room, events, origin).await? {
        return Ok(room);
    }
    Err(HistoryError::Forbidden("your server is not in the room"))
}

/// Whether `origin` had a user in the room when each of `events` was made, and there are any.
async fn was_in(
    server: &Homeserver,
    room: &Room,
    events: &[OwnedEventId],
    origin: &ServerName,
) -> Result<bool, StoreError> {
    let events = server.rooms.events.get_many(&events[..events.len().min(HISTORY_REFERENCES_MAX)]).await?;
    for event in &events {
        let event = event.as_ref().filter(|event| event.header.room == room.num);
        let Some(state) = event.and_then(|event| event.header.state_before) else { return Ok(false) };
        let state = server.rooms.states.load(state).await?;
        if membership_of_server(server, &state, origin).await? != MembershipState::Join {
            return Ok(false);
        }
    }
    Ok(!events.is_empty())
}

/// One event, whole or, where history visibility hides it from `origin`, redacted.
pub async fn event_for(
    server: &Homeserver,
    event_id: &OwnedEventId,
    origin: &ServerName,
) -> Result<Rc<Pdu>, HistoryError> {
    let event = server.rooms.events.get(event_id).await?.ok_or(HistoryError::NotFound)?;
    let room = room_for_events(server, &event.pdu.room_id, std::slice::from_ref(event_id), origin).await?;
    Ok(Onlooker::new(server, &room, origin).shown(&event).await?)
}

/// The ids of the state before an event, and of that state's auth chain.
pub async fn state_before(
    server: &Homeserver,
    room: &Room,
    event_id: &OwnedEventId,
) -> Result<(Vec<OwnedEventId>, Vec<OwnedEventId>), HistoryError> {
    let event = server.rooms.events.get(event_id).await?.filter(|event| event.header.room == room.num);
    let state = event.and_then(|event| event.header.state_before).ok_or(HistoryError::NotFound)?;
    let state = server.rooms.states.load(state).await?;
    let chain = welcome::auth_chain(server, room, &state).await?;
    Ok((state.entries.values().cloned().collect(), chain.iter().cloned().collect()))
}

/// As `state_before` a join, without the members: but for those after whom a room without a name is named, as whoever joins
/// is told them. What the join itself rests on is in the auth chain, and what is in the state is not there again.
pub async fn state_without_members(
    server: &Homeserver,
    room: &Room,
    join: &OwnedEventId,
) -> Result<(Vec<OwnedEventId>, Vec<OwnedEventId>), HistoryError> {
    let event = server.rooms.events.get(join).await?.filter(|event| event.header.room == room.num);
    let event = event.ok_or(HistoryError::NotFound)?;
    let state = server.rooms.states.load(event.header.state_before.ok_or(HistoryError::NotFound)?).await?;
    let heroes = summary::now(server, room, &event.pdu.sender).await?.heroes;
    let kept = |(kind, key): &(StateEventType, String)| {
        *kind != StateEventType::RoomMember || heroes.iter().any(|hero| hero.as_str() == key)
    };
    let ids: Vec<_> = state.entries.iter().filter(|(key, _)| kept(key)).map(|(_, id)| id.clone()).collect();
    let mut chain = auth_chain(server, room, ids.iter().chain([join]).cloned().collect()).await?;
    chain.retain(|id| !ids.contains(id));
    Ok((ids, chain))
}

/// The events that an event of the room rests on, in full, or as far as `origin` may see them: what was rejected may have
/// cited anything.
pub async fn auth_chain_of(
    server: &Homeserver,
    room: &Room,
    event_id: &OwnedEventId,
    origin: &ServerName,
) -> Result<Vec<Rc<Pdu>>, HistoryError> {
    let event = server.rooms.events.get(event_id).await?.filter(|event| event.header.room == room.num);
    event.ok_or(HistoryError::NotFound)?;
    let mut chain = auth_chain(server, room, vec![event_id.clone()]).await?;
    // Of the create event of a room that is named after it, which rests on nothing.
    chain.retain(|id| id != event_id);
    let events = server.rooms.events.get_many(&chain).await?;
    let of_room = events.into_iter().flatten().filter(|event| event.header.room == room.num);
    shown_all(server, room, of_room.collect(), origin).await
}

/// Everything that `events` rest on by their `auth_events`, they themselves excluded.
pub async fn auth_chain(
    server: &Homeserver,
    room: &Room,
    events: Vec<OwnedEventId>,
) -> Result<Vec<OwnedEventId>, HistoryError> {
    let mut chain = BTreeSet::new();
    let mut pending = events;
    if room.rules.authorization.room_create_event_id_as_room_id {
        // Nobody cites the create event there, though everything rests on it.
        chain.extend(create_event_id(&room.id));
    }
    while !pending.is_empty() && chain.len() < AUTH_CHAIN_MAX {
        let found = server.rooms.events.get_many(&pending).await?;
        pending.clear();
        for event in found.into_iter().flatten() {
            pending.extend(event.pdu.auth_events.iter().filter(|id| chain.insert((*id).clone())).cloned());
        }
    }
    Ok(chain.into_iter().collect())
}

/// The given events in full, those that are not stored left out.
pub async fn pdus(server: &Homeserver, ids: &[OwnedEventId]) -> Result<Vec<Rc<Pdu>>, HistoryError> {
    Ok(server.rooms.events.get_many(ids).await?.into_iter().flatten().map(|event| event.pdu.clone()).collect())
}

/// `from` and what came before it, newest first.
pub async fn backfill(
    server: &Homeserver,
    room: &Room,
    from: &[OwnedEventId],
    limit: usize,
    origin: &ServerName,
) -> Result<Vec<Rc<Pdu>>, HistoryError> {
    let from = from.iter().take(HISTORY_REFERENCES_MAX).cloned().collect();
    let events = walk(server, room, from, &BTreeSet::new(), limit.min(HISTORY_EVENTS_MAX), 0).await?;
    shown_all(server, room, events, origin).await
}

/// What lies between two sets of events.
pub struct Between<'a> {
    pub earliest: &'a [OwnedEventId],
    pub latest: &'a [OwnedEventId],
    /// Events of a lower depth are left out.
    pub min_depth: u64,
    pub limit: usize,
}

/// What came between `earliest` and `latest`, both excluded, oldest first.
pub async fn missing_events(
    server: &Homeserver,
    room: &Room,
    between: Between<'_>,
    origin: &ServerName,
) -> Result<Vec<Rc<Pdu>>, HistoryError> {
    let Between { earliest, latest, min_depth, limit } = between;
    let earliest: BTreeSet<_> = earliest.iter().take(HISTORY_REFERENCES_MAX).cloned().collect();
    let latest = server.rooms.events.get_many(&latest[..latest.len().min(HISTORY_REFERENCES_MAX)]).await?;
    let of_room = latest.into_iter().flatten().filter(|event| event.header.room == room.num);
    let from = of_room.flat_map(|event| event.pdu.prev_events.clone()).filter(|id| !earliest.contains(id)).collect();
    let mut events = walk(server, room, from, &earliest, limit.min(HISTORY_EVENTS_MAX), min_depth).await?;
    events.reverse();
    shown_all(server, room, events, origin).await
}

/// Walks back along `prev_events` breadth first, deepest first, stopping at `stop` and below `min_depth`.
async fn walk(
    server: &Homeserver,
    room: &Room,
    from: Vec<OwnedEventId>,
    stop: &BTreeSet<OwnedEventId>,
    limit: usize,
    min_depth: u64,
) -> Result<Vec<Rc<StoredEvent>>, HistoryError> {
    let mut seen: BTreeSet<OwnedEventId> = stop.clone();
    let mut frontier: BTreeMap<(u64, OwnedEventId), Rc<StoredEvent>> = BTreeMap::new();
    let mut walked = Vec::new();
    let mut pending = from;
    while walked.len() < limit && seen.len() < stop.len() + HISTORY_WALK_MAX {
        pending.retain(|id| seen.insert(id.clone()));
        for event in server.rooms.events.get_many(&pending).await?.into_iter().flatten() {
            if event.header.room == room.num && !event.is_outlier() && event.pdu.depth >= min_depth {
                frontier.insert((event.pdu.depth, event.pdu.event_id.clone()), event);
            }
        }
        let Some((_, event)) = frontier.pop_last() else { break };
        pending = event.pdu.prev_events.clone();
        walked.push(event);
    }
    Ok(walked)
}

async fn shown_all(
    server: &Homeserver,
    room: &Room,
    events: Vec<Rc<StoredEvent>>,
    origin: &ServerName,
) -> Result<Vec<Rc<Pdu>>, HistoryError> {
    let onlooker = Onlooker::new(server, room, origin);
    let mut pdus = Vec::with_capacity(events.len());
    for event in events {
        pdus.push(onlooker.shown(&event).await?);
    }
    Ok(pdus)
}

/// Another server that looks at events of a room.
pub struct Onlooker<'a> {
    server: &'a Homeserver,
    room: &'a Room,
    origin: &'a ServerName,
    /// What its users were in each state: to find them takes a walk through all members, and messages share their states.
    memberships: RefCell<BTreeMap<u64, MembershipState>>,
}

impl<'a> Onlooker<'a> {
    pub fn new(server: &'a Homeserver, room: &'a Room, origin: &'a ServerName) -> Self {
        Self { server, room, origin, memberships: RefCell::default() }
    }

    async fn shown(&self, event: &StoredEvent) -> Result<Rc<Pdu>, StoreError> {
        match self.may_see(event).await? {
            true => Ok(event.pdu.clone()),
            false => Ok(Rc::new(event.pdu.redacted(&self.room.rules))),
        }
    }

    /// Whether it may see the whole event. State is never hidden: servers need it to take part.
    pub async fn may_see(&self, event: &StoredEvent) -> Result<bool, StoreError> {
        if event.pdu.state_key.is_some() {
            return Ok(true);
        }
        // What has no place in the room here was seen by nobody we know of. Redacted it is told, as without it others could
        // never judge what cites it, nor what follows that.
        let Some(state) = event.header.state_before else { return Ok(false) };
        let Self { server, room, origin, .. } = *self;
        let state = server.rooms.states.load(state).await?;
        let view = Viewpoint {
            visibility: visibility_at(server, &state).await?,
            membership: self.membership_in(&state).await?,
            joined_since: room.has_joined_server(origin),
        };
        let erased = is_erased_for(server, room, event, origin, &view.membership).await?;
        Ok(server_may_see(&event.pdu, origin, &view) && !erased)
    }

    async fn membership_in(&self, state: &State) -> Result<MembershipState, StoreError> {
        let known = self.memberships.borrow().get(&state.id).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let membership = membership_of_server(self.server, state, self.origin).await?;
        self.memberships.borrow_mut().insert(state.id, membership.clone());
        Ok(membership)
    }
}

/// Whether the sender had the event erased, and `origin` was in the room neither at the event nor at the erasure.
async fn is_erased_for(
    server: &Homeserver,
    room: &Room,
    event: &StoredEvent,
    origin: &ServerName,
    at_event: &MembershipState,
) -> Result<bool, StoreError> {
    let Some(order) = server.erasures.of(&event.pdu.sender, &room.id) else { return Ok(false) };
    if *at_event == MembershipState::Join {
        return Ok(false);
    }
    let Some(then) = erasures::state_then(server, room, order).await? else { return Ok(true) };
    Ok(membership_of_server(server, &then, origin).await? != MembershipState::Join)
}

/// What a state says about who may see what happens in it.
pub async fn visibility_at(
    server: &Homeserver,
    state: &State,
) -> Result<ruma::events::room::history_visibility::HistoryVisibility, StoreError> {
    let event = match state.get(&StateEventType::RoomHistoryVisibility, "") {
        Some(event_id) => server.rooms.events.get(event_id).await?,
        None => None,
    };
    Ok(visibility_of(event.as_ref().map(|event| &*event.pdu)))
}

/// The membership events of a server's users in a state.
pub fn member_events_of(state: &State, origin: &ServerName) -> Vec<OwnedEventId> {
    let from = (StateEventType::RoomMember, String::new());
    let suffix = format!(":{origin}");
    // A port at the end of another server's name looks like a name.
    let is_of_origin = |user: &str| <&UserId>::try_from(user).is_ok_and(|user| user.server_name() == origin);
    state
        .entries
        .range(from..)
        .take_while(|(key, _)| key.0 == StateEventType::RoomMember)
        .filter(|(key, _)| key.1.ends_with(&suffix) && is_of_origin(&key.1))
        .map(|(_, id)| id.clone())
        .collect()
}

async fn membership_of_server(
    server: &Homeserver,
    state: &State,
    origin: &ServerName,
) -> Result<MembershipState, StoreError> {
    let ids = member_events_of(state, origin);
    let events = server.rooms.events.get_many(&ids).await?;
    let memberships: Vec<_> = events.into_iter().flatten().filter_map(|event| event.pdu.membership()).collect();
    Ok(closest(&memberships))
}
