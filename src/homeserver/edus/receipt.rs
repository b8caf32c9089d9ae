//! How far each user has read (client-server API, "Receipts"): the latest receipt of each kind and thread is kept.
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use futures::lock::Mutex;
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId,
    api::federation::transactions::edu::{Edu, ReceiptContent, ReceiptData, ReceiptMap},
    events::receipt::{Receipt, ReceiptThread, ReceiptType},
};
use serde::Deserialize;
use serde_json::value::RawValue as RawJsonValue;
use thiserror::Error;

use super::{room_for, tell_room};
use crate::{
    homeserver::{
        Homeserver,
        events::StoredEvent,
        positions::Position,
        refusals,
        rooms::Room,
        unread::{self, Scope},
    },
    ports::{Batch, StoreError},
    storage::{
        Direction,
        tables::{ReceiptRow, Receipts as ReceiptsTable},
    },
};

/// The most receipts believed of one EDU.
pub const RECEIPTS_PER_EDU_MAX: usize = 1_000;
/// The most EDUs that tell a server we meet how far our users have read in one room: as many threads of each.
const REPEATED_EDUS_MAX: usize = 20;
/// The most threads in which a user's receipts of one type are kept for a room.
pub const RECEIPT_THREADS_MAX: usize = 500;
/// What stands for the main timeline where a thread's root would be.
const MAIN_THREAD: &str = "main";

#[derive(Debug, Error)]
pub enum ReceiptError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("you are not in this room")]
    NotInRoom,
    #[error("there is no such event in this room")]
    NoSuchEvent,
    #[error("`thread_id` is neither \"main\" nor an event id")]
    BadThread,
    #[error("the event is not in the thread that `thread_id` names")]
    NotInThread,
}

/// What clients read up to where.
pub struct Read {
    pub kind: ReceiptType,
    pub event_id: OwnedEventId,
    pub thread: ReceiptThread,
}

#[derive(Default)]
pub struct Receipts {
    /// Held from reading to committing, so that of two receipts the later stays.
    writing: Mutex<()>,
    /// The position of the latest receipt in each room.
    newest: RefCell<BTreeMap<OwnedRoomId, u64>>,
    /// Whether `newest` knows of what was stored before the start.
    loaded: Cell<bool>,
}

impl Receipts {
    /// The position of the latest receipt in a room, once `load` is done.
    pub fn newest(&self, room_id: &RoomId) -> u64 {
        self.newest.borrow().get(room_id).copied().unwrap_or_default()
    }

    fn note(&self, room_id: &RoomId, position: u64) {
        let mut newest = self.newest.borrow_mut();
        let entry = newest.entry(room_id.to_owned()).or_default();
        *entry = position.max(*entry);
    }
}

/// Learns once what was stored before the start.
pub async fn load(server: &Homeserver) -> Result<(), StoreError> {
    if !server.receipts.loaded.get() {
        for ((room_id, ..), row) in server.database.scan_all::<ReceiptsTable, _>(&()).await? {
            server.receipts.note(&room_id, row.position);
        }
        server.receipts.loaded.set(true);
    }
    Ok(())
}

/// A local user has read up to an event.
pub async fn read(server: &Rc<Homeserver>, room_id: &RoomId, user: &UserId, read: Read) -> Result<(), ReceiptError> {
    let room = joined_room(server, room_id, user).await?;
    let event = server.rooms.events.get(&read.event_id).await?;
    let event = event.filter(|event| event.header.room == room.num).ok_or(ReceiptError::NoSuchEvent)?;
    let thread = thread_key(&read.thread).ok_or(ReceiptError::BadThread)?;
    if !is_in_thread(server, &room, &event, &read.thread).await? {
        return Err(ReceiptError::NotInThread);
    }
    let ts_ms = server.environment.clock.now_ms();
    let _writing = server.receipts.writing.lock().await;
    let mut batch = Batch::default();
    let position = server.positions.next().await?;
    let row = ReceiptRow { event_id: read.event_id, ts_ms, position: position.value(), order: event.header.order };
    if !put(server, &room, user, &read.kind, thread, &row, &mut batch).await? {
        return Ok(());
    }
    let change = match row.order {
        Some(order) => {
            Some(unread::read_through(server, user, room_id, order, scope_of(&read.thread), &mut batch).await?)
        }
        None => None,
    };
    commit(server, batch, position).await?;
    server.unread.adopt(room_id, change.into_iter().collect());
    server.notifier.notify();
    server.pushes.wake(user);
    if read.kind == ReceiptType::Read {
        tell(server, &room, user, row, read.thread);
    }
    Ok(())
}

/// Whether a receipt for `thread` may name the event. Of a thread that is its root too, and what relates to that.
async fn is_in_thread(
    server: &Homeserver,
    room: &Room,
    event: &StoredEvent,
    thread: &ReceiptThread,
) -> Result<bool, StoreError> {
    let of_room =
        async |id: &OwnedEventId| Ok(server.rooms.events.get(id).await?.filter(|event| event.header.room == room.num));
    match scope_of(thread) {
        Scope::Room => Ok(true),
        Scope::Thread(None) => {
            let relations = unread::relations_of(&event.pdu, of_room).await?;
            Ok(unread::thread_of(&relations).is_none())
        }
        Scope::Thread(Some(root)) => {
            let relations = unread::relations_of(&event.pdu, of_room).await?;
            Ok(event.pdu.event_id == root || relations.iter().any(|relation| relation.parent == root))
        }
    }
}

/// Whether a local user is in the room and the event is one of it: what a read marker needs.
pub async fn check_marker(
    server: &Homeserver,
    room_id: &RoomId,
    user: &UserId,
    event_id: &EventId,
) -> Result<(), ReceiptError> {
    let room = joined_room(server, room_id, user).await?;
    let event = server.rooms.events.get(event_id).await?;
    event.filter(|event| event.header.room == room.num).map(drop).ok_or(ReceiptError::NoSuchEvent)
}

/// Takes in what `origin` says. What it may not say is refused, each receipt by itself.
pub async fn apply_incoming(
    server: &Rc<Homeserver>,
    origin: &ServerName,
    content: &RawJsonValue,
) -> Result<(), StoreError> {
    let receipts = read_incoming(server, origin, content);
    if receipts.is_empty() {
        return Ok(());
    }
    let _writing = server.receipts.writing.lock().await;
    let mut batch = Batch::default();
    let position = server.positions.next().await?;
    for (room_id, user, data) in receipts {
        let Some(room) = room_for(server, origin, &room_id, &user).await? else { continue };
        let refuse = |rule: &str| refusals::note(server, origin, &format!("a receipt of {user} in {room_id}"), &rule);
        let Some(thread) = thread_key(&data.data.thread) else {
            refuse("its thread is neither \"main\" nor an event");
            continue;
        };
        let [event_id] = &data.event_ids[..] else {
            refuse("it does not name one event");
            continue;
        };
        let event = server.rooms.events.get(event_id).await?;
        if event.as_ref().is_some_and(|event| event.header.room != room.num) {
            refuse("the event is of another room");
            continue;
        }
        let ts_ms = data.data.ts.map_or_else(|| server.environment.clock.now_ms(), |ts| ts.get().into());
        let order = event.and_then(|event| event.header.order);
        let row = ReceiptRow { event_id: event_id.clone(), ts_ms, position: position.value(), order };
        put(server, &room, &user, &ReceiptType::Read, thread, &row, &mut batch).await?;
    }
    if !batch.is_empty() {
        commit(server, batch, position).await?;
        server.notifier.notify();
    }
    Ok(())
}

/// The receipts of an EDU that can be read: one that cannot takes no other with it.
fn read_incoming(
    server: &Homeserver,
    origin: &ServerName,
    content: &RawJsonValue,
) -> Vec<(OwnedRoomId, OwnedUserId, ReceiptData)> {
    #[derive(Deserialize)]
    struct OfRoom {
        /// Of receipts of other kinds nothing is known.
        #[serde(rename = "m.read", default)]
        read: BTreeMap<OwnedUserId, Box<RawJsonValue>>,
    }
    let unreadable = |what: &str, error: serde_json::Error| refusals::note(server, origin, &what, &error);
    let rooms = match serde_json::from_str::<BTreeMap<OwnedRoomId, Box<RawJsonValue>>>(content.get()) {
        Ok(rooms) => rooms,
        Err(error) => {
            unreadable("an EDU m.receipt", error);
            return Vec::new();
        }
    };
    let mut receipts = Vec::new();
    for (room_id, raw) in rooms {
        let read = match serde_json::from_str::<OfRoom>(raw.get()) {
            Ok(OfRoom { read }) => read,
            Err(error) => {
                unreadable("the receipts in a room", error);
                continue;
            }
        };
        for (user, raw) in read {
            if receipts.len() == RECEIPTS_PER_EDU_MAX {
                let rule = format!("{RECEIPTS_PER_EDU_MAX} receipts are believed of one EDU");
                refusals::note(server, origin, &"the rest of an EDU m.receipt", &rule);
                return receipts;
            }
            match serde_json::from_str(raw.get()) {
                Ok(data) => receipts.push((room_id.clone(), user, data)),
                Err(error) => unreadable("a receipt", error),
            }
        }
    }
    receipts
}

/// Tells a server we meet how far our users have read in the rooms it shares: it may have been away when they did.
pub async fn repeat(server: &Homeserver, destination: &ServerName, rooms: &[Rc<Room>]) -> Result<(), StoreError> {
    for room in rooms {
        // An EDU has room for one receipt of each user: the unthreaded ones, which say most, then thread by thread.
        let mut edus: Vec<BTreeMap<OwnedUserId, ReceiptData>> = Vec::new();
        let rows =
            server.database.scan_prefix::<ReceiptsTable, _>(&room.id, Direction::Ascending, RECEIPTS_PER_EDU_MAX);
        for ((_, user, kind, thread), row) in rows.await? {
            let told = user.server_name() == server.server_name() && kind == ReceiptType::Read.as_str();
            if !told || !room.is_joined(&user) {
                continue;
            }
            let data = data_of(&row, thread_of(&thread));
            match edus.iter().position(|users| !users.contains_key(&user)) {
                Some(free) => drop(edus[free].insert(user, data)),
                None if edus.len() < REPEATED_EDUS_MAX => edus.push([(user, data)].into()),
                None => {}
            }
        }
        for users in edus {
            let edu = Edu::Receipt(ReceiptContent::new([(room.id.clone(), ReceiptMap::new(users))].into()));
            let edu = serde_json::to_value(edu).expect("an EDU has string keys and finite numbers");
            server.sender.send_passing_edu(destination, edu);
        }
    }
    Ok(())
}

/// Puts the receipt into `batch` unless it says less than the one before it. Returns whether it did.
async fn put(
    server: &Homeserver,
    room: &Room,
    user: &UserId,
    kind: &ReceiptType,
    thread: String,
    row: &ReceiptRow,
    batch: &mut Batch,
) -> Result<bool, StoreError> {
    let key = (room.id.clone(), user.to_owned(), kind.to_string(), thread);
    match server.database.get::<ReceiptsTable>(&key).await? {
        Some(before) if before.event_id == row.event_id => return Ok(false),
        Some(before) if before.order.is_some() && row.order.is_some() && row.order < before.order => return Ok(false),
        Some(_) => {}
        None => {
            let prefix = (room.id.clone(), user.to_owned(), kind.to_string());
            let scan =
                server.database.scan_prefix::<ReceiptsTable, _>(&prefix, Direction::Ascending, RECEIPT_THREADS_MAX);
            if scan.await?.len() >= RECEIPT_THREADS_MAX {
                return Ok(false);
            }
        }
    }
    batch.put::<ReceiptsTable>(&key, row);
    server.receipts.note(&room.id, row.position);
    Ok(true)
}

async fn commit(server: &Homeserver, batch: Batch, position: Position) -> Result<(), StoreError> {
    server.database.commit(batch).await?;
    drop(position);
    Ok(())
}

async fn joined_room(server: &Homeserver, room_id: &RoomId, user: &UserId) -> Result<Rc<Room>, ReceiptError> {
    let room = server.rooms.get(room_id).await?.filter(|room| room.is_joined(user));
    room.ok_or(ReceiptError::NotInRoom)
}

fn tell(server: &Homeserver, room: &Room, user: &UserId, row: ReceiptRow, thread: ReceiptThread) {
    let data = data_of(&row, thread);
    let users: BTreeMap<OwnedUserId, ReceiptData> = [(user.to_owned(), data)].into();
    let content = ReceiptContent::new([(room.id.clone(), ReceiptMap::new(users))].into());
    tell_room(server, room, &Edu::Receipt(content));
}

fn data_of(row: &ReceiptRow, thread: ReceiptThread) -> ReceiptData {
    let ts = MilliSecondsSinceUnixEpoch(row.ts_ms.try_into().unwrap_or_default());
    let mut receipt = Receipt::new(ts);
    receipt.thread = thread;
    ReceiptData::new(receipt, vec![row.event_id.clone()])
}

fn thread_of(key: &str) -> ReceiptThread {
    thread_id(key).and_then(|key| ReceiptThread::try_from(Some(key)).ok()).unwrap_or(ReceiptThread::Unthreaded)
}

/// A receipt's thread as it is in the table's key. `None` if it is none.
fn thread_key(thread: &ReceiptThread) -> Option<String> {
    match thread.as_str() {
        None => Some(String::new()),
        Some(MAIN_THREAD) => Some(MAIN_THREAD.to_owned()),
        Some(root) => EventId::parse(root).ok().map(|root| root.to_string()),
    }
}

/// The thread that a table's key names, as events say it.
pub fn thread_id(key: &str) -> Option<&str> {
    (!key.is_empty()).then_some(key)
}

fn scope_of(thread: &ReceiptThread) -> Scope {
    match thread {
        ReceiptThread::Unthreaded => Scope::Room,
        ReceiptThread::Thread(root) => Scope::Thread(Some(root.clone())),
        // "main", as `thread_key` lets nothing else through.
        _ => Scope::Thread(None),
    }
}
