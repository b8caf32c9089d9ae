//! Lists of users' devices between servers (server-server API, "Device Management"): ours are told of change by change, and
//! of others' we keep copies, bounded, as far as somebody here needs them.
//!
//! A copy is needed of whoever shares an encrypted room with a user of ours. Of other users in our rooms it is only noted
//! that something changed; who wants to know what asks their server ([`of_user`]).
pub mod incoming;
pub mod moves;
pub mod outgoing;
pub mod resync;
pub mod signing_keys;

use std::{cell::RefCell, collections::BTreeMap, ops::Bound, rc::Rc};

use futures::lock::Mutex;
use ruma::{OwnedDeviceId, OwnedServerName, OwnedUserId, ServerName, UserId, events::StateEventType};

use self::resync::Resyncs;
use super::{Homeserver, peers::PeerError, positions::Position, rooms::Room};
use crate::{
    ports::{Batch, StoreError},
    storage::{
        Database,
        tables::{
            CrossSigningKeys, CrossSigningRow, DeviceListCopy, DeviceListRow, DeviceLists as Table, ListedDeviceRow,
            ListedDevices,
        },
    },
};

/// The most devices of one user of another server that are kept, and that its server may list.
pub const LISTED_DEVICES_MAX: usize = 1_000;
/// What the copies of all lists of one server may take, in bytes.
pub const COPIES_PER_SERVER_MAX_BYTES: u64 = 8 << 20;

/// What is kept of each user, in memory too: rows are small, and every sync asks who changed.
#[derive(Default)]
struct Index {
    rows: BTreeMap<OwnedUserId, DeviceListRow>,
    /// Whose list changed when, of each user the latest. No two change at one position.
    changes: BTreeMap<u64, OwnedUserId>,
    /// What the copies of each server's users take, in bytes.
    bytes: BTreeMap<OwnedServerName, u64>,
}

impl Index {
    fn put(&mut self, user: &UserId, row: Option<DeviceListRow>) {
        let total = self.bytes.entry(user.server_name().to_owned()).or_default();
        if let Some(before) = self.rows.remove(user) {
            if self.changes.get(&before.changed_at).is_some_and(|whose| whose == user) {
                self.changes.remove(&before.changed_at);
            }
            *total = total.saturating_sub(before.bytes);
        }
        if let Some(row) = row {
            *total += row.bytes;
            self.changes.insert(row.changed_at, user.to_owned());
            self.rows.insert(user.to_owned(), row);
        }
        if *total == 0 {
            self.bytes.remove(user.server_name());
        }
    }
}

#[derive(Default)]
pub struct DeviceLists {
    index: RefCell<Index>,
    /// Held from reading to committing by whoever changes what is kept of other servers' users.
    writing: Mutex<()>,
    resyncs: Resyncs,
}

impl DeviceLists {
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        let lists = Self::default();
        for (user, row) in database.scan_all::<Table, _>(&()).await? {
            lists.index.borrow_mut().put(&user, Some(row));
        }
        Ok(lists)
    }

    /// Takes over what was committed.
    fn adopt(&self, user: &UserId, row: Option<DeviceListRow>) {
        self.index.borrow_mut().put(user, row);
    }

    fn row(&self, user: &UserId) -> Option<DeviceListRow> {
        self.index.borrow().rows.get(user).cloned()
    }

    /// The `stream_id` of the newest update of the list; 0 if there was none.
    pub fn stream_id(&self, user: &UserId) -> u64 {
        self.index.borrow().rows.get(user).map_or(0, |row| row.stream_id)
    }

    /// Whose list changed after `since` and not after `until`.
    pub fn changed(&self, since: u64, until: u64) -> Vec<OwnedUserId> {
        if since >= until {
            return Vec::new();
        }
        let index = self.index.borrow();
        let changes = index.changes.range((Bound::Excluded(since), Bound::Included(until)));
        changes.map(|(_, user)| user.clone()).collect()
    }

    /// Whether `more` bytes in place of `less` fit what is kept of a server's lists.
    fn fits(&self, server: &ServerName, less: u64, more: u64) -> bool {
        let now = self.index.borrow().bytes.get(server).copied().unwrap_or_default();
        now.saturating_sub(less).saturating_add(more) <= COPIES_PER_SERVER_MAX_BYTES
    }
}

/// The devices of another server's user, and the keys that vouch for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    pub devices: BTreeMap<OwnedDeviceId, ListedDeviceRow>,
    pub keys: CrossSigningRow,
}

/// The list of another server's user: our copy if it is good, else what the server says, of which a copy is kept if the
/// user shares a room with one of ours.
pub async fn of_user(server: &Rc<Homeserver>, user: &UserId) -> Result<Result<List, PeerError>, StoreError> {
    if server.device_lists.row(user).is_some_and(|row| row.copy == DeviceListCopy::Good) {
        return copied(server, user).await.map(Ok);
    }
    match resync::fetch(server, user).await {
        Ok(fetched) => {
            let list = fetched.list.clone();
            resync::keep(server, user, fetched).await?;
            Ok(Ok(list))
        }
        Err(error) => Ok(Err(error)),
    }
}

async fn copied(server: &Homeserver, user: &UserId) -> Result<List, StoreError> {
    let rows = server.database.scan_all::<ListedDevices, _>(&(user.to_owned(),)).await?;
    let keys = server.database.get::<CrossSigningKeys>(&user.to_owned()).await?.unwrap_or_default();
    Ok(List { devices: rows.into_iter().map(|((_, device), row)| (device, row)).collect(), keys })
}

/// What another server's user has to do with users of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tie {
    None,
    Room,
    EncryptedRoom,
}

async fn tie(server: &Homeserver, user: &UserId) -> Result<Tie, StoreError> {
    let mut tie = Tie::None;
    for room_id in server.rooms.ids() {
        let Some(room) = server.rooms.get(&room_id).await? else { continue };
        if !room.live().resident || !room.is_joined(user) {
            continue;
        }
        if is_encrypted(&room) {
            return Ok(Tie::EncryptedRoom);
        }
        tie = Tie::Room;
    }
    Ok(tie)
}

pub fn is_encrypted(room: &Room) -> bool {
    room.live().state.get(&StateEventType::RoomEncryption, "").is_some()
}

/// Commits what is kept of a user, and has clients told.
async fn commit(
    server: &Homeserver,
    mut batch: Batch,
    user: &UserId,
    row: DeviceListRow,
    position: Option<Position>,
) -> Result<(), StoreError> {
    batch.put::<Table>(&user.to_owned(), &row);
    server.database.commit(batch).await?;
    server.device_lists.adopt(user, Some(row));
    let news = position.is_some();
    drop(position);
    if news {
        server.notifier.notify();
    }
    Ok(())
}

/// Puts into `batch` that no copy of the user's list is kept, and takes it out of `row`.
async fn put_uncopied(
    server: &Homeserver,
    batch: &mut Batch,
    user: &UserId,
    row: &mut DeviceListRow,
) -> Result<(), StoreError> {
    for (key, _) in server.database.scan_all::<ListedDevices, _>(&(user.to_owned(),)).await? {
        batch.delete::<ListedDevices>(&key);
    }
    batch.delete::<CrossSigningKeys>(&user.to_owned());
    (row.copy, row.bytes) = (DeviceListCopy::None, 0);
    Ok(())
}

fn bytes_of(device_id: &str, row: &ListedDeviceRow) -> u64 {
    let bytes = serde_json::to_vec(row).map_or(usize::MAX, |json| json.len() + device_id.len());
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn bytes_of_keys(keys: &CrossSigningRow) -> u64 {
    let empty = keys.master.is_none() && keys.self_signing.is_none();
    if empty { 0 } else { serde_json::to_vec(keys).map_or(u64::MAX, |json| json.len() as u64) }
}

/// What a whole list takes, in bytes.
fn bytes_of_list(list: &List) -> u64 {
    let devices = list.devices.iter().map(|(id, row)| bytes_of(id.as_str(), row)).sum::<u64>();
    devices + bytes_of_keys(&list.keys)
}
