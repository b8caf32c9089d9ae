//! Messages to single devices (client-server API, "Send-to-Device messaging"): kept for each until it says it has them, which
//! it does by syncing from a place after them. Those for devices of other servers go through the outbox, as EDUs.
mod inboxes;
mod incoming;

use std::{collections::BTreeMap, rc::Rc};

use futures::lock::Mutex;
use multibase::Base;
use ruma::{OwnedDeviceId, OwnedServerName, OwnedUserId, UserId};
use serde_json::{Map, Value, json};
use thiserror::Error;

pub use self::incoming::apply_incoming;
use self::{inboxes::Inboxes, incoming::Seen};
use super::{
    Homeserver, client_txns, devices::DEVICES_PER_USER_MAX, positions::Position,
    rooms::append::OUTBOX_ROWS_PER_SERVER_MAX, sessions::Session,
};
use crate::{
    ports::{Batch, StoreError},
    storage::{
        Direction,
        tables::{Devices, Outbox, OutboxRow, ToDevice, ToDeviceRow},
    },
};

/// Messages that wait for one device, and their bytes; further ones are dropped.
pub const INBOX_MESSAGES_MAX: usize = 1_000;
pub const INBOX_MAX_BYTES: usize = 4 << 20;
/// The most bytes the content of one message may have.
pub const CONTENT_MAX_BYTES: usize = 64 << 10;
/// The most bytes a type may have.
pub const KIND_MAX_BYTES: usize = 255;
/// The most devices, or users of whom all devices are meant, that one request may name.
pub const RECIPIENTS_MAX: usize = 1_000;
/// The most messages one sync tells; the next goes on after them.
pub const TOLD_AT_ONCE_MAX: usize = 100;
/// What stands for every device of a user.
const ALL_DEVICES: &str = "*";
/// The random bytes of a message's id.
const MESSAGE_ID_BYTES: usize = 16;

pub type Content = Map<String, Value>;
/// By user and device, or [`ALL_DEVICES`].
pub type Messages = BTreeMap<OwnedUserId, BTreeMap<String, Content>>;
type Device = (OwnedUserId, OwnedDeviceId);

#[derive(Debug, Error)]
pub enum ToDeviceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the type of a message has 1 to {KIND_MAX_BYTES} bytes")]
    BadKind,
    #[error("one request is to {RECIPIENTS_MAX} devices at most")]
    TooMany,
    #[error("the content of a message has at most {CONTENT_MAX_BYTES} bytes")]
    TooLarge,
}

#[derive(Default)]
pub struct ToDevices {
    /// Held from reading to committing by whoever changes inboxes.
    writing: Mutex<()>,
    inboxes: Inboxes,
    seen: Seen,
}

/// What a device sends, once however often it says so.
pub async fn send(
    server: &Rc<Homeserver>,
    session: &Session,
    kind: &str,
    txn_id: &str,
    messages: Messages,
) -> Result<(), ToDeviceError> {
    check(kind, &messages)?;
    let scope = format!("sendToDevice/{kind}");
    let key = client_txns::key(&session.user_id, &session.device_id, &scope, txn_id);
    let _writing = server.to_devices.writing.lock().await;
    if client_txns::answer(server, &key).await?.is_some() {
        return Ok(());
    }
    let (mut batch, position) = (Batch::strict(), server.positions.next().await?);
    client_txns::record(server, &mut batch, &key, "");
    let mut delivery = Delivery { sender: &session.user_id, kind, position, told: Vec::new() };
    let mut elsewhere: BTreeMap<OwnedServerName, Messages> = BTreeMap::new();
    for (user, devices) in messages {
        if user.server_name() == server.server_name() {
            delivery.put(server, &mut batch, &user, devices).await?;
        } else {
            elsewhere.entry(user.server_name().to_owned()).or_default().insert(user, devices);
        }
    }
    let destinations = delivery.put_in_outbox(server, &mut batch, elsewhere);
    server.database.commit(batch).await?;
    delivery.tell(server);
    destinations.iter().for_each(|destination| server.sender.queued(destination, 1));
    Ok(())
}

fn check(kind: &str, messages: &Messages) -> Result<(), ToDeviceError> {
    if kind.is_empty() || kind.len() > KIND_MAX_BYTES {
        return Err(ToDeviceError::BadKind);
    }
    if messages.values().map(BTreeMap::len).sum::<usize>() > RECIPIENTS_MAX {
        return Err(ToDeviceError::TooMany);
    }
    let mut contents = messages.values().flat_map(BTreeMap::values);
    if contents.any(|content| bytes_of(content) > CONTENT_MAX_BYTES) {
        return Err(ToDeviceError::TooLarge);
    }
    Ok(())
}

fn bytes_of(content: &Content) -> usize {
    serde_json::to_vec(content).map_or(usize::MAX, |json| json.len())
}

/// One message on its way into inboxes.
struct Delivery<'a> {
    sender: &'a UserId,
    kind: &'a str,
    position: Position,
    /// In whose inbox it is put, and how many bytes.
    told: Vec<(Device, usize)>,
}

impl Delivery<'_> {
    /// Puts the message into the inboxes of a local user's devices. Devices that are not there, and those whose inbox is
    /// full, get nothing.
    async fn put(
        &mut self,
        server: &Homeserver,
        batch: &mut Batch,
        user: &OwnedUserId,
        mut contents: BTreeMap<String, Content>,
    ) -> Result<(), StoreError> {
        let prefix = (user.clone(),);
        let rows = server.database.scan_prefix::<Devices, _>(&prefix, Direction::Ascending, DEVICES_PER_USER_MAX);
        let for_all = contents.remove(ALL_DEVICES);
        for (key, _) in rows.await? {
            let Some(content) = contents.remove(key.1.as_str()).or_else(|| for_all.clone()) else { continue };
            let bytes = bytes_of(&content);
            let inbox = server.to_devices.inboxes.load(server, &key).await?;
            if inbox.messages >= INBOX_MESSAGES_MAX || inbox.bytes + bytes > INBOX_MAX_BYTES {
                tracing::info!(user = %key.0, device = %key.1, sender = %self.sender, "an inbox is full");
                continue;
            }
            let row = ToDeviceRow { sender: self.sender.to_owned(), kind: self.kind.to_owned(), content };
            batch.put::<ToDevice>(&(key.0.clone(), key.1.clone(), self.position.value()), &row);
            self.told.push((key, bytes));
        }
        Ok(())
    }

    /// Puts an EDU for each other server into the outbox; answers with whom to wake after the commit.
    fn put_in_outbox(
        &self,
        server: &Homeserver,
        batch: &mut Batch,
        messages: BTreeMap<OwnedServerName, Messages>,
    ) -> Vec<OwnedServerName> {
        let mut destinations = Vec::new();
        for (destination, messages) in messages {
            if server.sender.waiting(&destination) >= OUTBOX_ROWS_PER_SERVER_MAX {
                tracing::info!(%destination, "a message to devices is dropped: too much waits for their server");
                continue;
            }
            let mut random = [0; MESSAGE_ID_BYTES];
            server.environment.entropy.fill(&mut random);
            let content = json!({
                "sender": self.sender,
                "type": self.kind,
                "message_id": Base::Base64Url.encode(random),
                "messages": messages,
            });
            let edu = json!({ "edu_type": "m.direct_to_device", "content": content });
            batch.put::<Outbox>(&(destination.clone(), self.position.value()), &OutboxRow::Edu(edu));
            destinations.push(destination);
        }
        destinations
    }

    /// Called after the commit.
    fn tell(self, server: &Homeserver) {
        for (device, bytes) in &self.told {
            server.to_devices.inboxes.grew(device, *bytes, self.position.value());
        }
        let news = !self.told.is_empty();
        drop(self.position);
        if news {
            server.notifier.notify();
        }
    }
}

/// What a sync tells of the device's messages, and how far it may go without leaving one out.
pub struct Waiting {
    pub messages: Vec<ToDeviceRow>,
    pub until: u64,
}

/// Messages after `since`, up to `until`.
pub async fn waiting(
    server: &Homeserver,
    session: &Session,
    since: Option<u64>,
    until: u64,
) -> Result<Waiting, StoreError> {
    let device = (session.user_id.clone(), session.device_id.clone());
    let inbox = server.to_devices.inboxes.load(server, &device).await?;
    if inbox.messages == 0 || since.is_some_and(|since| inbox.newest <= since) {
        return Ok(Waiting { messages: Vec::new(), until });
    }
    let at = |position: u64| (device.0.clone(), device.1.clone(), position);
    let (start, end) = (at(since.map_or(0, |since| since + 1)), at(until + 1));
    let limit = TOLD_AT_ONCE_MAX + 1;
    let mut rows = server.database.scan_range::<ToDevice>(&start, &end, Direction::Ascending, limit).await?;
    let cut = rows.len() > TOLD_AT_ONCE_MAX;
    rows.truncate(TOLD_AT_ONCE_MAX);
    let until = if cut { rows.last().map_or(until, |((_, _, position), _)| *position) } else { until };
    Ok(Waiting { messages: rows.into_iter().map(|(_, row)| row).collect(), until })
}

/// The device has everything up to `confirmed`: that need not be kept any longer.
pub async fn acknowledge(server: &Homeserver, session: &Session, confirmed: u64) -> Result<(), StoreError> {
    let device = (session.user_id.clone(), session.device_id.clone());
    if server.to_devices.inboxes.load(server, &device).await?.messages == 0 {
        return Ok(());
    }
    let _writing = server.to_devices.writing.lock().await;
    let at = |position: u64| (device.0.clone(), device.1.clone(), position);
    let (start, end) = (at(0), at(confirmed + 1));
    let rows = server.database.scan_range::<ToDevice>(&start, &end, Direction::Ascending, INBOX_MESSAGES_MAX).await?;
    if rows.is_empty() {
        // What was thought to wait has gone with a device of this id that is no more.
        server.to_devices.inboxes.forget_before(&device, confirmed);
        return Ok(());
    }
    // Lost with the power they are told once more, as if the device had not said so.
    let mut batch = Batch::default();
    rows.iter().for_each(|(key, _)| batch.delete::<ToDevice>(key));
    server.database.commit(batch).await?;
    let bytes = rows.iter().map(|(_, row)| bytes_of(&row.content)).sum();
    server.to_devices.inboxes.shrank(&device, rows.len(), bytes);
    Ok(())
}

/// Puts into `batch` that a device which is logged out gets nothing any more.
pub async fn put_forgotten(server: &Homeserver, batch: &mut Batch, device: &Device) -> Result<(), StoreError> {
    for (key, _) in server.database.scan_all::<ToDevice, _>(device).await? {
        batch.delete::<ToDevice>(&key);
    }
    server.to_devices.inboxes.forget_before(device, u64::MAX);
    Ok(())
}
