//! What clients' transactions were answered: found again by a repetition, and forgotten after a while.
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use multibase::Base;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use sha2::{Digest, Sha256};

use super::Homeserver;
use crate::{
    ports::{Batch, StoreError},
    storage::tables::{ClientTxnRow, ClientTxns as Table},
};

/// How many transactions of a device are remembered, at least; older ones go first.
const CLIENT_TXNS_PER_DEVICE_MAX: usize = 1000;

/// How long a transaction is remembered, if there is room for it.
const CLIENT_TXN_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// After how many transactions those of the device at hand are pruned.
const PRUNE_EVERY: u64 = 250;

/// Devices and transactions of each of which memory knows whether they may be in the store; the store is asked for others.
const DEVICES_KNOWN_MAX: usize = 16;
const TXNS_KNOWN_PER_DEVICE_MAX: usize = 4_000;

pub type Key = (OwnedUserId, OwnedDeviceId, String);
type Device = (OwnedUserId, OwnedDeviceId);

#[derive(Default)]
pub struct ClientTxns {
    /// Counts what was recorded since the start, to know when to prune.
    recorded: Cell<u64>,
    devices: RefCell<BTreeMap<Device, DeviceTxns>>,
}

/// The transactions of a device that may be in the store: most requests are no repetition, and a read is a round trip.
#[derive(Default)]
struct DeviceTxns {
    /// Whether those of before the start are among them.
    loaded: bool,
    digests: BTreeSet<String>,
}

impl DeviceTxns {
    fn is_full(&self) -> bool {
        self.digests.len() >= TXNS_KNOWN_PER_DEVICE_MAX
    }

    /// Full, it has not noted them all.
    fn rules_out(&self, digest: &str) -> bool {
        self.loaded && !self.is_full() && !self.digests.contains(digest)
    }

    fn note(&mut self, digests: impl Iterator<Item = String>) {
        for digest in digests {
            if self.is_full() {
                break;
            }
            self.digests.insert(digest);
        }
    }
}

impl ClientTxns {
    /// What is known of the device, unless there are too many.
    fn with_device<T>(&self, device: Device, work: impl FnOnce(&mut DeviceTxns) -> T) -> Option<T> {
        let mut devices = self.devices.borrow_mut();
        let has_room = devices.len() < DEVICES_KNOWN_MAX || devices.contains_key(&device);
        has_room.then(|| work(devices.entry(device).or_default()))
    }
}

/// The key of a transaction. `scope` tells apart requests that may carry the same id: the path without the id.
pub fn key(user_id: &UserId, device_id: &DeviceId, scope: &str, txn_id: &str) -> Key {
    // Of bounded length, however long an id the client chose.
    let digest = Base::Base64Url.encode(Sha256::digest(format!("{scope}\n{txn_id}")));
    (user_id.to_owned(), device_id.to_owned(), digest)
}

/// What the transaction was answered before: an event id or room id. Asked under the lock under which `record` is called.
pub async fn answer(homeserver: &Homeserver, key: &Key) -> Result<Option<String>, StoreError> {
    if !may_be_stored(homeserver, key).await? {
        return Ok(None);
    }
    Ok(homeserver.database.get::<Table>(key).await?.map(|row| row.answer))
}

/// Told from memory once the device's transactions were read.
async fn may_be_stored(homeserver: &Homeserver, key: &Key) -> Result<bool, StoreError> {
    let (device, txns) = ((key.0.clone(), key.1.clone()), &homeserver.client_txns);
    if txns.with_device(device.clone(), |known| known.loaded) == Some(false) {
        // What is recorded meanwhile is noted beside it.
        let rows = homeserver.database.scan_all::<Table, _>(&device).await?;
        txns.with_device(device.clone(), |known| {
            known.note(rows.into_iter().map(|((_, _, digest), _)| digest));
            known.loaded = true;
        });
    }
    Ok(txns.with_device(device, |known| known.rules_out(&key.2)) != Some(true))
}

/// Notes the answer in the batch that makes it true.
pub fn record(homeserver: &Rc<Homeserver>, batch: &mut Batch, key: &Key, answer: impl ToString) {
    let at_ms = homeserver.environment.clock.now_ms();
    batch.put::<Table>(key, &ClientTxnRow { answer: answer.to_string(), at_ms });
    // Before it is committed: that one is noted which failed costs a read, that one is not would repeat what was done.
    homeserver.client_txns.with_device((key.0.clone(), key.1.clone()), |known| known.note([key.2.clone()].into_iter()));
    let recorded = &homeserver.client_txns.recorded;
    recorded.set(recorded.get() + 1);
    if recorded.get().is_multiple_of(PRUNE_EVERY) {
        prune_later(homeserver, (key.0.clone(), key.1.clone()));
    }
}

fn prune_later(homeserver: &Rc<Homeserver>, device: (OwnedUserId, OwnedDeviceId)) {
    let weak = Rc::downgrade(homeserver);
    homeserver.environment.tasks.spawn(Box::pin(async move {
        if let Some(homeserver) = weak.upgrade()
            && let Err(error) = prune(&homeserver, &device).await
        {
            tracing::debug!(%error, "old client transactions were not pruned");
        }
    }));
}

/// Deletes the transactions of a device that are too old or too many.
async fn prune(homeserver: &Homeserver, device: &(OwnedUserId, OwnedDeviceId)) -> Result<(), StoreError> {
    let mut rows = homeserver.database.scan_all::<Table, _>(device).await?;
    rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.at_ms));
    let oldest_ms = homeserver.environment.clock.now_ms().saturating_sub(CLIENT_TXN_KEPT_MS);
    let mut batch = Batch::default();
    for (index, (key, row)) in rows.iter().enumerate() {
        if index >= CLIENT_TXNS_PER_DEVICE_MAX || row.at_ms < oldest_ms {
            batch.delete::<Table>(key);
        }
    }
    homeserver.database.commit(batch).await
}
