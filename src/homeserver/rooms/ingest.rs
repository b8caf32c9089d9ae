//! Events from other servers: checked, their ancestry fetched, judged and appended; what cannot be judged yet is kept.
//!
//! DROP (it is no event), RETRY (we lack what it builds on: staged) and REJECT (a verdict, stored with it) are three
//! different things.
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::{OwnedEventId, OwnedServerName, ServerName};
use serde_json::value::RawValue as RawJsonValue;
use thiserror::Error;

use super::{
    Room, acl,
    append::{Append, AppendError, Audience, Placement},
    fetch::{self, Ancestry},
    join::JUDGED_PER_SLICE,
    policy, recall,
    waiting::{self, Changes, Kept},
};
use crate::{
    domain::{
        event::{
            Pdu,
            check::{DropReason, event_id_of, parse_object},
        },
        room::{
            admit::{Verdict, admit_by_auth_events},
            policy::names_policy_server,
        },
    },
    homeserver::{Homeserver, events::StoredEvent, heads::quiet, key_ring::verify, refusals},
    ports::{Batch, StoreError},
    storage::tables::{StagedPduRow, StagedPdus, StoredVerdict},
};

/// The most events kept per room until their ancestry is known; further ones are refused, not lost: their origin's
/// heads bring them back. Servers that are not in the room, as far as we know, may fill a part of that only.
pub const STAGED_PDUS_PER_ROOM_MAX: usize = 200;
pub const STAGED_PDUS_OF_STRANGERS_MAX: usize = 50;
/// Of these, what one server may have sent: nobody keeps the others of the room from having theirs kept.
pub const STAGED_PDUS_PER_SERVER_MAX: usize = 100;
/// How long a staged event is kept, in milliseconds. Failing does not count: who asks us to try again may be lying.
pub const STAGED_PDU_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// Events appended under one hold of the room's lock and written in one commit.
const APPENDS_PER_COMMIT: usize = 50;
/// Events checked before other work gets a turn.
const CHECKS_PER_SLICE: usize = 10;

/// Why an event's origin is told that it was not taken.
#[derive(Debug, Error)]
pub enum Refusal {
    #[error(transparent)]
    Dropped(#[from] DropReason),
    #[error("rejected: {0}")]
    Rejected(String),
    #[error("too many events of this room wait for their ancestry")]
    StagingFull,
    #[error("{0}")]
    Failed(String),
}

pub type Outcomes = BTreeMap<OwnedEventId, Result<(), Refusal>>;

/// Takes in events of one room that `via` sent. Events without an id (no JSON, no event) are dropped silently, as
/// there is nothing to answer under.
pub async fn ingest(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    raws: Vec<Box<RawJsonValue>>,
    via: &OwnedServerName,
) -> Result<Outcomes, StoreError> {
    let mut outcomes = Outcomes::new();
    let mut checked = BTreeMap::new();
    verify::prefetch(server, raws.iter().map(|raw| &**raw), &room.rules).await;
    for (index, raw) in raws.iter().enumerate() {
        if index % CHECKS_PER_SLICE == CHECKS_PER_SLICE - 1 {
            server.environment.clock.yield_now().await;
        }
        match check(server, room, raw) {
            Ok(pdu) => drop(checked.insert(pdu.event_id.clone(), pdu)),
            Err((Some(id), reason)) => drop(outcomes.insert(id, Err(reason.into()))),
            Err((None, reason)) => refusals::note(server, via, &format!("an event of {}", room.id), &reason),
        }
    }
    if acl::denies_origin(server, room, via).await? {
        let denied = |id| (id, Err(Refusal::Failed("this server is denied by the room's ACL".to_owned())));
        outcomes.extend(checked.into_keys().map(denied));
    } else {
        outcomes.extend(take_in(server, room, checked, via).await?);
    }
    for (id, outcome) in &outcomes {
        if let Err(refusal) = outcome {
            refusals::note(server, via, id, refusal);
        }
    }
    Ok(outcomes)
}

/// Tries again what waits for its ancestry in this room, which `via` may have.
pub async fn retry_staged(server: &Rc<Homeserver>, room: &Rc<Room>, via: &OwnedServerName) -> Result<(), StoreError> {
    let checked = staged(server, room).await?;
    if checked.is_empty() {
        return Ok(());
    }
    take_in(server, room, checked, via).await.map(drop)
}

/// Whether [`append_ready`] may find something to do.
pub fn may_be_ready(server: &Homeserver, room: &Room) -> bool {
    server.waiting.is_stirred_or_older(&room.id, oldest_kept_ms(server))
}

/// Appends what waited for nothing but events that have arrived since; nobody is asked for anything.
pub async fn append_ready(server: &Rc<Homeserver>, room: &Rc<Room>) -> Result<(), StoreError> {
    drop_expired(server, room).await?;
    let ready = ready(server, room).await?;
    if ready.is_empty() {
        return Ok(());
    }
    let own = server.server_name().to_owned();
    let appended = append_all(server, room, ready, Ancestry::default(), &own).await.map(drop);
    if appended.is_err() {
        // They are to be tried again.
        server.waiting.forget(&room.id);
    }
    appended
}

/// What waits no longer: all that it follows is there, or is ready itself.
async fn ready(server: &Rc<Homeserver>, room: &Rc<Room>) -> Result<BTreeMap<OwnedEventId, Pdu>, StoreError> {
    let mut stirred = server.waiting.take_stirred(server, room).await?;
    if stirred.is_empty() {
        return Ok(BTreeMap::new());
    }
    let prevs: BTreeSet<_> = stirred.values().flatten().filter(|id| !stirred.contains_key(*id)).collect();
    let prevs: Vec<_> = prevs.into_iter().cloned().collect();
    let events = server.rooms.events.get_many(&prevs).await?;
    let is_known = |event: &Option<Rc<StoredEvent>>| event.as_ref().is_some_and(|event| !event.is_outlier());
    let known = prevs.into_iter().zip(events).filter(|(_, event)| is_known(event));
    let mut known: BTreeSet<_> = known.map(|(id, _)| id).collect();
    let mut keys = Vec::new();
    while let Some((id, _)) = stirred.iter().find(|(_, prevs)| prevs.iter().all(|prev| known.contains(prev))) {
        let id = id.clone();
        stirred.remove(&id);
        known.insert(id.clone());
        keys.push((room.id.clone(), id));
    }
    let rows = server.database.get_many::<StagedPdus>(&keys).await?;
    let mut ready = BTreeMap::new();
    for ((_, id), row) in keys.into_iter().zip(rows) {
        if let Some(pdu) = row.and_then(|row| waiting::read(room, &id, &row)) {
            ready.insert(id, pdu);
        }
    }
    Ok(ready)
}

/// What waits in this room.
async fn staged(server: &Rc<Homeserver>, room: &Rc<Room>) -> Result<BTreeMap<OwnedEventId, Pdu>, StoreError> {
    if !server.database.has_any::<StagedPdus, _>(&room.id).await? {
        return Ok(BTreeMap::new());
    }
    drop_expired(server, room).await?;
    let rows = server.database.scan_all::<StagedPdus, _>(&room.id).await?;
    Ok(rows.into_iter().filter_map(|((_, id), row)| Some((id.clone(), waiting::read(room, &id, &row)?))).collect())
}

/// Drops what has waited for too long.
async fn drop_expired(server: &Rc<Homeserver>, room: &Rc<Room>) -> Result<(), StoreError> {
    let oldest_ms = oldest_kept_ms(server);
    let (mut batch, mut changes) = (Batch::default(), Changes::default());
    for id in server.waiting.older_than(server, room, oldest_ms).await? {
        batch.delete::<StagedPdus>(&(room.id.clone(), id.clone()));
        changes.remove(id);
    }
    if !batch.is_empty() {
        server.database.commit(batch).await?;
        server.waiting.adopt(&room.id, changes);
    }
    Ok(())
}

/// What was received before is not kept any longer.
fn oldest_kept_ms(server: &Homeserver) -> u64 {
    server.environment.clock.now_ms().saturating_sub(STAGED_PDU_KEPT_MS)
}

/// The checks that need nothing but the event and keys; with the id to answer under if it has one.
fn check(server: &Homeserver, room: &Room, raw: &RawJsonValue) -> Result<Pdu, (Option<OwnedEventId>, DropReason)> {
    verify::check_known(server, raw, &room.id, &room.rules).map(|checked| checked.pdu).map_err(|reason| {
        let id = parse_object(raw, &room.rules).and_then(|object| event_id_of(&object, &room.rules)).ok();
        (id, reason)
    })
}

async fn take_in(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    mut events: BTreeMap<OwnedEventId, Pdu>,
    via: &OwnedServerName,
) -> Result<Outcomes, StoreError> {
    let mut outcomes = Outcomes::new();
    let asked_for: BTreeSet<OwnedEventId> = events.keys().cloned().collect();
    let ids: Vec<_> = events.keys().cloned().collect();
    for (id, known) in ids.iter().zip(server.rooms.events.get_many(&ids).await?) {
        if let Some(known) = known.as_ref().filter(|_| room.has_joined_server(via)) {
            recall::recall(server, room, known).await?;
        }
        if known.is_some_and(|known| !known.is_outlier()) {
            events.remove(id);
            outcomes.insert(id.clone(), Ok(()));
        }
    }
    if events.is_empty() {
        return Ok(outcomes);
    }
    let ancestry = fetch::ancestry(server, room, &mut events, via).await?;
    let mut verdicts = append_all(server, room, events, ancestry, via).await?;
    for id in asked_for {
        if let Some(outcome) = verdicts.remove(&id) {
            outcomes.insert(id, outcome);
        }
    }
    Ok(outcomes)
}

/// Appends `events` in an order in which each follows its ancestors, a commit at a time.
async fn append_all(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    events: BTreeMap<OwnedEventId, Pdu>,
    mut ancestry: Ancestry,
    via: &OwnedServerName,
) -> Result<Outcomes, StoreError> {
    let mut outcomes = Outcomes::new();
    let mut queue = ancestors_first(events).into_iter().peekable();
    while queue.peek().is_some() {
        let mut slice: Vec<Pdu> = Vec::new();
        // What follows an event that names another policy server is judged by that one.
        while slice.len() < APPENDS_PER_COMMIT && !slice.last().is_some_and(names_policy_server) {
            let Some(pdu) = queue.next() else { break };
            slice.push(pdu);
        }
        policy::ask_for(server, room, &mut slice).await?;
        let mut append = Append::begin(server, room).await;
        let is_stranger = via != server.server_name() && !room.has_joined_server(via);
        ancestry.add_outliers(&mut append).await?;
        let ids: Vec<_> = slice.iter().map(|pdu| pdu.event_id.clone()).collect();
        append.foresee(&ids).await?;
        let mut slice_outcomes = Outcomes::new();
        let mut staging = Staging::begin(server, room, via, is_stranger).await?;
        let (mut accepted, mut soft_failed) = (false, false);
        for pdu in slice {
            let id = pdu.event_id.clone();
            if append.event(&id).await?.is_some_and(|known| !known.is_outlier()) {
                slice_outcomes.insert(id, Ok(()));
                continue;
            }
            let outcome = append_one(server, &mut append, &mut ancestry, pdu, via, &mut staging).await?;
            if let Some(known) = append.event(&id).await?.filter(|known| !known.is_outlier()) {
                accepted |= known.is_accepted();
                soft_failed |= known.header.verdict == StoredVerdict::SoftFailed;
            }
            slice_outcomes.insert(id, outcome);
        }
        let Staging { batch: staging, changes, .. } = staging;
        // Others may have what was right once, and build upon it.
        let is_late = || server.late.may_write(&room.id, append.events_written(), server.environment.clock.now_ms());
        let is_dropped = is_stranger && !accepted && !(soft_failed && is_late());
        let written = if is_dropped {
            // Who is not in the room, and has nothing for it either, fills no storage of ours with what we refused.
            let _guard = append.discard();
            let written = server.database.commit(staging).await;
            written.map(|()| server.waiting.adopt(&room.id, changes)).map_err(AppendError::Store)
        } else {
            append.batch.append(staging);
            append.waiting = changes;
            append.commit().await
        };
        match written {
            Ok(()) => outcomes.extend(slice_outcomes),
            Err(AppendError::Store(error)) => return Err(error),
            Err(error) => {
                let failed = |id| (id, Err(Refusal::Failed(error.to_string())));
                outcomes.extend(slice_outcomes.into_keys().map(failed));
            }
        }
        server.environment.clock.yield_now().await;
    }
    Ok(outcomes)
}

/// What is to be kept until its ancestry is known.
struct Staging {
    batch: Batch,
    changes: Changes,
    /// The events of the room that are kept.
    kept: BTreeSet<OwnedEventId>,
    /// How many of them the server sent that sends now.
    of_via: usize,
    is_stranger: bool,
}

impl Staging {
    /// To be called under the room's lock.
    async fn begin(
        server: &Homeserver,
        room: &Room,
        via: &OwnedServerName,
        is_stranger: bool,
    ) -> Result<Self, StoreError> {
        let Kept { events, of_server } = server.waiting.kept(server, room, via).await?;
        let (batch, changes) = (Batch::default(), Changes::default());
        Ok(Self { batch, changes, kept: events, of_via: of_server, is_stranger })
    }

    fn is_full(&self) -> bool {
        let most = if self.is_stranger { STAGED_PDUS_OF_STRANGERS_MAX } else { STAGED_PDUS_PER_ROOM_MAX };
        self.kept.len() >= most || self.of_via >= STAGED_PDUS_PER_SERVER_MAX
    }
}

async fn append_one(
    server: &Rc<Homeserver>,
    append: &mut Append<'_>,
    ancestry: &mut Ancestry,
    pdu: Pdu,
    via: &OwnedServerName,
    staging: &mut Staging,
) -> Result<Result<(), Refusal>, StoreError> {
    let key = (append.room.id.clone(), pdu.event_id.clone());
    let received_ms = server.environment.clock.now_ms();
    let (json, mut waits) = (pdu.json().to_owned(), Changes::default());
    waits.add(&pdu, via, received_ms);
    let result = match ancestry.take_state_before(append, &pdu.event_id).await {
        Ok(Some(told)) => append.receive_told(pdu, told).await,
        Ok(None) => append.receive(pdu, Placement::Live, Audience::Nobody).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(verdict) => {
            if staging.kept.remove(&key.1) {
                staging.batch.delete::<StagedPdus>(&key);
                staging.changes.remove(key.1);
            }
            Ok(match verdict {
                // A soft failure is between us and the event: its origin did nothing wrong.
                Verdict::Accepted | Verdict::SoftFailed { .. } => Ok(()),
                Verdict::Rejected { rule } => Err(Refusal::Rejected(rule)),
            })
        }
        Err(AppendError::Missing(missing)) => {
            if staging.kept.contains(&key.1) {
                return Ok(Ok(()));
            }
            if staging.is_full() {
                return Ok(Err(Refusal::StagingFull));
            }
            tracing::info!(event = %key.1, room = %key.0, missing = missing.len(), "event kept until its ancestry is known");
            staging.of_via += usize::from(staging.kept.insert(key.1.clone()));
            quiet::changed(server, &append.room);
            staging.changes.append(waits);
            staging.batch.put::<StagedPdus>(&key, &StagedPduRow { json, origin: via.clone(), received_ms });
            Ok(Ok(()))
        }
        Err(AppendError::Store(error)) => Err(error),
        Err(error) => Ok(Err(Refusal::Failed(error.to_string()))),
    }
}

/// Sorts events so that each comes after those of them it follows, whatever depth they claim. A hash-linked graph has no
/// circles; where servers choose ids (room versions 1 and 2) it can have some, and none of what is in one has all it
/// follows before it.
pub(super) fn ancestors_first(mut events: BTreeMap<OwnedEventId, Pdu>) -> Vec<Pdu> {
    let mut order = Vec::with_capacity(events.len());
    let mut opened = BTreeSet::new();
    let mut stack: Vec<(OwnedEventId, bool)> = events.keys().rev().map(|id| (id.clone(), false)).collect();
    // Deterministic, and close to the order in which things happened.
    stack.sort_by_key(|(id, _)| std::cmp::Reverse((events[id].depth, events[id].origin_server_ts)));
    while let Some((id, expanded)) = stack.pop() {
        if expanded {
            order.extend(events.remove(&id));
        } else if let Some(event) = events.get(&id)
            && opened.insert(id.clone())
        {
            let ancestors: Vec<_> = event
                .prev_events
                .iter()
                .chain(&event.auth_events)
                .filter(|id| events.contains_key(*id))
                .cloned()
                .collect();
            stack.push((id, true));
            stack.extend(ancestors.into_iter().map(|id| (id, false)));
        }
    }
    order
}

/// Judges and stores events that only others' authorization needs, ancestors first.
pub(super) async fn add_outliers(
    append: &mut Append<'_>,
    outliers: BTreeMap<OwnedEventId, Pdu>,
) -> Result<(), StoreError> {
    for (index, pdu) in ancestors_first(outliers).into_iter().enumerate() {
        if index % JUDGED_PER_SLICE == JUDGED_PER_SLICE - 1 {
            append.server.environment.clock.yield_now().await;
        }
        if append.event(&pdu.event_id).await?.is_some() || append.is_taken(&pdu.event_id) {
            continue;
        }
        let cited = append.events(&pdu.auth_events).await?;
        let cited: Vec<Rc<Pdu>> = cited.into_iter().flatten().map(|event| event.pdu.clone()).collect();
        let create_event = append.room.create_event.clone();
        let create = append.event(&create_event).await?.map(|event| event.pdu.clone());
        match admit_by_auth_events(&pdu, &append.room.rules, &cited, create) {
            Ok(_) if append.is_second_create(&pdu) => {
                let rule = "the room has another create event";
                refusals::note(append.server, pdu.sender.server_name(), &pdu.event_id, &rule);
            }
            Ok(verdict) => {
                if let Verdict::Rejected { rule } = &verdict {
                    refusals::note(append.server, pdu.sender.server_name(), &pdu.event_id, rule);
                }
                append.add_outlier(pdu, &verdict);
            }
            Err(missing) => tracing::info!(event = %pdu.event_id, %missing, "an ancestor cannot be judged"),
        }
    }
    Ok(())
}

/// Which of the room's servers to ask about history: `first`, then those connected.
pub fn servers_to_ask(server: &Homeserver, room: &Room, first: Option<&ServerName>) -> Vec<OwnedServerName> {
    let connected = server.environment.transport.connected();
    let mut servers: Vec<OwnedServerName> =
        room.joined_servers().into_iter().filter(|name| name != server.server_name()).collect();
    servers.sort_by_key(|name| (Some(&**name) != first, !connected.contains(name)));
    servers
}
