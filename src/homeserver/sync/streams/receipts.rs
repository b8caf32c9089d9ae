//! Read receipts of a room. Private ones are told to their owner only.
use std::collections::BTreeMap;

use ruma::{EventId, UserId, events::AnySyncEphemeralRoomEvent, serde::Raw};
use serde_json::{Value, json};

use crate::{
    homeserver::{edus::receipt::thread_id, rooms::Room, sync::Look},
    ports::StoreError,
    storage::tables::Receipts,
};

const PRIVATE: &str = "m.read.private";

/// By event, type and user.
type Content = BTreeMap<String, BTreeMap<String, BTreeMap<String, Value>>>;

/// What a room's receipts come to.
#[derive(Default)]
pub struct Changed {
    /// One event, or more where a user has several receipts for one event, each in a thread.
    pub events: Vec<Raw<AnySyncEphemeralRoomEvent>>,
    /// Whether the user read something, so that what is unread may have changed.
    pub own: bool,
}

/// The receipts that changed, or all of them for a client that knows nothing of the room.
pub async fn changed(look: &Look<'_>, room: &Room, fresh: bool) -> Result<Changed, StoreError> {
    if !fresh && !look.may_be_new(look.server.receipts.newest(&room.id)) {
        return Ok(Changed::default());
    }
    let mut own = false;
    let mut contents: Vec<Content> = Vec::new();
    for ((_, user, kind, thread), row) in look.server.database.scan_all::<Receipts, _>(&room.id).await? {
        let news = if fresh { row.position <= look.until } else { look.is_new(row.position) };
        let is_own = user == look.session.user_id;
        if !news || (kind == PRIVATE && !is_own) || look.ignored.contains(&user) {
            continue;
        }
        own |= is_own;
        let mut receipt = json!({ "ts": row.ts_ms });
        if let Some(thread) = thread_id(&thread) {
            receipt["thread_id"] = thread.into();
        }
        place(&mut contents, &row.event_id, &kind, &user, receipt);
    }
    let event = |content| {
        let event = json!({ "type": "m.receipt", "content": content });
        Raw::from_json(serde_json::value::to_raw_value(&event).expect("a JSON value is JSON"))
    };
    Ok(Changed { events: contents.into_iter().map(event).collect(), own })
}

/// Puts the receipt into the first content that has no other of this user for the event.
fn place(contents: &mut Vec<Content>, event_id: &EventId, kind: &str, user: &UserId, receipt: Value) {
    let is_free = |content: &Content| {
        let users = content.get(event_id.as_str()).and_then(|kinds| kinds.get(kind));
        users.is_none_or(|users| !users.contains_key(user.as_str()))
    };
    let index = contents.iter().position(is_free).unwrap_or_else(|| {
        contents.push(Content::new());
        contents.len() - 1
    });
    let kinds = contents[index].entry(event_id.to_string()).or_default();
    kinds.entry(kind.to_owned()).or_default().insert(user.to_string(), receipt);
}
