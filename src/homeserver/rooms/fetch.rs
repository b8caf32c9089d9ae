//! Fetching what events build on, from the server that sent them, and what that does not give from others in the room:
//! missing events first, then the state at the edge, of which no server's word is taken alone if there are others to ask.
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use ruma::{
    EventId, OwnedEventId, OwnedServerName, RoomId, ServerName, UInt,
    api::federation::event::{get_event, get_missing_events, get_room_state, get_room_state_ids},
    events::StateEventType,
    room_version_rules::RoomVersionRules,
};
use serde_json::value::RawValue as RawJsonValue;

use super::{
    Room,
    append::{Append, AppendError},
    ingest::add_outliers,
};
use crate::{
    domain::{
        event::{
            Pdu,
            check::{Checked, DropReason},
        },
        identity::PublicKey,
        room::resolve::StateMap,
    },
    homeserver::{Homeserver, key_ring::verify, peers::PeerError, queueing::FairLock, refusals, states::State},
    ports::{Lane, StoreError},
    storage::tables::StoredVerdict,
};

/// Events asked for at once, and rounds of asking, while walking back from an event to what we know.
const MISSING_EVENTS_PER_REQUEST: u32 = 100;
const MISSING_EVENTS_ROUNDS_MAX: usize = 20;
/// Events whose state is asked for because the walk did not reach anything known.
const EDGES_MAX: usize = 5;
/// Single events fetched for one ancestry, and beyond which number the whole state is fetched at once.
const SINGLE_EVENTS_MAX: usize = 500;
const WHOLE_STATE_ABOVE_EVENTS: usize = 10;
/// The most events believed in one state answer.
const STATE_EVENTS_MAX: usize = 100_000;
/// Events checked before other work gets a turn.
const CHECKS_PER_SLICE: usize = 10;
/// Servers asked for what one ancestry needs, the one that sent the events among them.
const SOURCES_MAX: usize = 4;
/// The most bytes of events held while walking back; what is further back waits.
const WALK_MAX_BYTES: usize = 16 << 20;

/// Whose events are being completed, by whatever name: of one server one transaction at a time, as each may take memory for
/// thousands of events, and whoever has us fetch some may send many at once.
#[derive(Default)]
pub struct Fetching(RefCell<BTreeMap<String, Rc<FairLock>>>);

impl Fetching {
    fn lock_of(&self, via: &ServerName) -> Rc<FairLock> {
        let name = PublicKey::of_server_name(via).map_or_else(|| via.to_string(), |key| key.label());
        let mut locks = self.0.borrow_mut();
        locks.retain(|_, lock| Rc::strong_count(lock) > 1);
        locks.entry(name).or_default().clone()
    }
}

/// What was fetched besides the events to append.
#[derive(Clone, Default)]
pub struct Ancestry {
    /// Events that states and auth chains need.
    outliers: BTreeMap<OwnedEventId, Pdu>,
    /// The states that servers say there were before events at the edge of what we know.
    states: BTreeMap<OwnedEventId, Vec<StateMap>>,
}

impl Ancestry {
    pub async fn add_outliers(&mut self, append: &mut Append<'_>) -> Result<(), StoreError> {
        add_outliers(append, std::mem::take(&mut self.outliers)).await
    }

    /// The state before `event_id` if peers had to tell it, with all they say where their words differ; rejected events do not
    /// count as state, soft-failed ones do.
    pub async fn take_state_before(
        &mut self,
        append: &mut Append<'_>,
        event_id: &EventId,
    ) -> Result<Option<State>, AppendError> {
        let mut states = Vec::new();
        for map in self.states.remove(event_id).unwrap_or_default() {
            let mut state = StateMap::new();
            for (key, id) in map {
                if append.event(&id).await?.is_some_and(|event| event.header.verdict != StoredVerdict::Rejected) {
                    state.insert(key, id);
                }
            }
            states.push(append.snapshot(&state).await?);
        }
        if states.is_empty() { Ok(None) } else { append.resolve(states).await.map(Some) }
    }
}

/// Completes `events`, which `via` sent, with the ancestors they need, as far as it or others in the room give them.
/// Failing to reach them is no error: what is missing then is found missing when the events are appended.
pub async fn ancestry(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    events: &mut BTreeMap<OwnedEventId, Pdu>,
    via: &OwnedServerName,
) -> Result<Ancestry, StoreError> {
    let mut ancestry = Ancestry::default();
    if unknown_prevs(server, room, events).await?.is_empty()
        && absent_auth_events(server, events, &ancestry, &BTreeSet::new()).await?.is_empty()
    {
        return Ok(ancestry);
    }
    let lock = server.fetching.lock_of(via);
    let _turn = lock.lock().await;
    let mut sources = sources(server, room, via);
    walk_back(server, room, events, &mut sources).await?;
    let edges = unknown_prevs(server, room, events).await?;
    for edge in edges.into_iter().take(EDGES_MAX) {
        if !fetch_edge(server, room, events, &mut ancestry, &edge, &mut sources).await? {
            fetch_state_of_followers(server, room, events, &mut ancestry, &edge, &mut sources).await?;
        }
    }
    fetch_auth_events(server, room, events, &mut ancestry, sources).await?;
    Ok(ancestry)
}

/// Whom to ask for what events build on: who sent them, then others in the room that are connected. A server that is
/// not in the room, as far as we know, makes us ask nobody but itself.
fn sources(server: &Homeserver, room: &Room, via: &OwnedServerName) -> Vec<OwnedServerName> {
    if via != server.server_name() && !room.has_joined_server(via) {
        return vec![via.clone()];
    }
    let connected = server.environment.transport.connected();
    let others = connected.into_iter().filter(|name| name != via && room.has_joined_server(name));
    let mut sources = vec![via.clone()];
    sources.retain(|name| name != server.server_name());
    sources.extend(others);
    sources.truncate(SOURCES_MAX);
    sources
}

/// What events of the past need to be judged: the state before those of them that follow nothing we have.
pub async fn edges_of_history(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    events: &mut BTreeMap<OwnedEventId, Pdu>,
    via: &OwnedServerName,
) -> Result<Ancestry, StoreError> {
    let mut ancestry = Ancestry::default();
    let mut sources = sources(server, room, via);
    let unknown = unknown_prevs(server, room, events).await?;
    let edges: Vec<_> = events
        .values()
        .filter(|event| event.prev_events.iter().any(|prev| unknown.contains(prev)))
        .map(|event| event.event_id.clone())
        .collect();
    for edge in edges.into_iter().take(EDGES_MAX) {
        fetch_states(server, room, &mut ancestry, &edge, &mut sources).await?;
    }
    fetch_auth_events(server, room, events, &mut ancestry, sources).await?;
    Ok(ancestry)
}

/// Asks for the events between what we have and `events` until they meet: one source as long as it gives as many as it was
/// asked for, then the next, and so on in turn, so that who gives little at a time keeps us from nobody. Those that do not
/// answer, or have nothing, are not asked again.
async fn walk_back(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    events: &mut BTreeMap<OwnedEventId, Pdu>,
    sources: &mut Vec<OwnedServerName>,
) -> Result<(), StoreError> {
    let mut turns: VecDeque<OwnedServerName> = sources.iter().cloned().collect();
    let mut bytes = 0;
    for _ in 0..MISSING_EVENTS_ROUNDS_MAX {
        let Some(via) = turns.pop_front().filter(|_| bytes < WALK_MAX_BYTES) else { break };
        let unknown = unknown_prevs(server, room, events).await?;
        if unknown.is_empty() {
            break;
        }
        let latest = events
            .values()
            .filter(|event| event.prev_events.iter().any(|prev| unknown.contains(prev)))
            .map(|event| event.event_id.clone())
            .collect();
        let earliest = room.live().heads.clone();
        let mut request = get_missing_events::v1::Request::new(room.id.clone(), earliest, latest);
        request.limit = UInt::from(MISSING_EVENTS_PER_REQUEST);
        let response = match server.ask(&via, Lane::Queries, request).await {
            Ok(response) => response,
            Err(error) => {
                tracing::info!(room = %room.id, %via, %error, "missing events could not be fetched");
                if let PeerError::Transport(_) = error {
                    sources.retain(|source| *source != via);
                }
                continue;
            }
        };
        let limit = MISSING_EVENTS_PER_REQUEST as usize;
        let answered = check_all(server, room, &via, response.events.iter().take(limit)).await;
        let found = ancestors_of(server, &via, unknown, answered);
        match found.len() {
            0 => {}
            full if full >= limit => turns.push_front(via),
            _ => turns.push_back(via),
        }
        bytes += found.iter().map(Pdu::bytes_in_memory).sum::<usize>();
        events.extend(found.into_iter().map(|pdu| (pdu.event_id.clone(), pdu)));
    }
    Ok(())
}

/// Those of `answered` that `wanted` names, and what those follow: a peer does not get to choose what we fetch.
pub fn ancestors_of(
    server: &Homeserver,
    via: &ServerName,
    wanted: BTreeSet<OwnedEventId>,
    answered: Vec<Pdu>,
) -> Vec<Pdu> {
    let mut answered: BTreeMap<_, _> = answered.into_iter().map(|pdu| (pdu.event_id.clone(), pdu)).collect();
    let mut pending: Vec<_> = wanted.into_iter().collect();
    let mut found = Vec::new();
    while let Some(id) = pending.pop() {
        if let Some(pdu) = answered.remove(&id) {
            pending.extend(pdu.prev_events.iter().cloned());
            found.push(pdu);
        }
    }
    if !answered.is_empty() {
        refusals::note(server, via, &format!("{} events it gave", answered.len()), &"they were not asked for");
    }
    found
}

/// Events that `events` follow and that neither they nor the store's history hold.
async fn unknown_prevs(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    events: &BTreeMap<OwnedEventId, Pdu>,
) -> Result<BTreeSet<OwnedEventId>, StoreError> {
    let prevs: BTreeSet<_> = events.values().flat_map(|event| &event.prev_events).collect();
    let prevs: Vec<_> = prevs.into_iter().filter(|id| !events.contains_key(*id)).cloned().collect();
    let known = server.rooms.events.get_many(&prevs).await?;
    let is_known = |event: Option<Rc<_>>| {
        event.is_some_and(|event: Rc<crate::homeserver::events::StoredEvent>| {
            !event.is_outlier() && event.header.room == room.num
        })
    };
    Ok(prevs.into_iter().zip(known).filter(|(_, event)| !is_known(event.clone())).map(|(id, _)| id).collect())
}

/// Fetches an event we know nothing before, and the state before it; answers whether anybody had both.
async fn fetch_edge(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    events: &mut BTreeMap<OwnedEventId, Pdu>,
    ancestry: &mut Ancestry,
    edge: &OwnedEventId,
    sources: &mut Vec<OwnedServerName>,
) -> Result<bool, StoreError> {
    let Some(pdu) = fetch_from_any(server, room, edge, sources).await else { return Ok(false) };
    fetch_states(server, room, ancestry, edge, sources).await?;
    let is_told = ancestry.states.contains_key(edge);
    if is_told {
        events.insert(edge.clone(), pdu);
    }
    Ok(is_told)
}

/// Where the event before is nowhere to be had (lost with the server that made it, say), somebody may still know the
/// state that those after it were made in.
async fn fetch_state_of_followers(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    events: &BTreeMap<OwnedEventId, Pdu>,
    ancestry: &mut Ancestry,
    edge: &OwnedEventId,
    sources: &mut Vec<OwnedServerName>,
) -> Result<(), StoreError> {
    let followers: Vec<_> =
        events.values().filter(|event| event.prev_events.contains(edge)).map(|event| event.event_id.clone()).collect();
    for follower in followers.into_iter().take(EDGES_MAX) {
        if !ancestry.states.contains_key(&follower) {
            fetch_states(server, room, ancestry, &follower, sources).await?;
        }
    }
    Ok(())
}

/// Asks all of `sources` for the state before `event_id` and notes what most of them say; where as many say one thing as
/// another, all of it, to be resolved: what one leaves out counts if another knows of it. Those that do not answer are struck
/// off, so that they are waited for once.
async fn fetch_states(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    ancestry: &mut Ancestry,
    event_id: &OwnedEventId,
    sources: &mut Vec<OwnedServerName>,
) -> Result<(), StoreError> {
    let mut told: Vec<(StateMap, usize)> = Vec::new();
    for via in sources.clone() {
        match fetch_state(server, room, ancestry, event_id, &via).await? {
            Ok(state) => match told.iter_mut().find(|(other, _)| *other == state) {
                Some((_, votes)) => *votes += 1,
                None => told.push((state, 1)),
            },
            Err(error) => {
                tracing::info!(room = %room.id, %via, %error, "the state at the edge of what is known could not be fetched");
                if let PeerError::Transport(_) = error {
                    sources.retain(|source| *source != via);
                }
            }
        }
    }
    let Some(most) = told.iter().map(|(_, votes)| *votes).max() else { return Ok(()) };
    let states = told.into_iter().filter(|(_, votes)| *votes == most).map(|(state, _)| state).collect();
    ancestry.states.insert(event_id.clone(), states);
    Ok(())
}

/// The state before `event_id` by `via`'s word; the events it consists of join the outliers.
async fn fetch_state(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    ancestry: &mut Ancestry,
    event_id: &OwnedEventId,
    via: &OwnedServerName,
) -> Result<Result<StateMap, PeerError>, StoreError> {
    let request = get_room_state_ids::v1::Request::new(event_id.clone(), room.id.clone());
    let answer = match server.ask(via, Lane::Queries, request).await {
        Ok(answer) => answer,
        Err(error) => return Ok(Err(error)),
    };
    let malformed = |reason: &str| server.malformed(via, reason.to_owned());
    if answer.pdu_ids.len() + answer.auth_chain_ids.len() > STATE_EVENTS_MAX {
        return Ok(Err(malformed("the state is too large")));
    }
    let all: Vec<_> = answer.pdu_ids.iter().chain(&answer.auth_chain_ids).cloned().collect();
    let stored = server.rooms.events.get_many(&all).await?;
    let absent: Vec<_> = all
        .iter()
        .zip(&stored)
        .filter(|(id, event)| event.is_none() && !ancestry.outliers.contains_key(*id))
        .map(|(id, _)| id.clone())
        .collect();
    if absent.len() > WHOLE_STATE_ABOVE_EVENTS {
        let request = get_room_state::v1::Request::new(event_id.clone(), room.id.clone());
        match server.ask(via, Lane::Queries, request).await {
            Ok(whole) if whole.pdus.len() + whole.auth_chain.len() <= STATE_EVENTS_MAX => {
                let named: BTreeSet<_> = all.iter().collect();
                let answered = check_all(server, room, via, whole.pdus.iter().chain(&whole.auth_chain)).await;
                let answered = answered.into_iter().filter(|pdu| named.contains(&pdu.event_id));
                ancestry.outliers.extend(answered.map(|pdu| (pdu.event_id.clone(), pdu)));
            }
            Ok(_) => return Ok(Err(malformed("the state is too large"))),
            Err(error) => return Ok(Err(error)),
        }
    } else {
        for id in absent {
            match fetch_event(server, room, &id, via).await {
                Ok(pdu) => drop(ancestry.outliers.insert(id, pdu)),
                Err(error) => return Ok(Err(error)),
            }
        }
    }
    let stored: BTreeMap<_, _> = all.iter().zip(stored).filter_map(|(id, event)| Some((id, event?))).collect();
    let mut state = StateMap::new();
    for id in &answer.pdu_ids {
        let key = match (ancestry.outliers.get(id), stored.get(id)) {
            (Some(pdu), _) => pdu.state_map_key(),
            (None, Some(event)) => event.pdu.state_map_key(),
            (None, None) => None,
        };
        // An event it names and cannot produce is no part of a state we can hold.
        if let Some(key) = key
            && state.insert(key, id.clone()).is_some()
        {
            return Ok(Err(malformed("its state names one place twice")));
        }
    }
    if state.get(&(StateEventType::RoomCreate, String::new())) != Some(&room.create_event) {
        return Ok(Err(malformed("its state is not one of this room")));
    }
    Ok(Ok(state))
}

/// Fetches the auth events that are nowhere yet, one by one, until there are none.
async fn fetch_auth_events(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    events: &BTreeMap<OwnedEventId, Pdu>,
    ancestry: &mut Ancestry,
    mut sources: Vec<OwnedServerName>,
) -> Result<(), StoreError> {
    let mut tried = BTreeSet::new();
    loop {
        let absent = absent_auth_events(server, events, ancestry, &tried).await?;
        if absent.is_empty() {
            return Ok(());
        }
        for id in absent {
            if tried.len() >= SINGLE_EVENTS_MAX || sources.is_empty() {
                return Ok(());
            }
            tried.insert(id.clone());
            if let Some(pdu) = fetch_from_any(server, room, &id, &mut sources).await {
                ancestry.outliers.insert(id, pdu);
            }
        }
    }
}

/// What `events` and the outliers cite that is nowhere, but for what was `tried`.
async fn absent_auth_events(
    server: &Homeserver,
    events: &BTreeMap<OwnedEventId, Pdu>,
    ancestry: &Ancestry,
    tried: &BTreeSet<OwnedEventId>,
) -> Result<Vec<OwnedEventId>, StoreError> {
    let cited: BTreeSet<_> =
        events.values().chain(ancestry.outliers.values()).flat_map(|event| &event.auth_events).cloned().collect();
    let wanted: Vec<_> = cited
        .into_iter()
        .filter(|id| !events.contains_key(id) && !ancestry.outliers.contains_key(id) && !tried.contains(id))
        .collect();
    let stored = server.rooms.events.get_many(&wanted).await?;
    Ok(wanted.into_iter().zip(stored).filter(|(_, event)| event.is_none()).map(|(id, _)| id).collect())
}

/// An event from the first of `sources` that gives it. Those that do not answer are struck off.
async fn fetch_from_any(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    event_id: &OwnedEventId,
    sources: &mut Vec<OwnedServerName>,
) -> Option<Pdu> {
    let mut asked = 0;
    while let Some(via) = sources.get(asked) {
        match fetch_event(server, room, event_id, via).await {
            Ok(pdu) => return Some(pdu),
            Err(PeerError::Transport(_)) => drop(sources.remove(asked)),
            Err(error) => {
                tracing::info!(room = %room.id, %via, %error, "an event could not be fetched");
                asked += 1;
            }
        }
    }
    None
}

/// One event of the room by its id, checked.
pub async fn fetch_event(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    event_id: &OwnedEventId,
    via: &OwnedServerName,
) -> Result<Pdu, PeerError> {
    let request = get_event::v1::Request::new(event_id.clone());
    let response = server.ask(via, Lane::Queries, request).await?;
    let malformed = |reason: String| server.malformed(via, reason);
    let checked = verify::check_received(server, &response.pdu, &room.id, &room.rules)
        .await
        .map_err(|error| malformed(error.to_string()))?;
    if checked.pdu.event_id != *event_id {
        return Err(malformed("it sent another event than the one asked for".to_owned()));
    }
    Ok(checked.pdu)
}

/// Those of `raws` that are events of the room.
async fn check_all<'a>(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    via: &ServerName,
    raws: impl Iterator<Item = &'a Box<RawJsonValue>>,
) -> Vec<Pdu> {
    check_each(server, room, via, raws, verify::check_known).await
}

/// As [`check_all`], of an answer to `/backfill`: what is of old may name more events than what is sent.
pub async fn check_filled_in<'a>(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    via: &ServerName,
    raws: impl Iterator<Item = &'a Box<RawJsonValue>>,
) -> Vec<Pdu> {
    check_each(server, room, via, raws, verify::check_filled_in).await
}

async fn check_each<'a>(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    via: &ServerName,
    raws: impl Iterator<Item = &'a Box<RawJsonValue>>,
    check: impl Fn(&Homeserver, &RawJsonValue, &RoomId, &RoomVersionRules) -> Result<Checked, DropReason>,
) -> Vec<Pdu> {
    let mut checked = Vec::new();
    let raws: Vec<_> = raws.collect();
    verify::prefetch(server, raws.iter().map(|raw| &***raw), &room.rules).await;
    for (index, raw) in raws.into_iter().enumerate() {
        if index % CHECKS_PER_SLICE == CHECKS_PER_SLICE - 1 {
            server.environment.clock.yield_now().await;
        }
        match check(server, raw, &room.id, &room.rules) {
            Ok(event) => checked.push(event.pdu),
            Err(reason) => refusals::note(server, via, &format!("an event of {} it gave", room.id), &reason),
        }
    }
    checked
}
