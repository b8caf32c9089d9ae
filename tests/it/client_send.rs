//! Sending messages, setting state, taking back: what is sent arrives as it was sent, and what may not be sent does not.
use serde_json::{Value, json};

use crate::{
    harness::{Answer, TestServer, TestUser, request},
    talk::{escaped, list, next_txn, texts},
};

struct Scene {
    server: TestServer,
    alice: TestUser,
    bob: TestUser,
    /// Not in the room.
    carol: TestUser,
    room: String,
}

impl Scene {
    fn new() -> Self {
        let server = TestServer::new();
        let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| server.register(name));
        let room = server.public_room(&alice);
        server.join(&bob, &room);
        Self { server, alice, bob, carol, room }
    }

    fn put(&self, user: &TestUser, what: &str, body: Value) -> Answer {
        self.server.put(&format!("/_matrix/client/v3/rooms/{}/{what}", escaped(&self.room)), &user.token, body)
    }

    fn send(&self, user: &TestUser, kind: &str, content: Value) -> Answer {
        self.put(user, &format!("send/{kind}/{}", next_txn()), content)
    }

    fn event(&self, user: &TestUser, event: &str) -> Value {
        let path = format!("/_matrix/client/v3/rooms/{}/event/{}", escaped(&self.room), escaped(event));
        self.server.get(&path, &user.token).ok()
    }

    fn said(&self) -> Vec<String> {
        texts(&self.server.messages(&self.alice, &self.room, "dir=f&limit=100")["chunk"])
    }
}

fn event_id(answer: Answer) -> String {
    answer.ok()["event_id"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_sent_is_read_as_it_was_sent() {
    let scene = Scene::new();
    let content =
        json!({ "msgtype": "m.text", "body": "hé 🐇 \u{0}", "org.example.deep": { "a": [1, null, "x", true] } });
    let sent = event_id(scene.send(&scene.bob, "m.room.message", content.clone()));
    let seen = scene.event(&scene.alice, &sent);
    assert_eq!(
        (&seen["content"], &seen["sender"], &seen["type"]),
        (&content, &json!(scene.bob.id), &json!("m.room.message"))
    );
    assert_eq!((&seen["event_id"], &seen["room_id"]), (&json!(sent), &json!(scene.room)));
    assert!(seen.get("state_key").is_none() && seen["origin_server_ts"].is_u64());
    let own = event_id(scene.send(&scene.bob, "org.example.own%2Fkind", json!({})));
    assert_eq!(scene.event(&scene.alice, &own)["type"], "org.example.own/kind");
}

#[test]
fn what_may_not_be_sent_is_not() {
    let scene = Scene::new();
    let text = |body: &str| json!({ "msgtype": "m.text", "body": body });
    scene.send(&scene.carol, "m.room.message", text("let me in")).is_error(403, "M_FORBIDDEN");
    scene.server.act_on(&scene.alice, &scene.room, "invite", &scene.carol);
    scene.send(&scene.carol, "m.room.message", text("almost in")).is_error(403, "M_FORBIDDEN");
    let nowhere = "/_matrix/client/v3/rooms/!nowhere/send/m.room.message/1";
    scene.server.put(nowhere, &scene.bob.token, text("echo")).is_error(403, "M_FORBIDDEN");
    let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/bad", scene.room);
    scene.server.request("PUT", &path, None, text("no token")).is_error(401, "M_MISSING_TOKEN");

    let raw = |body: &str| scene.server.send(request("PUT", &path, Some(&scene.bob.token), body.to_owned()));
    raw("{").is_error(400, "M_NOT_JSON");
    raw("\"text\"").is_error(400, "M_BAD_JSON");
    raw("[]").is_error(400, "M_BAD_JSON");
    raw(r#"{"fraction": 1.5}"#).is_error(400, "M_BAD_JSON");
    raw(r#"{"large": 9007199254740993}"#).is_error(400, "M_BAD_JSON");
    raw(&format!("{}1{}", r#"{"a":"#.repeat(5_000), "}".repeat(5_000))).is_error(400, "M_BAD_JSON");
    scene.send(&scene.bob, "m.room.message", text(&"x".repeat(65_536))).is_error(413, "M_TOO_LARGE");
    scene.send(&scene.bob, &"x".repeat(256), json!({})).is_error(400, "M_BAD_JSON");
    raw(&format!(r#"{{"body":"{}"}}"#, "x".repeat(3 << 20))).is_error(413, "M_TOO_LARGE");

    let levels = json!({ "users": {}, "events": { "org.example.rare": 20 }, "events_default": 10 });
    scene.server.set_state(&scene.alice, &scene.room, "m.room.power_levels", "", levels);
    scene.send(&scene.bob, "m.room.message", text("quiet")).is_error(403, "M_FORBIDDEN");
    scene.send(&scene.alice, "org.example.rare", json!({})).ok();
    scene.server.act_on(&scene.alice, &scene.room, "ban", &scene.bob);
    scene.send(&scene.bob, "m.room.message", text("from outside")).is_error(403, "M_FORBIDDEN");
    assert!(scene.said().is_empty());
}

#[test]
fn state_is_set_by_who_may_and_is_what_was_set() {
    let scene = Scene::new();
    let topic = |user: &TestUser, topic: &str| scene.put(user, "state/m.room.topic", json!({ "topic": topic }));
    let first = event_id(topic(&scene.alice, "digging"));
    assert_eq!(event_id(topic(&scene.alice, "digging")), first, "what is so already is not said again");
    let second = event_id(topic(&scene.alice, "sleeping"));
    let seen = scene.event(&scene.bob, &second);
    assert_eq!((&seen["state_key"], &seen["content"]["topic"]), (&json!(""), &json!("sleeping")));
    topic(&scene.bob, "Bob's").is_error(403, "M_FORBIDDEN");
    topic(&scene.carol, "Carol's").is_error(403, "M_FORBIDDEN");
    let path = format!("/_matrix/client/v3/rooms/{}/state/m.room.topic/", scene.room);
    assert_eq!(scene.server.get(&path, &scene.bob.token).ok()["topic"], "sleeping");

    let levels = json!({ "users": { &scene.bob.id: 10 }, "state_default": 5 });
    scene.server.set_state(&scene.alice, &scene.room, "m.room.power_levels", "", levels);
    scene.put(&scene.bob, "state/org.example.k/some%2Fkey", json!({ "v": 1 })).ok();
    let path = format!("/_matrix/client/v3/rooms/{}/state/org.example.k/some%2Fkey", scene.room);
    assert_eq!(scene.server.get(&path, &scene.alice.token).ok(), json!({ "v": 1 }));
    // What is named after a user is that user's.
    scene.put(&scene.bob, &format!("state/org.example.k/{}", scene.bob.id), json!({})).ok();
    scene.put(&scene.bob, &format!("state/org.example.k/{}", scene.alice.id), json!({})).is_error(403, "M_FORBIDDEN");
    // Nobody gives themselves power.
    let levels = json!({ "users": { &scene.bob.id: 100 } });
    scene.put(&scene.bob, "state/m.room.power_levels", levels).is_error(403, "M_FORBIDDEN");
    scene.put(&scene.alice, "state/m.room.power_levels", json!({ "ban": "fifty" })).is_error(403, "M_FORBIDDEN");
    scene.put(&scene.alice, "state/m.room.create", json!({ "room_version": "11" })).is_error(403, "M_FORBIDDEN");
    scene.put(&scene.alice, "state/m.room.topic", json!({ "topic": "x".repeat(65_536) })).is_error(413, "M_TOO_LARGE");
    scene.put(&scene.alice, "state/m.room.topic", json!("text")).is_error(400, "M_BAD_JSON");
    scene.put(&scene.alice, &format!("state/org.example.k/{}", "x".repeat(256)), json!({})).is_error(400, "M_BAD_JSON");
}

#[test]
fn memberships_set_as_state_are_held_to_the_same_rules() {
    let scene = Scene::new();
    let set = |user: &TestUser, target: &TestUser, membership: &str| {
        scene.put(user, &format!("state/m.room.member/{}", target.id), json!({ "membership": membership }))
    };
    let is = |user: &TestUser| scene.server.membership(&scene.room, &user.id).unwrap_or_default();
    set(&scene.bob, &scene.carol, "join").is_error(403, "M_FORBIDDEN");
    set(&scene.bob, &scene.alice, "leave").is_error(403, "M_FORBIDDEN");
    set(&scene.bob, &scene.carol, "ban").is_error(403, "M_FORBIDDEN");
    set(&scene.bob, &scene.carol, "nonsense").is_error(403, "M_FORBIDDEN");
    assert_eq!((is(&scene.alice).as_str(), is(&scene.carol).as_str()), ("join", ""));
    set(&scene.alice, &scene.carol, "invite").ok();
    assert!(scene.server.sync(&scene.carol, None, "")["rooms"]["invite"].get(&scene.room).is_some());
    set(&scene.carol, &scene.carol, "join").ok();
    set(&scene.alice, &scene.carol, "ban").ok();
    set(&scene.carol, &scene.carol, "join").is_error(403, "M_FORBIDDEN");
    set(&scene.bob, &scene.bob, "leave").ok();
    assert_eq!((is(&scene.bob).as_str(), is(&scene.carol).as_str()), ("leave", "ban"));
}

#[test]
fn what_is_taken_back_is_gone_for_everybody() {
    let scene = Scene::new();
    let redact = |user: &TestUser, event: &str, txn: &str, body: Value| {
        scene.put(user, &format!("redact/{}/{txn}", escaped(event)), body)
    };
    let said = scene.server.say(&scene.bob, &scene.room, "oops");
    redact(&scene.carol, &said, "0", json!({})).is_error(403, "M_FORBIDDEN");
    let undo = event_id(redact(&scene.bob, &said, "1", json!({ "reason": "typo" })));
    let seen = scene.event(&scene.alice, &said);
    assert_eq!(seen["content"], json!({}));
    let because = &seen["unsigned"]["redacted_because"];
    assert_eq!((&because["event_id"], &because["content"]["reason"]), (&json!(undo), &json!("typo")));
    assert_eq!(because["content"]["redacts"], json!(said));
    assert!(!scene.server.messages(&scene.alice, &scene.room, "dir=b&limit=100").to_string().contains("oops"));
    // A repetition is the same redaction; of the same event under another name it is another.
    assert_eq!(event_id(redact(&scene.bob, &said, "1", json!({ "reason": "typo" }))), undo);
    let other = scene.server.say(&scene.bob, &scene.room, "second");
    assert_ne!(event_id(redact(&scene.bob, &other, "1", json!({}))), undo, "another event, another transaction");

    let alices = scene.server.say(&scene.alice, &scene.room, "keep");
    redact(&scene.bob, &alices, "2", json!({})).is_error(403, "M_FORBIDDEN");
    assert_eq!(scene.event(&scene.bob, &alices)["content"]["body"], "keep");
    let levels = json!({ "users": { &scene.bob.id: 30 }, "redact": 30 });
    scene.server.set_state(&scene.alice, &scene.room, "m.room.power_levels", "", levels);
    redact(&scene.bob, &alices, "3", json!({})).ok();
    assert_eq!(scene.event(&scene.bob, &alices)["content"], json!({}));
    redact(&scene.bob, "nonsense", "4", json!({})).is_error(400, "M_INVALID_PARAM");
    let kinds = list(&scene.server.messages(&scene.alice, &scene.room, "dir=f&limit=100")["chunk"])
        .iter()
        .filter(|event| event["type"] == "m.room.redaction")
        .count();
    assert_eq!(kinds, 3);
}
