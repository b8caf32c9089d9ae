//! Anti-entropy: servers that share a room tell each other their forward extremities when they meet, and each fetches
//! what it lacks, so that nothing waits for the next message. Carried as an EDU of our own that others ignore.
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName};
use serde::{Deserialize, Serialize};

use super::{
    Homeserver,
    rooms::{Room, fetch, ingest},
};
use crate::ports::StoreError;

/// The type of the EDU (docs/protocol.md).
pub const HEADS_EDU_TYPE: &str = "org.warren.heads";
/// Rooms in one EDU; heads told of one room.
const HEADS_ROOMS_PER_EDU: usize = 50;
const HEADS_PER_ROOM_MAX: usize = 20;

#[derive(Serialize, Deserialize)]
pub struct HeadsContent {
    pub rooms: BTreeMap<OwnedRoomId, Vec<OwnedEventId>>,
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
    for rooms in shared.chunks(HEADS_ROOMS_PER_EDU) {
        let heads = |room: &Rc<Room>| room.live().heads.iter().take(HEADS_PER_ROOM_MAX).cloned().collect();
        let content = HeadsContent { rooms: rooms.iter().map(|room| (room.id.clone(), heads(room))).collect() };
        let edu = serde_json::json!({ "edu_type": HEADS_EDU_TYPE, "content": content });
        server.sender.send_passing_edu(destination, edu);
    }
    for room in shared {
        ingest::retry_staged(server, &room, destination).await?;
    }
    Ok(())
}

/// Takes `origin`'s heads: events of shared rooms that we lack are fetched from it.
pub async fn compare(
    server: &Rc<Homeserver>,
    origin: &OwnedServerName,
    content: HeadsContent,
) -> Result<(), StoreError> {
    for (room_id, heads) in content.rooms.into_iter().take(HEADS_ROOMS_PER_EDU) {
        let Some(room) = server.rooms.get(&room_id).await? else { continue };
        if !room.live().resident || !room.has_joined_server(origin) {
            continue;
        }
        let heads: Vec<_> = heads.into_iter().take(HEADS_PER_ROOM_MAX).collect();
        let known = server.rooms.events.get_many(&heads).await?;
        let lacking: BTreeSet<_> = heads
            .into_iter()
            .zip(known)
            .filter(|(_, event)| event.as_ref().is_none_or(|event| event.is_outlier()))
            .map(|(id, _)| id)
            .collect();
        catch_up(server, &room, lacking, origin).await?;
    }
    Ok(())
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
