//! Knocking within one homeserver: who may, what the knocker and the room see of it, and how it ends.
use serde_json::{Value, json};

use crate::{
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, filter, list, next_batch},
};

/// Alice, who made a room to knock on; Bob, who is outside.
struct Door {
    server: TestServer,
    alice: TestUser,
    bob: TestUser,
    room: String,
}

impl Door {
    fn new() -> Self {
        Self::with_rule(json!({ "join_rule": "knock" }))
    }

    fn with_rule(rule: Value) -> Self {
        let server = TestServer::new();
        let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
        let join_rules = json!({ "type": "m.room.join_rules", "state_key": "", "content": rule });
        let room = server.create_room(&alice, json!({ "name": "Den", "initial_state": [join_rules] }));
        Self { server, alice, bob, room }
    }

    fn knock(&self, body: Value) -> Answer {
        self.server.post(&knock_path(&self.room), &self.bob.token, body)
    }

    fn act(&self, action: &str) -> Answer {
        let path = format!("/_matrix/client/v3/rooms/{}/{action}", escaped(&self.room));
        self.server.post(&path, &self.alice.token, json!({ "user_id": self.bob.id }))
    }

    fn member(&self) -> Value {
        let path = format!("/_matrix/client/v3/rooms/{}/state/m.room.member/{}", self.room, self.bob.id);
        self.server.get(&path, &self.alice.token).ok()
    }

    /// The sections of a first sync that have the room.
    fn shown_in(&self, query: &str) -> Vec<String> {
        let rooms = self.server.sync(&self.bob, None, query)["rooms"].clone();
        let sections = ["join", "invite", "knock", "leave"].into_iter();
        sections.filter(|section| rooms[section].get(&self.room).is_some()).map(ToOwned::to_owned).collect()
    }
}

fn knock_path(room: &str) -> String {
    format!("/_matrix/client/v3/knock/{}", escaped(room))
}

#[test]
fn a_knock_is_told_and_answered() {
    let door = Door::new();
    let since = next_batch(&door.server.sync(&door.bob, None, ""));
    assert_eq!(door.knock(json!({ "reason": "it rains" })).ok(), json!({ "room_id": door.room }));
    assert_eq!(door.member(), json!({ "membership": "knock", "reason": "it rains" }));
    let told = door.server.sync(&door.bob, Some(&since), "");
    let state = told["rooms"]["knock"][&door.room]["knock_state"]["events"].clone();
    let content = |kind: &str| list(&state).iter().find(|event| event["type"] == kind).map(|event| &event["content"]);
    assert_eq!(content("m.room.name"), Some(&json!({ "name": "Den" })));
    assert_eq!(content("m.room.member"), Some(&json!({ "membership": "knock", "reason": "it rains" })));
    assert!(content("m.room.create").is_some() && content("m.room.join_rules").is_some());
    assert!(list(&state).iter().all(|event| event.get("event_id").is_none()), "stripped");
    assert!(told["rooms"].get("join").is_none());
    let next = next_batch(&told);
    assert!(door.server.sync(&door.bob, Some(&next), "").get("rooms").is_none(), "told once");
    let only_others = filter(json!({ "room": { "not_rooms": [door.room] } }));
    assert!(door.shown_in(&only_others).is_empty(), "filters of rooms hold for knocks");

    door.act("invite").ok();
    assert_eq!(door.shown_in(""), ["invite"]);
    door.server.join(&door.bob, &door.room);
    assert_eq!(door.shown_in(""), ["join"]);
}

#[test]
fn a_knock_is_turned_down_or_taken_back() {
    let door = Door::new();
    door.knock(json!({})).ok();
    door.act("kick").ok();
    assert_eq!(door.member()["membership"], "leave");
    assert_eq!(door.shown_in(&filter(json!({ "room": { "include_leave": true } }))), ["leave"]);
    door.knock(json!({})).ok();
    let since = next_batch(&door.server.sync(&door.bob, None, ""));
    door.server.leave(&door.bob, &door.room);
    assert_eq!(door.member()["membership"], "leave");
    let told = door.server.sync(&door.bob, Some(&since), "");
    assert!(told["rooms"]["leave"].get(&door.room).is_some());
    door.act("ban").ok();
    door.knock(json!({})).is_error(403, "M_FORBIDDEN");
    assert_eq!(door.member()["membership"], "ban");
}

#[test]
fn a_knock_twice_is_one_event_unless_there_is_more_to_say() {
    let door = Door::new();
    let knock = |reason: &str| {
        door.knock(json!({ "reason": reason })).ok();
        let state = door.server.get(&format!("/_matrix/client/v3/rooms/{}/state", door.room), &door.alice.token).ok();
        let member = list(&state).iter().find(|event| event["state_key"] == door.bob.id.as_str());
        member.unwrap()["event_id"].as_str().unwrap().to_owned()
    };
    let first = knock("hello");
    assert_eq!(knock("hello"), first);
    assert_ne!(knock("HELLO?"), first);
    assert_eq!(door.member()["reason"], "HELLO?");
}

#[test]
fn only_a_room_with_a_door_is_knocked_on() {
    for rule in ["invite", "public", "private"] {
        let door = Door::with_rule(json!({ "join_rule": rule }));
        door.knock(json!({})).is_error(403, "M_FORBIDDEN");
        assert!(door.shown_in("").is_empty());
    }
    let door = Door::new();
    door.server.post(&knock_path(&door.room), &door.alice.token, json!({})).is_error(403, "M_FORBIDDEN");
    door.act("invite").ok();
    door.knock(json!({})).is_error(403, "M_FORBIDDEN");
    assert_eq!(door.shown_in(""), ["invite"]);
}

#[test]
fn a_room_that_lets_some_in_may_be_knocked_on_by_the_others() {
    let server = TestServer::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| server.register(name));
    let hall = server.public_room(&alice);
    server.join(&carol, &hall);
    let rule = json!({ "join_rule": "knock_restricted", "allow": [{ "type": "m.room_membership", "room_id": hall }] });
    let join_rules = json!({ "type": "m.room.join_rules", "state_key": "", "content": rule });
    let room = server.create_room(&alice, json!({ "initial_state": [join_rules] }));
    let join = format!("/_matrix/client/v3/rooms/{room}/join");
    server.post(&join, &bob.token, json!({})).is_error(403, "M_FORBIDDEN");
    server.post(&knock_path(&room), &bob.token, json!({})).ok();
    server.post(&join, &carol.token, json!({})).ok();
    assert!(server.sync(&bob, None, "")["rooms"]["knock"].get(&room).is_some());
}

#[test]
fn malformed_knocks_are_refused() {
    let door = Door::new();
    door.server.request("POST", &knock_path(&door.room), None, json!({})).is_error(401, "M_MISSING_TOKEN");
    door.knock(json!({ "reason": 5 })).is_error(400, "M_BAD_JSON");
    door.knock(json!({ "reason": "x".repeat(70_000) })).is_error(413, "M_TOO_LARGE");
    door.server.post("/_matrix/client/v3/knock/nonsense", &door.bob.token, json!({})).is_error(400, "M_INVALID_PARAM");
    door.server.post(&knock_path("!nowhere"), &door.bob.token, json!({})).is_error(404, "M_NOT_FOUND");
    let alias = format!("#nowhere:{}", door.server.server_name());
    door.server.post(&knock_path(&alias), &door.bob.token, json!({})).is_error(404, "M_NOT_FOUND");
    assert!(door.shown_in("").is_empty());
    door.knock(json!({ "reason": null, "unknown": [1] })).ok();
}
