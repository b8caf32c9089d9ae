//! What other servers are told of our users' devices: every change, in order, through the outbox, so that it reaches those
//! that are away. A server for which too much waits already misses some, sees the gap, and asks for the list.
use std::collections::{BTreeMap, BTreeSet};

use ruma::{DeviceId, OwnedDeviceId, OwnedServerName, OwnedUserId, UserId};
use serde_json::{Map, Value, json};

use crate::{
    homeserver::{Homeserver, positions::Position, rooms::append::OUTBOX_ROWS_PER_SERVER_MAX, user_rows},
    ports::{Batch, StoreError},
    storage::{
        Direction,
        tables::{DeviceListRow, DeviceLists as Table, Devices, Outbox, OutboxRow},
    },
};

/// Changes of one list that are told one by one when many come at once. Those before them are left out: whoever keeps a
/// copy sees the gap.
pub const TOLD_ONE_BY_ONE_MAX: usize = 20;

/// What has become of a device.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is there, and is so. `keys` are those of a device that encrypts.
    Is {
        display_name: Option<String>,
        keys: Option<Map<String, Value>>,
    },
    Deleted,
}

/// Changes that a batch holds.
#[must_use]
#[derive(Default)]
pub struct Told {
    list: Option<(OwnedUserId, DeviceListRow)>,
    positions: Vec<Position>,
    queued: BTreeMap<OwnedServerName, usize>,
}

impl Told {
    /// Called after the commit, before another change of the same list is begun.
    pub fn tell(self, server: &Homeserver) {
        if let Some((user, row)) = self.list {
            server.device_lists.adopt(&user, Some(row));
        }
        let news = !self.positions.is_empty();
        drop(self.positions);
        if news {
            server.notifier.notify();
        }
        self.queued.iter().for_each(|(destination, rows)| server.sender.queued(destination, *rows));
    }
}

/// Puts into `batch`, which must be strict, what other servers and clients are told of the changes of a local user's
/// devices, the latest last. The caller holds `accounts_lock`, commits, and tells it.
pub async fn put(
    server: &Homeserver,
    batch: &mut Batch,
    user: &UserId,
    changes: Vec<(OwnedDeviceId, Change)>,
) -> Result<Told, StoreError> {
    let mut told = Told::default();
    if changes.is_empty() {
        return Ok(told);
    }
    let mut row = server.device_lists.row(user).unwrap_or_default();
    let servers = servers_around(server, user).await?;
    let untold = changes.len().saturating_sub(TOLD_ONE_BY_ONE_MAX);
    row.stream_id += untold as u64;
    for (device, change) in &changes[untold..] {
        row.stream_id += 1;
        let edu = edu_of(server, user, device, change, row.stream_id);
        told.put(server, batch, &servers, &edu).await?;
    }
    row.changed_at = told.positions.last().map_or(row.changed_at, Position::value);
    batch.put::<Table>(&user.to_owned(), &row);
    told.list = Some((user.to_owned(), row));
    Ok(told)
}

/// As [`put`], for what is no change of a device: `edu` goes to all servers that share a room with the user, and clients
/// look at the user's keys again.
pub(super) async fn put_edu(
    server: &Homeserver,
    batch: &mut Batch,
    user: &UserId,
    edu: &Value,
) -> Result<Told, StoreError> {
    let mut told = Told::default();
    let servers = servers_around(server, user).await?;
    told.put(server, batch, &servers, edu).await?;
    let mut row = server.device_lists.row(user).unwrap_or_default();
    row.changed_at = told.positions.last().map_or(row.changed_at, Position::value);
    batch.put::<Table>(&user.to_owned(), &row);
    told.list = Some((user.to_owned(), row));
    Ok(told)
}

impl Told {
    async fn put(
        &mut self,
        server: &Homeserver,
        batch: &mut Batch,
        servers: &BTreeSet<OwnedServerName>,
        edu: &Value,
    ) -> Result<(), StoreError> {
        let position = server.positions.next().await?;
        for destination in servers {
            let queued = self.queued.entry(destination.clone()).or_default();
            if server.sender.waiting(destination) + *queued >= OUTBOX_ROWS_PER_SERVER_MAX {
                continue;
            }
            batch.put::<Outbox>(&(destination.clone(), position.value()), &OutboxRow::Edu(edu.clone()));
            *queued += 1;
        }
        self.positions.push(position);
        Ok(())
    }
}

/// What a server is told that comes to share a room with a local user: the newest update once more. It does not know the
/// one before, and asks for the list if it wants it. `None` of a user without devices.
pub async fn announcement(server: &Homeserver, user: &UserId) -> Result<Option<Value>, StoreError> {
    let prefix = (user.to_owned(),);
    let rows = server.database.scan_prefix::<Devices, _>(&prefix, Direction::Ascending, 1).await?;
    let stream_id = server.device_lists.stream_id(user);
    Ok(rows.first().filter(|_| stream_id > 0).map(|((_, device), row)| {
        let change = Change::Is { display_name: row.display_name.clone(), keys: None };
        edu_of(server, user, device, &change, stream_id)
    }))
}

/// Every other server in a room of the user's.
async fn servers_around(server: &Homeserver, user: &UserId) -> Result<BTreeSet<OwnedServerName>, StoreError> {
    let mut servers = BTreeSet::new();
    for room_id in user_rows::joined_rooms(server, user).await? {
        if let Some(room) = server.rooms.get(&room_id).await? {
            servers.extend(room.joined_servers());
        }
    }
    servers.remove(server.server_name());
    Ok(servers)
}

fn edu_of(server: &Homeserver, user: &UserId, device: &DeviceId, change: &Change, stream_id: u64) -> Value {
    // Updates come one after the other: each follows the one before.
    let before: Vec<u64> = (stream_id > 1).then(|| stream_id - 1).into_iter().collect();
    let mut content = json!({ "user_id": user, "device_id": device, "stream_id": stream_id, "prev_id": before });
    match change {
        Change::Is { display_name, keys } => {
            if let Some(name) = display_name.as_ref().filter(|_| server.options.shares_device_names) {
                content["device_display_name"] = json!(name);
            }
            if let Some(keys) = keys {
                content["keys"] = json!(keys);
            }
        }
        Change::Deleted => content["deleted"] = json!(true),
    }
    json!({ "edu_type": "m.device_list_update", "content": content })
}
