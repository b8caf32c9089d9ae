//! Devices: each is logged in with tokens of its own, and gone once logged out.
use core::net::IpAddr;
use std::rc::Rc;

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use thiserror::Error;

use super::{
    Homeserver,
    device_lists::outgoing::{self, Change, Told},
    pushers,
    sessions::{Session, TokenHash},
    to_device,
    tokens::{self, Issued},
};
use crate::{
    ports::{Batch, StoreError},
    storage::{
        Direction,
        tables::{ClientTxns, DeviceRow, Devices},
    },
};

/// The most bytes the id of a device may have.
pub const DEVICE_ID_MAX_BYTES: usize = 255;

/// The most bytes the display name of a device may have.
pub const DEVICE_DISPLAY_NAME_MAX_BYTES: usize = 255;

/// The most devices a user may be logged in with.
pub const DEVICES_PER_USER_MAX: usize = 500;

/// The letters of a device id made here, and how many it has.
const DEVICE_ID_LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const DEVICE_ID_LENGTH: usize = 10;

type Key = (OwnedUserId, OwnedDeviceId);

#[derive(Debug, Error)]
pub enum DeviceError {
    #[error("a device id is empty or longer than {DEVICE_ID_MAX_BYTES} bytes")]
    BadId,
    #[error("the display name is longer than {DEVICE_DISPLAY_NAME_MAX_BYTES} bytes")]
    DisplayNameTooLong,
    #[error("the user is logged in with {DEVICES_PER_USER_MAX} devices already")]
    TooMany,
    #[error("the user has no such device")]
    NotFound,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a client wishes of the device it logs in with.
#[derive(Debug, Default)]
pub struct NewDevice {
    /// An id used before logs in the same device again; without one a new id is made.
    pub device_id: Option<OwnedDeviceId>,
    /// Ignored if the device exists.
    pub display_name: Option<String>,
    /// Whether the client refreshes tokens: then it gets one that expires.
    pub refreshable: bool,
}

/// A device that has just been given a token.
pub struct Login {
    pub device_id: OwnedDeviceId,
    pub tokens: Issued,
    ended: Ended,
}

impl Login {
    /// Called after the commit.
    pub fn tell(&mut self, homeserver: &Homeserver) {
        std::mem::take(&mut self.ended).tell(homeserver);
    }
}

/// A device as its owner sees it.
#[derive(Debug)]
pub struct Device {
    pub device_id: OwnedDeviceId,
    pub display_name: Option<String>,
    pub last_seen_ms: Option<u64>,
    /// What its client called itself then, and where it asked from.
    pub user_agent: Option<String>,
    pub last_seen_ip: Option<IpAddr>,
}

/// Puts device and token into `batch`, which must be strict. The caller holds `accounts_lock` and commits.
pub async fn log_in(
    homeserver: &Homeserver,
    batch: &mut Batch,
    user_id: &UserId,
    new: NewDevice,
) -> Result<Login, DeviceError> {
    check_new(&new)?;
    let device_id = new.device_id.unwrap_or_else(|| new_device_id(homeserver));
    let key = (user_id.to_owned(), device_id.clone());
    let existing = homeserver.database.get::<Devices>(&key).await?;
    if existing.is_none() && rows_of(homeserver, user_id).await?.len() >= DEVICES_PER_USER_MAX {
        return Err(DeviceError::TooMany);
    }
    let replaced = existing.as_ref().map(|row| tokens::end_all(batch, row)).unwrap_or_default();
    let is_new = existing.is_none();
    let mut row = DeviceRow {
        display_name: existing.map_or(new.display_name, |row| row.display_name),
        token_hash: TokenHash::default(),
        refresh_hash: None,
        next: None,
        last_seen_ms: Some(homeserver.environment.clock.now_ms()),
        user_agent: None,
        last_seen_ip: None,
    };
    let tokens = tokens::issue(homeserver, batch, &key, &mut row, new.refreshable);
    batch.put::<Devices>(&key, &row);
    let change = Change::Is { display_name: row.display_name, keys: None };
    let changes = is_new.then(|| (device_id.clone(), change)).into_iter().collect();
    let told = outgoing::put(homeserver, batch, user_id, changes).await?;
    Ok(Login { device_id, tokens, ended: Ended { tokens: replaced, told } })
}

pub fn check_new(new: &NewDevice) -> Result<(), DeviceError> {
    if new.device_id.as_ref().is_some_and(|id| id.as_str().is_empty() || id.as_str().len() > DEVICE_ID_MAX_BYTES) {
        return Err(DeviceError::BadId);
    }
    check_display_name(new.display_name.as_deref())
}

fn check_display_name(display_name: Option<&str>) -> Result<(), DeviceError> {
    match display_name {
        Some(name) if name.len() > DEVICE_DISPLAY_NAME_MAX_BYTES => Err(DeviceError::DisplayNameTooLong),
        _ => Ok(()),
    }
}

/// Every device of a user, by id.
pub async fn all(homeserver: &Homeserver, user_id: &UserId) -> Result<Vec<Device>, StoreError> {
    let rows = rows_of(homeserver, user_id).await?;
    Ok(rows.into_iter().map(|((_, device_id), row)| as_seen(homeserver, device_id, row)).collect())
}

pub async fn one(homeserver: &Homeserver, user_id: &UserId, device_id: OwnedDeviceId) -> Result<Device, DeviceError> {
    let key = (user_id.to_owned(), device_id);
    let row = homeserver.database.get::<Devices>(&key).await?.ok_or(DeviceError::NotFound)?;
    Ok(as_seen(homeserver, key.1, row))
}

/// Sets or keeps the display name of a device.
pub async fn rename(
    homeserver: &Homeserver,
    user_id: &UserId,
    device_id: OwnedDeviceId,
    display_name: Option<String>,
) -> Result<(), DeviceError> {
    check_display_name(display_name.as_deref())?;
    let key = (user_id.to_owned(), device_id);
    let _accounts = homeserver.accounts_lock.lock().await;
    let mut row = homeserver.database.get::<Devices>(&key).await?.ok_or(DeviceError::NotFound)?;
    let Some(display_name) = display_name else { return Ok(()) };
    if row.display_name.as_ref() == Some(&display_name) {
        return Ok(());
    }
    row.display_name = Some(display_name);
    let mut batch = Batch::strict();
    batch.put::<Devices>(&key, &row);
    let change = Change::Is { display_name: row.display_name, keys: None };
    let told = outgoing::put(homeserver, &mut batch, user_id, vec![(key.1, change)]).await?;
    homeserver.database.commit(batch).await?;
    told.tell(homeserver);
    Ok(())
}

/// Logs out these devices of a user; those it does not have are as good as logged out.
pub async fn log_out(
    homeserver: &Rc<Homeserver>,
    user_id: &UserId,
    devices: &[OwnedDeviceId],
) -> Result<(), StoreError> {
    let _accounts = homeserver.accounts_lock.lock().await;
    let keys: Vec<_> = devices.iter().map(|device_id| (user_id.to_owned(), device_id.clone())).collect();
    let rows = homeserver.database.get_many::<Devices>(&keys).await?;
    forget(homeserver, keys.into_iter().zip(rows).filter_map(|(key, row)| Some((key, row?))).collect()).await
}

/// Logs out every device of a user.
pub async fn log_out_all(homeserver: &Rc<Homeserver>, user_id: &UserId) -> Result<(), StoreError> {
    let _accounts = homeserver.accounts_lock.lock().await;
    let rows = rows_of(homeserver, user_id).await?;
    forget(homeserver, rows).await
}

/// Deletes devices in a strict commit of their own.
async fn forget(homeserver: &Homeserver, devices: Vec<(Key, DeviceRow)>) -> Result<(), StoreError> {
    let mut batch = Batch::strict();
    let ended = put_forgotten(homeserver, &mut batch, devices).await?;
    homeserver.database.commit(batch).await?;
    ended.tell(homeserver);
    Ok(())
}

/// Puts into `batch`, which must be strict, that every device of a user but `kept` is logged out. The caller holds
/// `accounts_lock`, commits, and tells it.
pub async fn end_all_but(
    homeserver: &Homeserver,
    batch: &mut Batch,
    user_id: &UserId,
    kept: Option<&DeviceId>,
) -> Result<Ended, StoreError> {
    let mut rows = rows_of(homeserver, user_id).await?;
    rows.retain(|((_, device_id), _)| Some(&**device_id) != kept);
    put_forgotten(homeserver, batch, rows).await
}

/// Access tokens that a batch ends, and who is told that devices are no more or are new.
#[must_use]
#[derive(Default)]
pub struct Ended {
    tokens: Vec<TokenHash>,
    told: Told,
}

impl Ended {
    /// Called after the commit.
    pub fn tell(self, homeserver: &Homeserver) {
        homeserver.sessions.forget(&self.tokens);
        self.told.tell(homeserver);
        // Long polls of these devices look again, and find that they are no longer logged in.
        homeserver.notifier.notify();
    }
}

/// Deletes devices of one user with all that belongs to them.
async fn put_forgotten(
    homeserver: &Homeserver,
    batch: &mut Batch,
    devices: Vec<(Key, DeviceRow)>,
) -> Result<Ended, StoreError> {
    let mut ended = Vec::new();
    for (key, row) in &devices {
        batch.delete::<Devices>(key);
        ended.extend(tokens::end_all(batch, row));
        for (txn, _) in homeserver.database.scan_all::<ClientTxns, _>(key).await? {
            batch.delete::<ClientTxns>(&txn);
        }
        to_device::put_forgotten(homeserver, batch, key).await?;
        // Their tasks find out by themselves.
        pushers::remove_with_devices(homeserver, &key.0, std::slice::from_ref(&key.1), batch).await?;
    }
    let mut told = Told::default();
    if let Some(((user_id, _), _)) = devices.first() {
        let deleted = devices.iter().map(|((_, device_id), _)| (device_id.clone(), Change::Deleted));
        told = outgoing::put(homeserver, batch, user_id, deleted.collect()).await?;
    }
    Ok(Ended { tokens: ended, told })
}

/// Has every device of a user look again at what the user may do.
pub async fn refresh_standing(homeserver: &Homeserver, user_id: &UserId) -> Result<(), StoreError> {
    let rows = rows_of(homeserver, user_id).await?;
    let tokens = rows.iter().flat_map(|(_, row)| row.access_hashes()).collect();
    Ended { tokens, told: Told::default() }.tell(homeserver);
    Ok(())
}

/// Whether a session that was good when its request began still is: for requests that wait.
pub async fn is_logged_in(homeserver: &Homeserver, session: &Session) -> Result<bool, StoreError> {
    let key = (session.user_id.clone(), session.device_id.clone());
    Ok(homeserver.database.get::<Devices>(&key).await?.is_some())
}

async fn rows_of(homeserver: &Homeserver, user_id: &UserId) -> Result<Vec<(Key, DeviceRow)>, StoreError> {
    let prefix = (user_id.to_owned(),);
    homeserver.database.scan_prefix::<Devices, _>(&prefix, Direction::Ascending, DEVICES_PER_USER_MAX).await
}

fn as_seen(homeserver: &Homeserver, device_id: OwnedDeviceId, row: DeviceRow) -> Device {
    let last_seen_ms = homeserver.sessions.last_seen_ms(&row.token_hash).or(row.last_seen_ms);
    let DeviceRow { display_name, user_agent, last_seen_ip, .. } = row;
    Device { device_id, display_name, last_seen_ms, user_agent, last_seen_ip }
}

fn new_device_id(homeserver: &Homeserver) -> OwnedDeviceId {
    let mut bytes = [0; DEVICE_ID_LENGTH];
    homeserver.environment.entropy.fill(&mut bytes);
    let letters = bytes.map(|byte| char::from(DEVICE_ID_LETTERS[usize::from(byte % 32)]));
    String::from_iter(letters).into()
}
