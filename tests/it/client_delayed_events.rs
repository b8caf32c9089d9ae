//! Events sent later (MSC4140).
use serde_json::{Value, json};
use warren::{
    homeserver::delayed_events::{DELAY_MAX_MS, FINALISED_PER_USER_MAX, SCHEDULED_PER_USER_MAX},
    ports::StoreError,
};

use crate::{
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, list, next_txn, texts},
};

const PREFIX: &str = "/_matrix/client/unstable/org.matrix.msc4140";
const MINUTE_MS: u64 = 60_000;

fn alice_in_a_room() -> (TestServer, TestUser, String) {
    let server = TestServer::new();
    let alice = server.register("alice");
    let room = server.public_room(&alice);
    (server, alice, room)
}

fn text(text: &str) -> Value {
    json!({ "msgtype": "m.text", "body": text })
}

fn try_delay(server: &TestServer, user: &TestUser, room: &str, kind: &str, body: Value) -> Answer {
    let path = format!("{PREFIX}/rooms/{}/delayed_event/{kind}/{}", escaped(room), next_txn());
    server.put(&path, &user.token, body)
}

fn delay(server: &TestServer, user: &TestUser, room: &str, said: &str, delay_ms: u64) -> String {
    let body = json!({ "delay": delay_ms, "content": text(said) });
    id_of(&try_delay(server, user, room, "m.room.message", body).ok())
}

fn id_of(answer: &Value) -> String {
    assert_eq!(answer.get("event_id"), None);
    answer["delay_id"].as_str().unwrap().to_owned()
}

/// Without a token: to know the id is to be allowed.
fn act(server: &TestServer, id: &str, action: &str) -> Answer {
    server.request("POST", &format!("{PREFIX}/delayed_events/{id}/{action}"), None, json!({}))
}

fn said(server: &TestServer, user: &TestUser, room: &str) -> Vec<String> {
    let mut said = texts(&server.messages(user, room, "dir=b&limit=100")["chunk"]);
    said.reverse();
    said
}

fn get(server: &TestServer, user: &TestUser, id: &str) -> Value {
    server.get(&format!("{PREFIX}/delayed_events/{id}"), &user.token).ok()
}

fn listed(server: &TestServer, user: &TestUser, query: &str) -> Vec<String> {
    let answer = server.get(&format!("{PREFIX}/delayed_events{query}"), &user.token).ok();
    list(&answer["delayed_events"]).iter().map(|event| event["delay_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_event_is_sent_when_its_time_has_come() {
    let (server, alice, room) = alice_in_a_room();
    let bob = server.register("bob");
    server.join(&bob, &room);
    let later = delay(&server, &alice, &room, "later", 2 * MINUTE_MS);
    delay(&server, &alice, &room, "sooner", MINUTE_MS);
    server.advance(MINUTE_MS - 1);
    assert!(said(&server, &bob, &room).is_empty(), "not before its time");
    server.advance(1);
    assert_eq!(said(&server, &bob, &room), ["sooner"]);
    server.advance(MINUTE_MS);
    assert_eq!(said(&server, &bob, &room), ["sooner", "later"]);
    let event = server.messages(&alice, &room, "dir=b&limit=1")["chunk"][0].clone();
    assert_eq!(event["unsigned"]["org.matrix.msc4140.delay_id"], json!(later));
    let for_bob = server.messages(&bob, &room, "dir=b&limit=1")["chunk"][0].clone();
    assert_eq!(for_bob["unsigned"].get("org.matrix.msc4140.delay_id"), None);
    let done = get(&server, &alice, &later);
    assert_eq!(done["event_id"], event["event_id"]);
    assert!(done["origin_server_ts"].is_u64() && done.get("error").is_none());
}

#[test]
fn the_usual_endpoints_delay_too() {
    let (server, alice, room) = alice_in_a_room();
    let room_path = format!("/_matrix/client/v3/rooms/{}", escaped(&room));
    let later = "org.matrix.msc4140.delay=60000";
    let path = format!("{room_path}/send/m.room.message/txn?{later}");
    let id = id_of(&server.put(&path, &alice.token, text("later")).ok());
    assert_eq!(id_of(&server.put(&path, &alice.token, text("later")).ok()), id, "a repetition is not a second one");
    let path = format!("{room_path}/state/m.room.topic?{later}");
    id_of(&server.put(&path, &alice.token, json!({ "topic": "later" })).ok());
    let path = format!("{room_path}/state/org.example.x/key?{later}");
    id_of(&server.put(&path, &alice.token, json!({ "x": 1 })).ok());
    // A message taken back by itself.
    let event = server.say(&alice, &room, "for a minute");
    let body = json!({ "delay": 60_000, "content": { "redacts": event } });
    id_of(&try_delay(&server, &alice, &room, "m.room.redaction", body).ok());
    let body = json!({ "delay": 60_000, "state_key": "", "content": { "name": "later" } });
    id_of(&try_delay(&server, &alice, &room, "m.room.name", body).ok());
    server.advance(MINUTE_MS);
    assert_eq!(said(&server, &alice, &room), ["later"]);
    let state = |kind: &str| server.get(&format!("{room_path}/state/{kind}"), &alice.token).ok();
    assert_eq!(state("m.room.topic")["topic"], "later");
    assert_eq!(state("m.room.name")["name"], "later");
    assert_eq!(state("org.example.x/key")["x"], 1);
    assert_eq!(server.event(&alice, &room, &event)["content"], json!({}));
}

#[test]
fn whoever_knows_the_id_restarts_sends_and_cancels() {
    let (server, alice, room) = alice_in_a_room();
    let id = delay(&server, &alice, &room, "heartbeat", MINUTE_MS);
    for _ in 0..5 {
        server.advance(MINUTE_MS / 2);
        act(&server, &id, "restart").ok();
    }
    assert!(said(&server, &alice, &room).is_empty(), "it was restarted in time");
    act(&server, &id, "send").ok();
    assert_eq!(said(&server, &alice, &room), ["heartbeat"]);
    act(&server, &id, "send").ok();
    act(&server, &id, "cancel").is_error(409, "M_UNKNOWN");
    act(&server, &id, "restart").is_error(409, "M_UNKNOWN");
    let id = delay(&server, &alice, &room, "never", MINUTE_MS);
    // As clients speak that know the earlier text.
    let path = format!("{PREFIX}/delayed_events/{id}");
    server.post(&path, &alice.token, json!({ "action": "cancel" })).ok();
    server.post(&path, &alice.token, json!({ "action": "explode" })).is_error(400, "M_INVALID_PARAM");
    server.post(&path, &alice.token, json!({})).is_error(400, "M_MISSING_PARAM");
    act(&server, &id, "cancel").ok();
    act(&server, &id, "send").is_error(409, "M_UNKNOWN");
    act(&server, &id, "restart").is_error(409, "M_UNKNOWN");
    act(&server, "nothing", "send").is_error(404, "M_NOT_FOUND");
    act(&server, &id, "explode").is_error(400, "M_INVALID_PARAM");
    server.advance(2 * MINUTE_MS);
    assert_eq!(said(&server, &alice, &room), ["heartbeat"]);
}

#[test]
fn what_is_scheduled_survives_a_restart() {
    let (server, alice, room) = alice_in_a_room();
    let overdue = delay(&server, &alice, &room, "overdue", 1);
    server.tasks.stop();
    let waiting = delay(&server, &alice, &room, "waiting", MINUTE_MS);
    let cancelled = delay(&server, &alice, &room, "cancelled", MINUTE_MS);
    act(&server, &cancelled, "cancel").ok();
    let server = TestServer::on(server.disk.clone());
    server.advance(10);
    assert_eq!(said(&server, &alice, &room), ["overdue"]);
    assert!(get(&server, &alice, &overdue)["event_id"].is_string());
    act(&server, &cancelled, "send").is_error(409, "M_UNKNOWN");
    server.advance(MINUTE_MS);
    assert_eq!(said(&server, &alice, &room), ["overdue", "waiting"]);
    let server = TestServer::on(server.disk.clone());
    server.advance(MINUTE_MS);
    assert_eq!(said(&server, &alice, &room), ["overdue", "waiting"], "once");
    act(&server, &waiting, "send").ok();
}

#[test]
fn the_rules_are_those_of_the_time_of_sending() {
    let (server, alice, room) = alice_in_a_room();
    let bob = server.register("bob");
    let early = delay(&server, &bob, &room, "in the room by then", MINUTE_MS);
    server.join(&bob, &room);
    let body = json!({ "delay": MINUTE_MS, "state_key": "", "content": { "topic": "Bob's" } });
    let topic = id_of(&try_delay(&server, &bob, &room, "m.room.topic", body).ok());
    act(&server, &topic, "send").is_error(403, "M_FORBIDDEN");
    assert_eq!(get(&server, &bob, &topic).get("error"), None, "it stays scheduled");
    server.advance(MINUTE_MS);
    assert_eq!(said(&server, &alice, &room), ["in the room by then"]);
    assert!(get(&server, &bob, &early)["event_id"].is_string());
    let failed = get(&server, &bob, &topic);
    assert_eq!(failed["error"]["errcode"], "M_FORBIDDEN");
    assert_eq!(failed.get("event_id"), None);
    act(&server, &topic, "cancel").ok();
    act(&server, &topic, "send").is_error(409, "M_UNKNOWN");
    // A store that fails is no reason to give up.
    let id = delay(&server, &alice, &room, "after all", MINUTE_MS);
    server.set_fault(Some(StoreError::Backend("broken".to_owned())));
    server.advance(MINUTE_MS);
    server.set_fault(None);
    server.advance(MINUTE_MS);
    assert_eq!(said(&server, &alice, &room).last().unwrap(), "after all");
    assert!(get(&server, &alice, &id)["event_id"].is_string());
    // An invite is more than its event.
    let carol = server.register("carol");
    let body = json!({ "delay": 1, "state_key": carol.id, "content": { "membership": "invite" } });
    try_delay(&server, &alice, &room, "m.room.member", body).ok();
    server.advance(1);
    assert!(server.sync(&carol, None, "")["rooms"]["invite"].get(&room).is_some());
}

#[test]
fn ones_own_are_listed_as_asked_for() {
    let (server, alice, room) = alice_in_a_room();
    let bob = server.register("bob");
    let other = server.public_room(&alice);
    let second = delay(&server, &alice, &room, "second", 2 * MINUTE_MS);
    let first = delay(&server, &alice, &other, "first", MINUTE_MS);
    delay(&server, &bob, &room, "of Bob", MINUTE_MS);
    assert_eq!(listed(&server, &alice, ""), [first.clone(), second.clone()]);
    assert_eq!(listed(&server, &alice, "?dir=b&since_ts=end"), [second.clone(), first.clone()]);
    assert_eq!(listed(&server, &alice, &format!("?room_id={}", escaped(&room))), std::slice::from_ref(&second));
    assert!(listed(&server, &alice, "?type=m.room.topic").is_empty());
    let event = get(&server, &alice, &first);
    assert_eq!(event["room_id"], json!(other));
    assert_eq!(
        (&event["type"], &event["delay"], &event["content"]),
        (&json!("m.room.message"), &json!(MINUTE_MS), &text("first"))
    );
    assert_eq!(event["running_since"], 1_700_000_000_000_u64);
    let path = format!("{PREFIX}/delayed_events/{first}");
    server.get(&path, &bob.token).is_error(404, "M_NOT_FOUND");
    server.advance(MINUTE_MS);
    let cancelled = delay(&server, &alice, &room, "cancelled", MINUTE_MS);
    act(&server, &cancelled, "cancel").ok();
    let all = "since_ts=0";
    assert_eq!(listed(&server, &alice, &format!("?{all}&status=scheduled")), std::slice::from_ref(&second));
    assert_eq!(
        listed(&server, &alice, &format!("?{all}&status=finalised&order_by=running_since")),
        [first.clone(), cancelled.clone()]
    );
    assert_eq!(listed(&server, &alice, &format!("?{all}&outcome=send")), std::slice::from_ref(&first));
    assert_eq!(listed(&server, &alice, &format!("?{all}&outcome=cancel&reason=action")), [cancelled]);
    assert!(listed(&server, &alice, &format!("?{all}&outcome=error")).is_empty());
    assert_eq!(listed(&server, &alice, &format!("?{all}&reason=delay&order_by=origin_server_ts")), [first]);
    for query in
        ["?status=x", "?dir=x", "?order_by=x", "?since_ts=x", "?room_id=x", "?outcome=x", "?reason=x", "?from=x"]
    {
        server.get(&format!("{PREFIX}/delayed_events{query}"), &alice.token).is_error(400, "M_INVALID_PARAM");
    }
    server.get(&format!("{PREFIX}/delayed_events"), "nobody").is_error(401, "M_UNKNOWN_TOKEN");
}

#[test]
fn malformed_and_excessive_requests_are_refused() {
    let (server, alice, room) = alice_in_a_room();
    let try_message = |body: Value| try_delay(&server, &alice, &room, "m.room.message", body);
    try_message(json!({ "delay": 0, "content": {} })).is_error(400, "M_INVALID_PARAM");
    let too_long = try_message(json!({ "delay": DELAY_MAX_MS + 1, "content": {} }));
    too_long.is_error(400, "ORG.MATRIX.MSC4140_MAX_DELAY_EXCEEDED");
    assert_eq!(too_long.body["org.matrix.msc4140.max_delay"], DELAY_MAX_MS);
    for body in [
        json!({}),
        json!({ "delay": 1 }),
        json!({ "content": {} }),
        json!({ "delay": -1, "content": {} }),
        json!({ "delay": "1", "content": {} }),
        json!({ "delay": null, "content": {} }),
        json!({ "delay": 1, "content": [] }),
        json!({ "delay": 1, "content": null }),
        json!({ "delay": 1, "content": { "x": 1.5 } }),
        json!({ "delay": 1, "content": {}, "state_key": 7 }),
    ] {
        let answer = try_message(body.clone());
        let missing = body.get("delay").is_none() || body.get("content").is_none();
        let expected = if missing { "M_MISSING_PARAM" } else { "M_BAD_JSON" };
        assert_eq!((answer.status.as_u16(), answer.errcode()), (400, expected), "{body}: {}", answer.body);
    }
    try_message(json!({ "delay": 1, "content": { "body": "x".repeat(70_000) } })).is_error(413, "M_TOO_LARGE");
    let redaction = |content: Value| {
        try_delay(&server, &alice, &room, "m.room.redaction", json!({ "delay": 1, "content": content }))
    };
    redaction(json!({})).is_error(400, "M_INVALID_PARAM");
    redaction(json!({ "redacts": "x" })).is_error(400, "M_INVALID_PARAM");
    for query in ["=x", "=-1", "=", "=0", "=1.5"] {
        let path = format!(
            "/_matrix/client/v3/rooms/{}/send/m.room.message/{}?org.matrix.msc4140.delay{query}",
            escaped(&room),
            next_txn()
        );
        server.put(&path, &alice.token, text("x")).is_error(400, "M_INVALID_PARAM");
    }
    for _ in 0..SCHEDULED_PER_USER_MAX {
        delay(&server, &alice, &room, "one of many", MINUTE_MS);
    }
    let one_more = try_message(json!({ "delay": 1, "content": {} }));
    one_more.is_error(429, "M_LIMIT_EXCEEDED");
    assert_eq!(one_more.headers["retry-after"], "60");
    delay(&server, &server.register("bob"), &room, "another's", MINUTE_MS);
    server.advance(MINUTE_MS);
    assert_eq!(said(&server, &alice, &room).len(), SCHEDULED_PER_USER_MAX);
    for _ in 0..3 {
        delay(&server, &alice, &room, "and some", 1);
        server.advance(1);
    }
    assert_eq!(listed(&server, &alice, "?since_ts=0").len(), FINALISED_PER_USER_MAX);
}
