//! What clients say and hear in rooms, in as few words as tests need.
use std::cell::Cell;

use serde_json::{Value, json};

use crate::harness::{Answer, TestServer, TestUser};

thread_local! {
    static TXN: Cell<u64> = const { Cell::new(0) };
}

/// A transaction id never used before.
pub fn next_txn() -> u64 {
    TXN.set(TXN.get() + 1);
    TXN.get()
}

/// Escapes what identifiers hold that paths may not.
pub fn escaped(id: &str) -> String {
    id.replace('%', "%25").replace('#', "%23").replace('$', "%24").replace('/', "%2F").replace('?', "%3F")
}

impl TestServer {
    pub fn create_room(&self, user: &TestUser, body: Value) -> String {
        let answer = self.post("/_matrix/client/v3/createRoom", &user.token, body).ok();
        answer["room_id"].as_str().unwrap().to_owned()
    }

    /// A room that anybody may join.
    pub fn public_room(&self, user: &TestUser) -> String {
        self.create_room(user, json!({ "preset": "public_chat" }))
    }

    pub fn join(&self, user: &TestUser, room: &str) {
        self.post(&format!("/_matrix/client/v3/rooms/{}/join", escaped(room)), &user.token, json!({})).ok();
    }

    pub fn leave(&self, user: &TestUser, room: &str) {
        self.post(&format!("/_matrix/client/v3/rooms/{}/leave", escaped(room)), &user.token, json!({})).ok();
    }

    /// Invites, kicks, bans or unbans.
    pub fn act_on(&self, user: &TestUser, room: &str, action: &str, target: &TestUser) {
        let path = format!("/_matrix/client/v3/rooms/{}/{action}", escaped(room));
        self.post(&path, &user.token, json!({ "user_id": target.id })).ok();
    }

    pub fn say(&self, user: &TestUser, room: &str, text: &str) -> String {
        self.send_event(user, room, "m.room.message", json!({ "msgtype": "m.text", "body": text }))
    }

    pub fn send_event(&self, user: &TestUser, room: &str, kind: &str, content: Value) -> String {
        let path = format!("/_matrix/client/v3/rooms/{}/send/{kind}/{}", escaped(room), next_txn());
        self.put(&path, &user.token, content).ok()["event_id"].as_str().unwrap().to_owned()
    }

    /// Says something that relates to another event.
    pub fn relate(&self, user: &TestUser, room: &str, rel_type: &str, event: &str, text: &str) -> String {
        let relates_to = json!({ "rel_type": rel_type, "event_id": event });
        let content = json!({ "msgtype": "m.text", "body": text, "m.relates_to": relates_to });
        self.send_event(user, room, "m.room.message", content)
    }

    /// Replaces what one said.
    pub fn edit(&self, user: &TestUser, room: &str, event: &str, text: &str) -> String {
        let content = json!({
            "msgtype": "m.text",
            "body": format!("* {text}"),
            "m.new_content": { "msgtype": "m.text", "body": text },
            "m.relates_to": { "rel_type": "m.replace", "event_id": event },
        });
        self.send_event(user, room, "m.room.message", content)
    }

    /// One event, as `GET /rooms/{room}/event` shows it.
    pub fn event(&self, user: &TestUser, room: &str, event: &str) -> Value {
        let path = format!("/_matrix/client/v3/rooms/{}/event/{}", escaped(room), escaped(event));
        self.get(&path, &user.token).ok()
    }

    pub fn ignore(&self, user: &TestUser, ignored: &TestUser) {
        let path = format!("/_matrix/client/v3/user/{}/account_data/m.ignored_user_list", escaped(&user.id));
        self.put(&path, &user.token, json!({ "ignored_users": { &ignored.id: {} } })).ok();
    }

    pub fn set_state(&self, user: &TestUser, room: &str, kind: &str, key: &str, content: Value) -> String {
        let path = format!("/_matrix/client/v3/rooms/{}/state/{kind}/{}", escaped(room), escaped(key));
        self.put(&path, &user.token, content).ok()["event_id"].as_str().unwrap().to_owned()
    }

    pub fn redact(&self, user: &TestUser, room: &str, event: &str) -> String {
        let (room, event) = (escaped(room), escaped(event));
        let path = format!("/_matrix/client/v3/rooms/{room}/redact/{event}/{}", next_txn());
        self.put(&path, &user.token, json!({})).ok()["event_id"].as_str().unwrap().to_owned()
    }

    /// A sync that does not wait. `query` is more of the query string, such as `&full_state=true`.
    pub fn sync(&self, user: &TestUser, since: Option<&str>, query: &str) -> Value {
        self.sync_answer(user, since, query).ok()
    }

    pub fn sync_answer(&self, user: &TestUser, since: Option<&str>, query: &str) -> Answer {
        self.get(&sync_path(since, 0, query), &user.token)
    }

    pub fn read(&self, user: &TestUser, room: &str, kind: &str, event: &str, body: Value) -> Answer {
        let path = format!("/_matrix/client/v3/rooms/{}/receipt/{kind}/{}", escaped(room), escaped(event));
        self.post(&path, &user.token, body)
    }

    pub fn messages(&self, user: &TestUser, room: &str, query: &str) -> Value {
        self.get(&format!("/_matrix/client/v3/rooms/{}/messages?{query}", escaped(room)), &user.token).ok()
    }
}

pub fn sync_path(since: Option<&str>, timeout_ms: u64, query: &str) -> String {
    let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
    format!("/_matrix/client/v3/sync?timeout={timeout_ms}{since}{query}")
}

/// A filter as part of a sync's query.
pub fn filter(filter: Value) -> String {
    let encoded: String = filter.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("&filter={encoded}")
}

/// The token to go on from.
pub fn next_batch(answer: &Value) -> String {
    answer["next_batch"].as_str().unwrap().to_owned()
}

/// The ids of a list of events.
pub fn ids(events: &Value) -> Vec<String> {
    list(events).iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
}

/// Type and state key (or nothing) of each event.
pub fn kinds(events: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list(events).iter().map(|event| (text(&event["type"]), text(&event["state_key"]))).collect()
}

/// The texts of the messages among events.
pub fn texts(events: &Value) -> Vec<String> {
    let text = |event: &Value| event["content"]["body"].as_str().map(ToOwned::to_owned);
    list(events).iter().filter(|event| event["type"] == "m.room.message").filter_map(text).collect()
}

/// An array that may be absent.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
