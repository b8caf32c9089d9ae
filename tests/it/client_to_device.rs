//! Messages to single devices: each is told until the device has it, in order, and to nobody else.
use serde_json::{Value, json};
use warren::homeserver::to_device::{CONTENT_MAX_BYTES, INBOX_MESSAGES_MAX, RECIPIENTS_MAX, TOLD_AT_ONCE_MAX};

use crate::{
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, list, next_batch, next_txn, sync_path},
};

pub fn send_as(server: &TestServer, user: &TestUser, kind: &str, txn: &str, messages: Value) -> Answer {
    let path = format!("/_matrix/client/v3/sendToDevice/{}/{txn}", escaped(kind));
    let answer = server.put(&path, &user.token, json!({ "messages": messages }));
    server.settle();
    answer
}

pub fn send(server: &TestServer, from: &TestUser, to: &str, device: &str, text: &str) {
    let messages = json!({ to: { device: { "text": text } } });
    assert_eq!(send_as(server, from, "org.example.note", &next_txn().to_string(), messages).ok(), json!({}));
}

/// The texts of what a sync tells of messages to the device.
pub fn texts(answer: &Value) -> Vec<String> {
    list(&answer["to_device"]["events"])
        .iter()
        .map(|event| event["content"]["text"].as_str().unwrap().to_owned())
        .collect()
}

pub fn login(server: &TestServer, username: &str, password: &str) -> TestUser {
    let body = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": username },
        "password": password,
    });
    let body = server.request("POST", "/_matrix/client/v3/login", None, body).ok();
    let text = |field: &str| body[field].as_str().unwrap().to_owned();
    TestUser { id: text("user_id"), device: text("device_id"), token: text("access_token") }
}

#[test]
fn a_message_is_told_until_the_device_has_it() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let since = next_batch(&server.sync(&bob, None, ""));
    let waiting = server.start("GET", &sync_path(Some(&since), 10_000, ""), Some(&bob.token));
    assert!(waiting.take().is_none());
    send(&server, &alice, &bob.id, &bob.device, "one");
    let answer = waiting.take().expect("it wakes a sync").ok();
    let event = json!({ "type": "org.example.note", "sender": alice.id, "content": { "text": "one" } });
    assert_eq!(answer["to_device"]["events"], json!([event]));
    // The answer may have been lost: whoever asks from the same place again is told again, after a restart too.
    assert_eq!(texts(&server.sync(&bob, Some(&since), "")), ["one"]);
    assert_eq!(texts(&server.sync(&bob, None, "")), ["one"]);
    let server = TestServer::on(server.disk.clone());
    let again = server.sync(&bob, Some(&since), "");
    assert_eq!(texts(&again), ["one"]);
    // Asking from after it says that it came.
    assert_eq!(texts(&server.sync(&bob, Some(&next_batch(&again)), "")), Vec::<String>::new());
    assert_eq!(texts(&server.sync(&bob, Some(&since), "")), Vec::<String>::new());
    assert_eq!(texts(&server.sync(&alice, None, "")), Vec::<String>::new());
}

#[test]
fn a_message_goes_to_the_devices_it_is_for() {
    let server = TestServer::new();
    let alice = server.register_with_password("alice", "correct horse");
    let (phone, laptop) = (login(&server, "alice", "correct horse"), login(&server, "alice", "correct horse"));
    let bob = server.register("bob");
    let told = |device: &TestUser| texts(&server.sync(device, None, ""));
    send(&server, &bob, &alice.id, "*", "all");
    send(&server, &bob, &alice.id, &phone.device, "phone");
    send(&server, &bob, &alice.id, "NOBODYS", "nobody");
    send(&server, &bob, &format!("@nobody:{}", server.server_name()), "*", "nobody");
    send(&server, &phone, &alice.id, &laptop.device, "from the phone");
    let messages = json!({ &alice.id: { "*": { "text": "others" }, &laptop.device: { "text": "laptop" } } });
    send_as(&server, &bob, "m.dummy", "txn", messages).ok();
    assert_eq!(told(&alice), ["all", "others"]);
    assert_eq!(told(&phone), ["all", "phone", "others"]);
    assert_eq!(told(&laptop), ["all", "from the phone", "laptop"]);
    // A device that is logged out leaves nothing to another with its id.
    server.post("/_matrix/client/v3/logout", &phone.token, json!({})).ok();
    let body = json!({
        "type": "m.login.password", "identifier": { "type": "m.id.user", "user": "alice" },
        "password": "correct horse", "device_id": phone.device,
    });
    let token = server.request("POST", "/_matrix/client/v3/login", None, body).ok()["access_token"].clone();
    let phone = TestUser { token: token.as_str().unwrap().to_owned(), ..phone };
    assert_eq!(texts(&server.sync(&phone, None, "")), Vec::<String>::new());
    send(&server, &bob, &alice.id, &phone.device, "new");
    assert_eq!(texts(&server.sync(&phone, None, "")), ["new"]);
}

#[test]
fn a_transaction_is_carried_out_once() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let message = |text: &str| json!({ &bob.id: { "*": { "text": text } } });
    for text in ["first", "second"] {
        send_as(&server, &alice, "a", "txn", message(text)).ok();
        send_as(&server, &alice, "b", "txn", message(text)).ok();
    }
    let server = TestServer::on(server.disk.clone());
    send_as(&server, &alice, "a", "txn", message("third")).ok();
    assert_eq!(texts(&server.sync(&bob, None, "")), ["first", "first"], "of each type the first");
}

#[test]
fn more_messages_than_a_sync_tells_come_in_order_and_once() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    let mut since = next_batch(&server.sync(&bob, None, ""));
    let count = 2 * TOLD_AT_ONCE_MAX + 20;
    for n in 0..count {
        send(&server, &alice, &bob.id, &bob.device, &n.to_string());
        if n % 50 == 0 {
            server.say(&alice, &room, &format!("said {n}"));
        }
    }
    let (mut told, mut said) = (Vec::new(), 0);
    for _ in 0..4 {
        let answer = server.sync(&bob, Some(&since), "");
        since = next_batch(&answer);
        assert!(list(&answer["to_device"]["events"]).len() <= TOLD_AT_ONCE_MAX);
        told.extend(texts(&answer));
        said += list(&answer["rooms"]["join"][&room]["timeline"]["events"]).len();
    }
    assert_eq!(told, (0..count).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(said, 5, "what was said in the meantime is told once as well");
}

#[test]
fn an_inbox_is_bounded() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let since = next_batch(&server.sync(&bob, None, ""));
    for n in 0..INBOX_MESSAGES_MAX + 5 {
        send(&server, &alice, &bob.id, &bob.device, &n.to_string());
    }
    let mut told = Vec::new();
    let mut at = since;
    loop {
        let answer = server.sync(&bob, Some(&at), "");
        let some = texts(&answer);
        if some.is_empty() {
            break;
        }
        told.extend(some);
        at = next_batch(&answer);
    }
    assert_eq!(told.len(), INBOX_MESSAGES_MAX);
    send(&server, &alice, &bob.id, &bob.device, "there is room again");
    assert_eq!(texts(&server.sync(&bob, Some(&at), "")), ["there is room again"]);
    // By bytes too.
    let large = "x".repeat(CONTENT_MAX_BYTES - 20);
    (0..100).for_each(|_| send(&server, &alice, &alice.id, &alice.device, &large));
    assert_eq!(texts(&server.sync(&alice, None, "")).len(), 64);
}

#[test]
fn what_is_no_message_is_refused() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let put = |body: Value| server.put("/_matrix/client/v3/sendToDevice/m.dummy/1", &alice.token, body);
    put(json!({})).is_error(400, "M_MISSING_PARAM");
    for bad in [json!(null), json!([]), json!("all"), json!({ "bob": {} }), json!({ &bob.id: [] })] {
        put(json!({ "messages": bad })).is_error(400, "M_BAD_JSON");
    }
    for content in [json!(null), json!([]), json!("text"), json!(1)] {
        put(json!({ "messages": { &bob.id: { "*": content } } })).is_error(400, "M_BAD_JSON");
    }
    let large = json!({ "text": "x".repeat(CONTENT_MAX_BYTES) });
    put(json!({ "messages": { &bob.id: { "*": large } } })).is_error(413, "M_TOO_LARGE");
    let many: serde_json::Map<_, _> = (0..=RECIPIENTS_MAX).map(|n| (format!("D{n}"), json!({}))).collect();
    put(json!({ "messages": { &bob.id: many } })).is_error(413, "M_TOO_LARGE");
    let long = "k".repeat(256);
    send_as(&server, &alice, &long, "1", json!({})).is_error(400, "M_INVALID_PARAM");
    let without_token =
        server.request("PUT", "/_matrix/client/v3/sendToDevice/m.dummy/1", None, json!({ "messages": {} }));
    without_token.is_error(401, "M_MISSING_TOKEN");
    assert_eq!(texts(&server.sync(&bob, None, "")), Vec::<String>::new());
    put(json!({ "messages": {} })).ok();
}
