//! Pushers, and what their gateways are told.
use serde_json::{Value, json};
use warren::{homeserver::Options, ports::PushGatewayError, storage::memory::MemoryDisk};

use crate::{
    fakes::NobodyThere,
    harness::{Answer, Surroundings, TestServer, TestUser, request},
};

const SET: &str = "/_matrix/client/v3/pushers/set";
const LIST: &str = "/_matrix/client/v3/pushers";
const URL: &str = "https://push.example.org/_matrix/push/v1/notify";

fn pusher(pushkey: &str) -> Value {
    json!({
        "kind": "http", "app_id": "org.example.app", "pushkey": pushkey, "app_display_name": "App",
        "device_display_name": "Phone", "lang": "en", "profile_tag": "x",
        "data": { "url": URL, "org.example.key": [1] },
    })
}

fn set(server: &TestServer, user: &TestUser, pusher: &Value) -> Answer {
    server.post(SET, &user.token, pusher.clone())
}

fn pushkeys(server: &TestServer, user: &TestUser) -> Vec<String> {
    let pushers = server.get(LIST, &user.token).ok()["pushers"].take();
    pushers.as_array().unwrap().iter().map(|one| one["pushkey"].as_str().unwrap().to_owned()).collect()
}

/// Alice, Bob and Carol in a public room of Alice's; Bob has a pusher.
fn three() -> (TestServer, TestUser, TestUser, String) {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.create_room(&alice, json!({ "preset": "public_chat", "name": "Kitchen" }));
    server.join(&bob, &room);
    server.join(&server.register("carol"), &room);
    set(&server, &bob, &pusher("BOB")).ok();
    (server, alice, bob, room)
}

#[test]
fn pushers_are_set_listed_replaced_and_removed() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    assert_eq!(server.get(LIST, &alice.token).ok(), json!({ "pushers": [] }));
    assert_eq!(set(&server, &alice, &pusher("A")).ok(), json!({}));
    assert_eq!(server.get(LIST, &alice.token).ok()["pushers"], json!([pusher("A")]));
    let mut changed = pusher("A");
    changed["lang"] = "de".into();
    changed["data"]["format"] = "event_id_only".into();
    set(&server, &alice, &changed).ok();
    assert_eq!(server.get(LIST, &alice.token).ok()["pushers"], json!([changed]));
    set(&server, &alice, &pusher("B")).ok();
    assert_eq!(pushkeys(&server, &alice), ["A", "B"]);
    let mut beside = pusher("A");
    beside["append"] = true.into();
    set(&server, &bob, &beside).ok();
    assert_eq!(pushkeys(&server, &alice), ["A", "B"], "appended");
    set(&server, &bob, &pusher("A")).ok();
    assert_eq!((pushkeys(&server, &alice), pushkeys(&server, &bob)), (vec!["B".into()], vec!["A".into()]));
    let delete = json!({ "kind": null, "app_id": "org.example.app", "pushkey": "B" });
    for _ in 0..2 {
        assert_eq!(set(&server, &alice, &delete).ok(), json!({}));
    }
    assert_eq!(pushkeys(&server, &alice), [] as [&str; 0]);
    assert_eq!(pushkeys(&TestServer::on(server.disk.clone()), &bob), ["A"], "they survive a restart");
}

#[test]
fn pushers_that_cannot_be_are_refused() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let with = |path: &str, value: Value| {
        let mut pusher = pusher("A");
        *pusher.pointer_mut(path).unwrap() = value;
        set(&server, &alice, &pusher)
    };
    for url in [
        "http://push.example.org/_matrix/push/v1/notify",
        "https://push.example.org/",
        "https://push.example.org/_matrix/push/v1/notify/x",
        "https://user:password@push.example.org/_matrix/push/v1/notify",
        "ftp://push.example.org/_matrix/push/v1/notify",
        "/_matrix/push/v1/notify",
        "no url at all",
    ] {
        with("/data/url", url.into()).is_error(400, "M_INVALID_PARAM");
    }
    with("/kind", "email".into()).is_error(400, "M_INVALID_PARAM");
    with("/kind", "pigeon".into()).is_error(400, "M_INVALID_PARAM");
    with("/kind", 1.into()).is_error(400, "M_BAD_JSON");
    with("/app_id", "x".repeat(65).into()).is_error(400, "M_INVALID_PARAM");
    with("/pushkey", "x".repeat(513).into()).is_error(400, "M_INVALID_PARAM");
    with("/pushkey", "".into()).is_error(400, "M_INVALID_PARAM");
    with("/lang", "x".repeat(513).into()).is_error(400, "M_INVALID_PARAM");
    with("/lang", Value::Null).is_error(400, "M_BAD_JSON");
    with("/data", json!({ "url": URL, "x": "x".repeat(4_096) })).is_error(413, "M_TOO_LARGE");
    with("/data", json!([])).is_error(400, "M_BAD_JSON");
    for field in ["kind", "app_id", "pushkey", "app_display_name", "device_display_name", "lang", "data"] {
        let mut pusher = pusher("A");
        pusher.as_object_mut().unwrap().remove(field);
        set(&server, &alice, &pusher).is_error(400, "M_MISSING_PARAM");
    }
    set(&server, &alice, &json!({ "kind": null, "app_id": "x" })).is_error(400, "M_MISSING_PARAM");
    let mut without_url = pusher("A");
    without_url["data"] = json!({});
    set(&server, &alice, &without_url).is_error(400, "M_MISSING_PARAM");
    assert_eq!(pushkeys(&server, &alice), [] as [&str; 0]);
    for n in 0..100 {
        set(&server, &alice, &pusher(&n.to_string())).ok();
    }
    set(&server, &alice, &pusher("100")).is_error(413, "M_TOO_LARGE");
    set(&server, &alice, &pusher("99")).ok();
    server.send(request("GET", LIST, None, "")).is_error(401, "M_MISSING_TOKEN");
    server.send(request("POST", SET, None, pusher("A").to_string())).is_error(401, "M_MISSING_TOKEN");
}

#[test]
fn where_no_gateway_can_be_reached_no_pusher_is_taken() {
    let tab = Surroundings { gateways: None, ..Surroundings::new() };
    let transport = std::rc::Rc::new(NobodyThere::default());
    let server = TestServer::start_in(&tab, MemoryDisk::default(), transport, 0, Options::default());
    let alice = server.register("alice");
    set(&server, &alice, &pusher("A")).is_error(400, "M_INVALID_PARAM");
    assert_eq!(server.get(LIST, &alice.token).ok(), json!({ "pushers": [] }));
    set(&server, &alice, &json!({ "kind": null, "app_id": "x", "pushkey": "y" })).ok();
}

#[test]
fn a_gateway_is_told_of_each_event_that_notifies() {
    let (server, alice, bob, room) = three();
    let first = server.say(&alice, &room, "soup is ready");
    let posted = server.gateways.posted.borrow()[0].0.clone();
    assert_eq!(posted, URL);
    let device = |tweaks: Value| {
        json!({
            "app_id": "org.example.app", "pushkey": "BOB", "pushkey_ts": 1_700_000_000, "tweaks": tweaks,
            "data": { "org.example.key": [1] },
        })
    };
    let expected = json!({
        "event_id": first, "room_id": room, "type": "m.room.message", "sender": alice.id, "room_name": "Kitchen",
        "sender_display_name": "alice", "prio": "low", "counts": { "unread": 1 }, "devices": [device(json!({}))],
        "content": { "msgtype": "m.text", "body": "soup is ready" },
    });
    let mut told = server.gateways.take();
    assert_eq!(told.len(), 1);
    if told[0].get("sender_display_name").is_none() {
        told[0]["sender_display_name"] = "alice".into();
    }
    assert_eq!(told[0], expected);
    server.send_event(&alice, &room, "m.reaction", json!({}));
    server.say(&bob, &room, "coming");
    assert_eq!(
        server.gateways.take(),
        [json!({ "counts": { "unread": 0 }, "prio": "low", "devices": [device(json!({}))] })]
    );
    let content = json!({ "msgtype": "m.text", "body": "now", "m.mentions": { "user_ids": [bob.id] } });
    server.send_event(&alice, &room, "m.room.message", content);
    let told = server.gateways.take();
    assert_eq!(told[0]["devices"], json!([device(json!({ "sound": "default", "highlight": true }))]));
    assert_eq!(told[0]["prio"], "high");

    let mut id_only = pusher("BOB");
    id_only["data"]["format"] = "event_id_only".into();
    set(&server, &bob, &id_only).ok();
    let second = server.say(&alice, &room, "secret");
    let mut told = server.gateways.take();
    assert_eq!(told.len(), 1);
    let devices = told[0].as_object_mut().unwrap().remove("devices").unwrap();
    assert_eq!(devices[0]["data"], json!({ "format": "event_id_only", "org.example.key": [1] }), "all but the URL");
    assert_eq!(told[0], json!({ "event_id": second, "room_id": room, "prio": "low", "counts": { "unread": 2 } }));
    let private = server.create_room(&alice, json!({ "preset": "private_chat" }));
    set(&server, &bob, &pusher("BOB")).ok();
    server.act_on(&alice, &private, "invite", &bob);
    let told = server.gateways.take();
    assert_eq!((&told[0]["type"], &told[0]["user_is_target"]), (&json!("m.room.member"), &json!(true)));
    let delete = json!({ "kind": null, "app_id": "org.example.app", "pushkey": "BOB" });
    set(&server, &bob, &delete).ok();
    server.say(&alice, &room, "nobody listens");
    assert_eq!(server.gateways.take(), [] as [Value; 0]);
}

#[test]
fn a_gateway_that_fails_is_tried_again_less_and_less_often() {
    let (server, alice, bob, room) = three();
    let away = || Err(PushGatewayError::Unreachable("away".to_owned()));
    server.gateways.answers.borrow_mut().extend([away(), Ok((503, json!({}))), Ok((400, json!({})))]);
    let first = server.say(&alice, &room, "first");
    let second = server.say(&alice, &room, "second");
    assert_eq!(server.gateways.take().len(), 1);
    server.advance(1_000);
    assert_eq!(server.gateways.take().len(), 1);
    server.advance(400);
    assert_eq!(server.gateways.take().len(), 0, "a longer wait");
    server.advance(1_600);
    assert_eq!(server.gateways.take().len(), 1);
    server.read(&bob, &room, "m.read", &first, json!({})).ok();
    server.advance(4_000);
    let told: Vec<Value> = server.gateways.take().into_iter().map(|mut told| told["event_id"].take()).collect();
    assert_eq!(told, [json!(second)], "what was read meanwhile alerts nobody");
}

#[test]
fn what_was_not_pushed_is_after_a_restart_and_what_was_is_not() {
    let (server, alice, bob, room) = three();
    server.say(&alice, &room, "pushed");
    assert_eq!(server.gateways.take().len(), 1);
    server.gateways.answers.borrow_mut().push_back(Err(PushGatewayError::Unreachable("away".to_owned())));
    let waiting = server.say(&alice, &room, "waiting");
    server.tasks.stop();
    let after = TestServer::on(server.disk.clone());
    after.settle();
    let told = after.gateways.take();
    assert_eq!((told.len(), &told[0]["event_id"]), (1, &json!(waiting)));
    assert_eq!(pushkeys(&after, &bob), ["BOB"]);
    after.tasks.stop();
    let again = TestServer::on(server.disk.clone());
    again.settle();
    assert_eq!(again.gateways.take(), [] as [Value; 0]);
}

#[test]
fn a_rejected_key_and_a_device_that_is_gone_take_their_pushers_with_them() {
    let (server, alice, bob, room) = three();
    set(&server, &bob, &pusher("OTHER")).ok();
    server.gateways.answers.borrow_mut().push_back(Ok((200, json!({ "rejected": ["BOB", "unknown", 7] }))));
    server.say(&alice, &room, "hello");
    assert_eq!(pushkeys(&server, &bob), ["OTHER"]);
    server.gateways.take();
    server.say(&alice, &room, "hello again");
    assert_eq!(server.gateways.take().len(), 1);
    let login =
        json!({ "type": "m.login.password", "identifier": { "type": "m.id.user", "user": "dave" }, "password": "p" });
    let dave = server.register_with_password("dave", "p");
    set(&server, &dave, &pusher("DAVE")).ok();
    let second = server.request("POST", "/_matrix/client/v3/login", None, login).ok();
    let second = TestUser { token: second["access_token"].as_str().unwrap().to_owned(), ..dave.clone() };
    set(&server, &second, &pusher("SECOND")).ok();
    server.post("/_matrix/client/v3/logout", &dave.token, json!({})).ok();
    assert_eq!(pushkeys(&server, &second), ["SECOND"]);
}
