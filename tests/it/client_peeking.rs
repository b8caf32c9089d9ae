//! Looking into rooms the old way, and from outside: snapshots, what comes after them, single events.
use serde_json::{Value, json};

use crate::{
    harness::{TestServer, TestUser},
    talk::{escaped, ids, list, texts},
};

/// Alice, in a room everybody may read and one only its members may; Bob, in neither.
struct Window {
    server: TestServer,
    alice: TestUser,
    bob: TestUser,
    open: String,
    shut: String,
}

impl Window {
    fn new() -> Self {
        let server = TestServer::new();
        let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
        let visible = json!({ "type": "m.room.history_visibility", "state_key": "", "content": { "history_visibility": "world_readable" } });
        let open = server.create_room(
            &alice,
            json!({ "preset": "public_chat", "visibility": "public", "initial_state": [visible] }),
        );
        let shut = server.create_room(&alice, json!({ "preset": "public_chat" }));
        Self { server, alice, bob, open, shut }
    }

    fn snapshot(&self, user: &TestUser, room: &str) -> crate::harness::Answer {
        self.server.get(&format!("/_matrix/client/v3/rooms/{}/initialSync", escaped(room)), &user.token)
    }

    fn events(&self, user: &TestUser, query: &str) -> Value {
        self.server.get(&format!("/_matrix/client/v3/events?{query}"), &user.token).ok()
    }
}

#[test]
fn a_room_is_looked_into_by_those_who_may() {
    let window = Window::new();
    let (server, alice, bob) = (&window.server, &window.alice, &window.bob);
    server.say(alice, &window.open, "hello world");
    let tag = format!("/_matrix/client/v3/user/{}/rooms/{}/tags/m.favourite", alice.id, window.open);
    server.put(&tag, &alice.token, json!({})).ok();
    let seen = window.snapshot(bob, &window.open).ok();
    assert_eq!((&seen["room_id"], &seen["visibility"]), (&json!(window.open), &json!("public")));
    assert_eq!((seen.get("membership"), seen.get("account_data")), (None, None));
    assert_eq!(texts(&seen["messages"]["chunk"]), ["hello world"]);
    assert!(list(&seen["state"]).iter().any(|event| event["type"] == "m.room.create"));
    let of_member = window.snapshot(alice, &window.open).ok();
    assert_eq!((&of_member["membership"], &of_member["account_data"][0]["type"]), (&json!("join"), &json!("m.tag")));
    window.snapshot(bob, &window.shut).is_error(403, "M_FORBIDDEN");
    window.snapshot(bob, "!nowhere").is_error(403, "M_FORBIDDEN");
    window.snapshot(bob, "nowhere").is_error(400, "M_INVALID_PARAM");
    // Who has left sees the room as it was then.
    server.join(bob, &window.shut);
    server.leave(bob, &window.shut);
    server.say(alice, &window.shut, "in private");
    let seen = window.snapshot(bob, &window.shut).ok();
    assert_eq!(seen["membership"], "leave");
    assert!(texts(&seen["messages"]["chunk"]).is_empty());
    let start = window.snapshot(alice, &window.open).ok()["messages"]["start"].as_str().map(ToOwned::to_owned);
    assert!(start.is_none_or(|start| server.messages(alice, &window.open, &format!("dir=b&from={start}")).is_object()));
}

#[test]
fn what_happens_in_a_room_is_followed_from_outside() {
    let window = Window::new();
    let (server, alice, bob) = (&window.server, &window.alice, &window.bob);
    let from = window.snapshot(bob, &window.open).ok()["messages"]["end"].as_str().unwrap().to_owned();
    let query = |from: &str| format!("room_id={}&from={from}", escaped(&window.open));
    let none = window.events(bob, &query(&from));
    assert_eq!((ids(&none["chunk"]).len(), &none["start"]), (0, &json!(from)));
    let path = format!("/_matrix/client/v3/events?{}&timeout=5000", query(&from));
    let waiting = server.start("GET", &path, Some(&bob.token));
    assert!(waiting.take().is_none());
    server.say(alice, &window.shut, "not for Bob");
    let event = server.say(alice, &window.open, "for everybody");
    server.settle();
    let news = waiting.take().expect("something came").ok();
    assert_eq!(ids(&news["chunk"]), [event]);
    let end = news["end"].as_str().unwrap();
    assert!(list(&window.events(bob, &query(end))["chunk"]).is_empty());
    let waiting =
        server.start("GET", &format!("/_matrix/client/v3/events?{}&timeout=1000", query(end)), Some(&bob.token));
    server.advance(1_000);
    assert!(list(&waiting.take().expect("the time is over").ok()["chunk"]).is_empty());

    let bad = |query: &str| server.get(&format!("/_matrix/client/v3/events?{query}"), &bob.token);
    bad(&format!("room_id={}", escaped(&window.shut))).is_error(403, "M_FORBIDDEN");
    bad("room_id=nowhere").is_error(400, "M_INVALID_PARAM");
    bad("from=nonsense").is_error(400, "M_INVALID_PARAM");
    bad("from=s999999999").is_error(400, "M_INVALID_PARAM");
    bad("timeout=soon").is_error(400, "M_INVALID_PARAM");
    server.request("GET", "/_matrix/client/v3/events", None, Value::Null).is_error(401, "M_MISSING_TOKEN");
}

#[test]
fn everything_that_happens_to_a_user_is_followed_without_a_gap() {
    let window = Window::new();
    let (server, alice, bob) = (&window.server, &window.alice, &window.bob);
    let mut from = server.get("/_matrix/client/v3/initialSync", &alice.token).ok()["end"].as_str().unwrap().to_owned();
    let mut sent = Vec::new();
    for n in 0..75 {
        for room in [&window.open, &window.shut] {
            sent.push(server.say(alice, room, &n.to_string()));
        }
    }
    server.public_room(bob);
    let mut heard = Vec::new();
    loop {
        let news = window.events(alice, &format!("from={from}"));
        if list(&news["chunk"]).is_empty() {
            break;
        }
        heard.extend(ids(&news["chunk"]));
        from = news["end"].as_str().unwrap().to_owned();
    }
    assert_eq!(heard, sent);
}

#[test]
fn a_first_sync_of_an_older_client_has_every_room() {
    let window = Window::new();
    let (server, alice, bob) = (&window.server, &window.alice, &window.bob);
    for n in 0..4 {
        server.say(alice, &window.open, &n.to_string());
    }
    server.join(bob, &window.open);
    server.join(bob, &window.shut);
    server.leave(bob, &window.shut);
    let den = server.create_room(alice, json!({ "preset": "private_chat", "invite": [bob.id] }));
    let sync = |query: &str| server.get(&format!("/_matrix/client/v3/initialSync{query}"), &bob.token);
    let answer = sync("?limit=3").ok();
    assert_eq!((&answer["presence"], answer["end"].is_string()), (&json!([]), true), "nobody has shown up yet");
    server.sync(alice, None, "");
    server.sync(&server.register("stranger"), None, "");
    let presence = sync("").ok()["presence"].take();
    assert_eq!((list(&presence).len(), &presence[0]["sender"]), (1, &json!(alice.id)));
    assert_eq!((&presence[0]["type"], &presence[0]["content"]["presence"]), (&json!("m.presence"), &json!("online")));
    assert!(list(&answer["account_data"]).iter().any(|event| event["type"] == "m.push_rules"));
    let room = |answer: &Value, room: &str| list(&answer["rooms"]).iter().find(|it| it["room_id"] == room).cloned();
    let open = room(&answer, &window.open).unwrap();
    assert_eq!((&open["membership"], list(&open["messages"]["chunk"]).len()), (&json!("join"), 3));
    let invite = &room(&answer, &den).unwrap()["invite"];
    assert_eq!((&invite["content"]["membership"], &invite["sender"]), (&json!("invite"), &json!(alice.id)));
    assert!(room(&answer, &window.shut).is_none());
    let answer = sync("?archived=true").ok();
    assert_eq!(room(&answer, &window.shut).unwrap()["membership"], "leave");
    sync("?limit=many").is_error(400, "M_INVALID_PARAM");
    sync("?archived=5").is_error(400, "M_INVALID_PARAM");
    server.request("GET", "/_matrix/client/v3/initialSync", None, Value::Null).is_error(401, "M_MISSING_TOKEN");
}

#[test]
fn an_event_is_found_by_its_id_alone() {
    let window = Window::new();
    let (server, alice, bob) = (&window.server, &window.alice, &window.bob);
    let open = server.say(alice, &window.open, "hello");
    let shut = server.say(alice, &window.shut, "hush");
    let event = |id: &str| server.get(&format!("/_matrix/client/v3/events/{}", escaped(id)), &bob.token);
    let found = event(&open).ok();
    assert_eq!((&found["event_id"], &found["room_id"]), (&json!(open), &json!(window.open)));
    for hidden in [&shut, "$nothing"] {
        event(hidden).is_error(404, "M_NOT_FOUND");
    }
    event("nonsense").is_error(400, "M_INVALID_PARAM");
}
