//! What a push gateway is told (push gateway API, `POST /_matrix/push/v1/notify`).
use bytes::Bytes;
use ruma::{UserId, events::StateEventType, push::Action};
use serde_json::{Map, Value, json};

use crate::{
    homeserver::{Homeserver, notifications, pushers::PusherKey, rooms::Room},
    ports::StoreError,
    storage::tables::{NotifiedRow, PusherRow},
};

/// The format in which clients ask for no more than which event it is.
const EVENT_ID_ONLY: &str = "event_id_only";

pub struct Message {
    pub url: http::Uri,
    pub body: Bytes,
}

/// What is known of an event, from the room or, of an invite to a room we have no copy of, from the invite.
struct Told {
    kind: String,
    sender: String,
    state_key: Option<String>,
    content: Value,
    sender_name: Option<String>,
    room_name: Option<String>,
    room_alias: Option<String>,
}

impl Message {
    /// Counts alone. Zero is said here, where it is the news.
    pub fn counts(key: &PusherKey, row: &PusherRow, unread: u32) -> Self {
        let devices = [device(key, row, Map::new())];
        Self::new(row, json!({ "counts": { "unread": unread }, "prio": "low", "devices": devices }))
    }

    /// An event with the counts as they are now; `None` if there is nothing left to tell.
    pub async fn event(
        server: &Homeserver,
        key: &PusherKey,
        row: &PusherRow,
        notified: &NotifiedRow,
        unread: u32,
    ) -> Result<Option<Self>, StoreError> {
        let Some(told) = told(server, &key.0, notified).await? else { return Ok(None) };
        let tweaks = tweaks(notified);
        let urgent = told.kind == "m.room.encrypted"
            || tweaks.contains_key("sound")
            || tweaks.get("highlight") == Some(&true.into());
        let mut notification = json!({
            "event_id": notified.event_id,
            "room_id": notified.room_id,
            "prio": if urgent { "high" } else { "low" },
            "devices": [device(key, row, tweaks)],
        });
        let counts = if unread > 0 { json!({ "unread": unread }) } else { json!({}) };
        notification["counts"] = counts;
        if row.data.get("format").and_then(Value::as_str) != Some(EVENT_ID_ONLY) {
            told.write(&mut notification, &key.0);
        }
        Ok(Some(Self::new(row, notification)))
    }

    fn new(row: &PusherRow, notification: Value) -> Self {
        let body = json!({ "notification": notification }).to_string().into();
        // Checked when the pusher was set; one that an older version took and this one cannot read leads nowhere.
        Self { url: row.url.parse().unwrap_or_default(), body }
    }
}

impl Told {
    fn write(self, notification: &mut Value, user: &UserId) {
        notification["type"] = self.kind.as_str().into();
        notification["sender"] = self.sender.into();
        notification["content"] = self.content;
        if self.kind == "m.room.member" {
            notification["user_is_target"] = (self.state_key.as_deref() == Some(user.as_str())).into();
        }
        for (name, text) in
            [("sender_display_name", self.sender_name), ("room_name", self.room_name), ("room_alias", self.room_alias)]
        {
            if let Some(text) = text {
                notification[name] = text.into();
            }
        }
    }
}

fn device(key: &PusherKey, row: &PusherRow, tweaks: Map<String, Value>) -> Value {
    json!({
        "app_id": key.1,
        "pushkey": key.2,
        "pushkey_ts": row.set_ms / 1_000,
        "data": row.data,
        "tweaks": tweaks,
    })
}

/// What the rule said of how to present it. A tweak without a value is true.
fn tweaks(notified: &NotifiedRow) -> Map<String, Value> {
    let tweak = |action| match action {
        Action::SetTweak(tweak) => {
            let value = tweak.value().and_then(|value| serde_json::from_str(value.get()).ok());
            Some((tweak.set_tweak().to_owned(), value.unwrap_or(Value::Bool(true))))
        }
        _ => None,
    };
    notifications::actions_of(notified).into_iter().filter_map(tweak).collect()
}

async fn told(server: &Homeserver, user: &UserId, notified: &NotifiedRow) -> Result<Option<Told>, StoreError> {
    if let Some(event) = server.rooms.events.get(&notified.event_id).await?
        && let Some(room) = server.rooms.get(&notified.room_id).await?
    {
        let pdu = &event.pdu;
        let member = room.live().members.get(&pdu.sender).cloned();
        return Ok(Some(Told {
            kind: pdu.kind.to_string(),
            sender: pdu.sender.to_string(),
            state_key: pdu.state_key.clone(),
            content: serde_json::from_str(pdu.content.get()).unwrap_or_default(),
            sender_name: member.and_then(|member| member.displayname.clone()),
            room_name: text_of(server, &room, StateEventType::RoomName, "name").await?,
            room_alias: text_of(server, &room, StateEventType::RoomCanonicalAlias, "alias").await?,
        }));
    }
    let Some(invite) = notifications::open_invite(server, user, notified).await? else { return Ok(None) };
    let of_state = |kind: &str, key: &str, field: &str| {
        let event = invite.stripped_state.iter().find(|event| event["type"] == kind && event["state_key"] == key);
        event.and_then(|event| event["content"][field].as_str()).map(str::to_owned)
    };
    let content = invite.invite_event.as_ref().map(|event| event["content"].clone()).unwrap_or_default();
    Ok(Some(Told {
        kind: "m.room.member".to_owned(),
        sender: invite.sender.to_string(),
        state_key: Some(user.to_string()),
        content,
        sender_name: of_state("m.room.member", invite.sender.as_str(), "displayname"),
        room_name: of_state("m.room.name", "", "name"),
        room_alias: of_state("m.room.canonical_alias", "", "alias"),
    }))
}

/// A text in the room's state, if it is one that says something.
async fn text_of(
    server: &Homeserver,
    room: &Room,
    kind: StateEventType,
    field: &str,
) -> Result<Option<String>, StoreError> {
    let Some(event_id) = room.live().state.get(&kind, "").cloned() else { return Ok(None) };
    let Some(event) = server.rooms.events.get(&event_id).await? else { return Ok(None) };
    let content: Value = serde_json::from_str(event.pdu.content.get()).unwrap_or_default();
    Ok(content[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned))
}
