//! What waits in each room for events that it builds on, in memory: who sent it and what it names. The events themselves are
//! in the store, and are read when something has come that they named, not with each event of the room.
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, RoomId};

use super::Room;
use crate::{
    domain::event::Pdu,
    homeserver::Homeserver,
    ports::StoreError,
    storage::tables::{StagedPduRow, StagedPdus},
};

/// Of one event that waits.
#[derive(Clone, Debug)]
struct Waits {
    origin: OwnedServerName,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    received_ms: u64,
}

impl Waits {
    fn named(&self) -> impl Iterator<Item = &OwnedEventId> {
        self.prev_events.iter().chain(&self.auth_events)
    }
}

#[derive(Debug, Default)]
struct OfRoom {
    events: BTreeMap<OwnedEventId, Waits>,
    /// Those of them that named something which has come since they were last tried.
    stirred: BTreeSet<OwnedEventId>,
}

#[derive(Default)]
pub struct Waiting(RefCell<BTreeMap<OwnedRoomId, OfRoom>>);

/// How much waits in a room.
pub struct Kept {
    pub events: BTreeSet<OwnedEventId>,
    /// How many of them one server sent.
    pub of_server: usize,
}

/// What changes with a commit.
#[derive(Default)]
pub struct Changes {
    added: Vec<(OwnedEventId, Waits)>,
    removed: Vec<OwnedEventId>,
}

impl Changes {
    pub fn add(&mut self, pdu: &Pdu, origin: &OwnedServerName, received_ms: u64) {
        self.added.push((pdu.event_id.clone(), waits(pdu, origin.clone(), received_ms)));
    }

    pub fn append(&mut self, other: Self) {
        self.added.extend(other.added);
        self.removed.extend(other.removed);
    }

    pub fn remove(&mut self, event_id: OwnedEventId) {
        self.removed.push(event_id);
    }
}

impl Waiting {
    /// Takes over what was committed.
    pub fn adopt(&self, room_id: &RoomId, changes: Changes) {
        let mut rooms = self.0.borrow_mut();
        let Some(of_room) = rooms.get_mut(room_id) else { return };
        for id in changes.removed {
            of_room.stirred.remove(&id);
            of_room.events.remove(&id);
        }
        of_room.events.extend(changes.added);
    }

    /// Events of the room are in the store that were not there: what named one of them may be judged now.
    pub fn arrived(&self, room_id: &RoomId, has_come: impl Fn(&OwnedEventId) -> bool) {
        let mut rooms = self.0.borrow_mut();
        let Some(OfRoom { events, stirred }) = rooms.get_mut(room_id) else { return };
        let named = events.iter().filter(|(_, waits)| waits.named().any(&has_come));
        stirred.extend(named.map(|(id, _)| id.clone()));
    }

    /// Whether something that one of them named has come, or one has waited since before `oldest_ms`; also where that is not
    /// known yet.
    pub fn is_stirred_or_older(&self, room_id: &RoomId, oldest_ms: u64) -> bool {
        let rooms = self.0.borrow();
        let is_older = |of_room: &OfRoom| of_room.events.values().any(|waits| waits.received_ms < oldest_ms);
        rooms.get(room_id).is_none_or(|of_room| !of_room.stirred.is_empty() || is_older(of_room))
    }

    /// Reads the room anew when it is asked about next.
    pub fn forget(&self, room_id: &RoomId) {
        self.0.borrow_mut().remove(room_id);
    }

    /// What waits in the room. To be called under the room's lock.
    pub async fn kept(&self, server: &Homeserver, room: &Room, of: &OwnedServerName) -> Result<Kept, StoreError> {
        self.load(server, room).await?;
        let rooms = self.0.borrow();
        let events = rooms.get(&room.id).map(|of_room| &of_room.events);
        Ok(Kept {
            events: events.into_iter().flat_map(BTreeMap::keys).cloned().collect(),
            of_server: events.into_iter().flat_map(BTreeMap::values).filter(|waits| waits.origin == *of).count(),
        })
    }

    /// Those that may be ready to be judged, with what they follow: whatever named something that has come, and what follows
    /// that in turn. Each is told once.
    pub async fn take_stirred(
        &self,
        server: &Homeserver,
        room: &Room,
    ) -> Result<BTreeMap<OwnedEventId, Vec<OwnedEventId>>, StoreError> {
        self.load_locked(server, room).await?;
        let mut rooms = self.0.borrow_mut();
        let Some(OfRoom { events, stirred }) = rooms.get_mut(&room.id) else { return Ok(BTreeMap::new()) };
        let mut followers: BTreeMap<&OwnedEventId, Vec<&OwnedEventId>> = BTreeMap::new();
        for (id, waits) in events.iter() {
            waits.prev_events.iter().for_each(|prev| followers.entry(prev).or_default().push(id));
        }
        let mut told = BTreeMap::new();
        let mut pending: Vec<&OwnedEventId> = stirred.iter().collect();
        while let Some(id) = pending.pop() {
            let Some(waits) = events.get(id).filter(|_| !told.contains_key(id)) else { continue };
            told.insert(id.clone(), waits.prev_events.clone());
            pending.extend(followers.get(id).into_iter().flatten());
        }
        stirred.clear();
        Ok(told)
    }

    /// Those that have waited since before `oldest_ms`.
    pub async fn older_than(
        &self,
        server: &Homeserver,
        room: &Room,
        oldest_ms: u64,
    ) -> Result<Vec<OwnedEventId>, StoreError> {
        self.load_locked(server, room).await?;
        let rooms = self.0.borrow();
        let events = rooms.get(&room.id).into_iter().flat_map(|of_room| &of_room.events);
        Ok(events.filter(|(_, waits)| waits.received_ms < oldest_ms).map(|(id, _)| id.clone()).collect())
    }

    async fn load_locked(&self, server: &Homeserver, room: &Room) -> Result<(), StoreError> {
        if self.0.borrow().contains_key(&room.id) {
            return Ok(());
        }
        let _guard = room.lock().await;
        self.load(server, room).await
    }

    async fn load(&self, server: &Homeserver, room: &Room) -> Result<(), StoreError> {
        if self.0.borrow().contains_key(&room.id) {
            return Ok(());
        }
        let mut of_room = OfRoom::default();
        if server.database.has_any::<StagedPdus, _>(&room.id).await? {
            for ((_, id), row) in server.database.scan_all::<StagedPdus, _>(&room.id).await? {
                let waits = match read(room, &id, &row) {
                    Some(pdu) => waits(&pdu, row.origin, row.received_ms),
                    // As if it were too old: it can never be judged.
                    None => {
                        Waits { origin: row.origin, prev_events: Vec::new(), auth_events: Vec::new(), received_ms: 0 }
                    }
                };
                of_room.stirred.insert(id.clone());
                of_room.events.insert(id, waits);
            }
        }
        self.0.borrow_mut().insert(room.id.clone(), of_room);
        Ok(())
    }
}

/// The event of a row. It was checked before it was kept.
pub fn read(room: &Room, event_id: &OwnedEventId, row: &StagedPduRow) -> Option<Pdu> {
    Pdu::from_canonical(event_id.clone(), row.json.clone(), &room.rules).ok()
}

fn waits(pdu: &Pdu, origin: OwnedServerName, received_ms: u64) -> Waits {
    Waits { origin, prev_events: pdu.prev_events.clone(), auth_events: pdu.auth_events.clone(), received_ms }
}
