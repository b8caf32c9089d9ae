//! Anti-entropy: servers that share a room tell each other their forward extremities when they meet, and each fetches
//! what it lacks, so that nothing waits for the next message; and once more when a room has become quiet. Carried as an
//! EDU of our own that others ignore.
pub mod absent;
pub mod quiet;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    rc::Rc,
};

use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, events::room::member::MembershipState};
use serde::{Deserialize, Serialize};

use self::absent::ABSENT_PER_EDU_MAX;
use super::{
    Homeserver, addresses,
    edus::{presence, receipt},
    events::StoredEvent,
    rooms::{Room, fetch, ingest},
};
use crate::{
    ports::{Batch, StoreError},
    storage::tables::{Outbox, OutboxRow},
};

/// The type of the EDU (docs/protocol.md).
pub const HEADS_EDU_TYPE: &str = "org.warren.heads";
/// Rooms in one EDU; heads told of one room.
const HEADS_ROOMS_PER_EDU: usize = 50;
/// Rooms compared with one server in one go.
const HEADS_ROOMS_WAITING_MAX: usize = 1_000;
const HEADS_PER_ROOM_MAX: usize = 20;
/// Users of a server that is told that they are out of a room it compares.
const REMOVALS_TOLD_MAX: usize = 20;
/// Servers greeted when the network returns. Others are reached when there is something to send, or greet us.
const GREETED_AT_ONCE_MAX: usize = 100;

/// The heads each server told us that still wait to be compared; `None` while they are being compared.
pub type Comparing = RefCell<BTreeMap<OwnedServerName, Option<HeadsContent>>>;

#[derive(Serialize, Deserialize)]
pub struct HeadsContent {
    pub rooms: BTreeMap<OwnedRoomId, Vec<OwnedEventId>>,
    /// Whether it answers another one; answers are not answered.
    #[serde(default)]
    pub answer: bool,
    /// Servers of these rooms that the sender cannot reach, to be greeted by whoever can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<OwnedServerName>,
}

/// Tells `destination` the heads of every room it shares with us, and tries again what waited for it.
pub async fn meet(server: &Rc<Homeserver>, destination: &OwnedServerName) -> Result<(), StoreError> {
    let mut shared = Vec::new();
    for room_id in server.rooms.ids() {
        let Some(room) = server.rooms.get(&room_id).await? else { continue };
        if room.live().resident && room.has_joined_server(destination) {
            shared.push(room);
        }
    }
    if !shared.is_empty() {
        addresses::met(server, destination).await?;
    }
    for rooms in shared.chunks(HEADS_ROOMS_PER_EDU) {
        tell(server, destination, rooms, false, Vec::new());
    }
    receipt::repeat(server, destination, &shared).await?;
    presence::repeat(server, destination, &shared);
    for room in shared {
        ingest::retry_staged(server, &room, destination).await?;
    }
    Ok(())
}

/// Greets every server that shares a room with us and is not connected: one that is there is met, and what waits for it
/// goes out.
pub async fn look_around(server: &Rc<Homeserver>) -> Result<(), StoreError> {
    let connected = server.environment.transport.connected();
    let mut absent: BTreeMap<OwnedServerName, Vec<Rc<Room>>> = BTreeMap::new();
    for room_id in server.rooms.ids() {
        let Some(room) = server.rooms.get(&room_id).await? else { continue };
        if !room.live().resident {
            continue;
        }
        for name in room.joined_servers() {
            if name != server.server_name() && !connected.contains(&name) {
                absent.entry(name).or_default().push(room.clone());
            }
        }
    }
    for (name, rooms) in absent.into_iter().take(GREETED_AT_ONCE_MAX) {
        server.sender.peer_seen(&name);
        tell(server, &name, &rooms[..rooms.len().min(HEADS_ROOMS_PER_EDU)], false, Vec::new());
    }
    Ok(())
}

/// Compares once the transaction that brought the heads is answered, as fetching asks its origin back. One comparison a
/// server at a time: what comes meanwhile joins what waits.
pub fn compare_in_background(server: &Rc<Homeserver>, origin: &OwnedServerName, content: HeadsContent) {
    match server.comparing.borrow_mut().entry(origin.clone()) {
        Entry::Occupied(mut busy) => {
            let empty = || HeadsContent { rooms: BTreeMap::new(), answer: true, absent: Vec::new() };
            let waiting = busy.get_mut().get_or_insert_with(empty);
            waiting.answer &= content.answer;
            let names_left = ABSENT_PER_EDU_MAX.saturating_sub(waiting.absent.len());
            waiting.absent.extend(content.absent.into_iter().take(names_left));
            let room_left = HEADS_ROOMS_WAITING_MAX.saturating_sub(waiting.rooms.len());
            waiting.rooms.extend(content.rooms.into_iter().take(room_left));
            return;
        }
        Entry::Vacant(free) => drop(free.insert(Some(content))),
    }
    let (task_server, origin) = (server.clone(), origin.clone());
    server.environment.tasks.spawn(Box::pin(async move {
        loop {
            let next = task_server.comparing.borrow_mut().get_mut(&origin).and_then(Option::take);
            let Some(content) = next else { break };
            if let Err(error) = compare(&task_server, &origin, content).await {
                tracing::warn!(%origin, %error, "catching up failed");
            }
        }
        task_server.comparing.borrow_mut().remove(&origin);
    }));
}

/// Takes `origin`'s heads: events of our rooms that we lack are fetched from it, and where we have some that it does not
/// name, it is told in turn.
///
/// Whether `origin` is in the room is not asked before: after a loss of power we may be the one who has forgotten. What
/// it gives is checked like any event.
async fn compare(server: &Rc<Homeserver>, origin: &OwnedServerName, content: HeadsContent) -> Result<(), StoreError> {
    let (mut ahead, mut compared) = (Vec::new(), Vec::new());
    for (room_id, theirs) in content.rooms.into_iter().take(HEADS_ROOMS_WAITING_MAX) {
        let Some(room) = server.rooms.get(&room_id).await? else { continue };
        if !room.live().resident {
            continue;
        }
        let theirs: Vec<_> = theirs.into_iter().take(HEADS_PER_ROOM_MAX).collect();
        let known = server.rooms.events.get_many(&theirs).await?;
        let unknown = |event: Option<&Rc<StoredEvent>>| event.is_none_or(|event| event.is_outlier());
        let lacking: BTreeSet<_> =
            theirs.iter().zip(&known).filter(|(_, event)| unknown(event.as_ref())).map(|(id, _)| id.clone()).collect();
        catch_up(server, &room, lacking, origin).await?;
        if room.has_joined_server(origin) && room.live().heads.iter().any(|head| !theirs.contains(head)) {
            ahead.push(room.clone());
        } else if room.live().heads.len() == theirs.len() {
            quiet::agreed(server, &room.id, origin);
        }
        if !room.has_joined_server(origin) {
            tell_that_it_is_out(server, &room, origin).await?;
        }
        compared.push(room);
    }
    absent::greet(server, origin, &compared, content.absent).await;
    if !content.answer && !ahead.is_empty() {
        tell(server, origin, &ahead, true, Vec::new());
    }
    Ok(())
}

/// `origin` compares a room that it is not in: it was put out, and who was to tell it has forgotten or is gone. It is sent
/// the events that did it.
async fn tell_that_it_is_out(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    origin: &OwnedServerName,
) -> Result<(), StoreError> {
    if server.sender.waiting(origin) > 0 {
        return Ok(());
    }
    let gone = |membership: &MembershipState| matches!(membership, MembershipState::Leave | MembershipState::Ban);
    let removals: Vec<_> = room
        .live()
        .members
        .iter()
        .filter(|(user, member)| user.server_name() == origin && gone(&member.membership))
        .take(REMOVALS_TOLD_MAX)
        .map(|(_, member)| member.event_id.clone())
        .collect();
    let (mut batch, mut positions) = (Batch::default(), Vec::new());
    for event_id in removals {
        let position = server.positions.next().await?;
        batch.put::<Outbox>(&(origin.clone(), position.value()), &OutboxRow::Pdu(event_id));
        positions.push(position);
    }
    server.database.commit(batch).await?;
    server.sender.queued(origin, positions.len());
    Ok(())
}

fn tell(
    server: &Homeserver,
    destination: &OwnedServerName,
    rooms: &[Rc<Room>],
    answer: bool,
    absent: Vec<OwnedServerName>,
) {
    let heads = |room: &Rc<Room>| room.live().heads.iter().take(HEADS_PER_ROOM_MAX).cloned().collect();
    let content =
        HeadsContent { rooms: rooms.iter().map(|room| (room.id.clone(), heads(room))).collect(), answer, absent };
    let edu = serde_json::json!({ "edu_type": HEADS_EDU_TYPE, "content": content });
    server.sender.send_passing_edu(destination, edu);
}

async fn catch_up(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    lacking: BTreeSet<OwnedEventId>,
    origin: &OwnedServerName,
) -> Result<(), StoreError> {
    let mut raws = Vec::new();
    for event_id in lacking {
        match fetch::fetch_event(server, room, &event_id, origin).await {
            Ok(pdu) => raws.push(pdu.raw()),
            Err(error) => tracing::info!(room = %room.id, %origin, %error, "a head could not be fetched"),
        }
    }
    if raws.is_empty() {
        return Ok(());
    }
    tracing::info!(room = %room.id, %origin, events = raws.len(), "catching up");
    ingest::ingest(server, room, raws, origin).await.map(drop)
}
