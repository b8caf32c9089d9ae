//! Messages to devices of ours from users of other servers, each told once however often it comes.
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    num::NonZeroUsize,
    rc::Rc,
};

use lru::LruCache;
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};
use serde::Deserialize;
use serde_json::value::RawValue as RawJsonValue;

use super::{Content, Delivery, Messages, check};
use crate::{
    homeserver::{
        Homeserver,
        edus::{UNTOLD_USER, may_be_told_of},
        refusals,
    },
    ports::{Batch, StoreError},
    storage::tables::{ToDeviceIdRow, ToDeviceIds},
};

/// The most characters the id of a message may have (server-server API, "Send-to-device messaging").
const MESSAGE_ID_CHARS_MAX: usize = 32;
/// Ids remembered of each server, the latest.
const IDS_KEPT_MAX: usize = 1_000;
/// Servers whose ids are in memory; those of others are in the store.
const SERVERS_KNOWN: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

#[derive(Deserialize)]
struct DirectToDevice {
    sender: OwnedUserId,
    #[serde(rename = "type")]
    kind: String,
    message_id: String,
    messages: BTreeMap<OwnedUserId, BTreeMap<String, Content>>,
}

/// The ids that servers sent, oldest first.
pub struct Seen(RefCell<LruCache<OwnedServerName, VecDeque<String>>>);

impl Default for Seen {
    fn default() -> Self {
        Self(RefCell::new(LruCache::new(SERVERS_KNOWN)))
    }
}

impl Seen {
    /// Called under the lock under which ids are noted.
    async fn contains(&self, server: &Homeserver, origin: &ServerName, id: &str) -> Result<bool, StoreError> {
        let known = |ids: &VecDeque<String>| ids.iter().any(|known| known == id);
        if let Some(ids) = self.0.borrow_mut().get(origin) {
            return Ok(known(ids));
        }
        let mut rows = server.database.scan_all::<ToDeviceIds, _>(&(origin.to_owned(),)).await?;
        rows.sort_by_key(|(_, row)| row.position);
        let ids: VecDeque<String> = rows.into_iter().map(|((_, id), _)| id).collect();
        let found = known(&ids);
        self.0.borrow_mut().put(origin.to_owned(), ids);
        Ok(found)
    }

    /// Puts the id into `batch`, and that the oldest is forgotten if there are too many.
    fn note(&self, batch: &mut Batch, origin: &ServerName, id: &str, position: u64) {
        batch.put::<ToDeviceIds>(&(origin.to_owned(), id.to_owned()), &ToDeviceIdRow { position });
        let mut servers = self.0.borrow_mut();
        let Some(ids) = servers.get_mut(origin) else { return };
        ids.push_back(id.to_owned());
        while ids.len() > IDS_KEPT_MAX {
            let Some(oldest) = ids.pop_front() else { break };
            batch.delete::<ToDeviceIds>(&(origin.to_owned(), oldest));
        }
    }

    fn forget(&self, origin: &ServerName) {
        self.0.borrow_mut().pop(origin);
    }
}

/// Whether `origin` may send such a message; else the rule that it breaks.
fn check_incoming(
    origin: &ServerName,
    sender: &UserId,
    message_id: &str,
    kind: &str,
    ours: &Messages,
) -> Result<(), String> {
    if sender.server_name() != origin {
        return Err("the sender is another server's user".to_owned());
    }
    if !may_be_told_of(sender) {
        return Err(UNTOLD_USER.to_owned());
    }
    if message_id.is_empty() || message_id.chars().count() > MESSAGE_ID_CHARS_MAX {
        return Err(format!("the id of a message has 1 to {MESSAGE_ID_CHARS_MAX} characters"));
    }
    check(kind, ours).map_err(|rule| rule.to_string())
}

/// Takes in what `origin` says. What it may not say, or is for nobody here, is ignored, and so is what came before.
pub async fn apply_incoming(
    server: &Rc<Homeserver>,
    origin: &ServerName,
    content: &RawJsonValue,
) -> Result<(), StoreError> {
    let edu: DirectToDevice = match serde_json::from_str(content.get()) {
        Ok(edu) => edu,
        Err(error) => {
            refusals::note(server, origin, &"an EDU m.direct_to_device", &error);
            return Ok(());
        }
    };
    let DirectToDevice { sender, kind, message_id, messages } = edu;
    let ours: Messages = messages.into_iter().filter(|(user, _)| user.server_name() == server.server_name()).collect();
    if let Err(rule) = check_incoming(origin, &sender, &message_id, &kind, &ours) {
        refusals::note(server, origin, &format!("a message of {sender} to devices"), &rule);
        return Ok(());
    }
    let to_devices = &server.to_devices;
    let _writing = to_devices.writing.lock().await;
    if to_devices.seen.contains(server, origin, &message_id).await? {
        return Ok(());
    }
    let (mut batch, position) = (Batch::strict(), server.positions.next().await?);
    let mut delivery = Delivery { sender: &sender, kind: &kind, position, told: Vec::new() };
    for (user, devices) in ours {
        delivery.put(server, &mut batch, &user, devices).await?;
    }
    // Names are free: who reaches nobody leaves nothing behind.
    if delivery.told.is_empty() {
        return Ok(());
    }
    to_devices.seen.note(&mut batch, origin, &message_id, delivery.position.value());
    if let Err(error) = server.database.commit(batch).await {
        to_devices.seen.forget(origin);
        return Err(error);
    }
    delivery.tell(server);
    Ok(())
}
