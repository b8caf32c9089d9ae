//! Transaction ids: one request, however often it is sent, is one event; and what is remembered has an end.
use std::rc::Rc;

use serde_json::{Value, json};
use warren::storage::{Database, tables::ClientTxns};

use crate::harness::{TestServer, TestUser, request};

fn send_path(room: &str, txn: &str) -> String {
    format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{txn}")
}

fn room_of(server: &TestServer, user: &TestUser) -> String {
    let body = server.post("/_matrix/client/v3/createRoom", &user.token, json!({})).ok();
    body["room_id"].as_str().unwrap().to_owned()
}

fn send(server: &TestServer, token: &str, room: &str, txn: &str) -> Value {
    server.put(&send_path(room, txn), token, json!({ "msgtype": "m.text", "body": "hello" })).ok()["event_id"].take()
}

#[test]
fn a_repetition_gets_the_first_answer_and_only_a_repetition() {
    let server = TestServer::new();
    let alice = server.register_with_password("alice", "x");
    let (room, other_room) = (room_of(&server, &alice), room_of(&server, &alice));
    let first = send(&server, &alice.token, &room, "1");
    assert_eq!(send(&server, &alice.token, &room, "1"), first);
    assert_ne!(send(&server, &alice.token, &room, "2"), first);
    assert_ne!(send(&server, &alice.token, &other_room, "1"), first, "another room, another transaction");
    let long = "x".repeat(20_000);
    assert_eq!(send(&server, &alice.token, &room, &long), send(&server, &alice.token, &room, &long));

    let identifier = json!({ "type": "m.id.user", "user": "alice" });
    let body = json!({ "type": "m.login.password", "identifier": identifier, "password": "x" });
    let second = server.request("POST", "/_matrix/client/v3/login", None, body).ok();
    let second = second["access_token"].as_str().unwrap();
    assert_ne!(send(&server, second, &room, "1"), first, "another device, another transaction");

    let after = TestServer::on(server.disk.clone());
    assert_eq!(send(&after, &alice.token, &room, "1"), first, "also after a restart");
}

#[test]
fn a_repetition_at_the_same_time_is_one_too() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let path = send_path(&room_of(&server, &alice), "1");
    let put = || server.queue(request("PUT", &path, Some(&alice.token), r#"{"msgtype":"m.text","body":"hello"}"#));
    let pending = [put(), put(), put()];
    server.settle();
    let [a, b, c] = pending.map(|pending| pending.take().expect("answered").ok());
    assert!(a == b && b == c, "{a} {b} {c}");
}

#[test]
fn logging_out_and_time_make_room() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let (room, other) = (room_of(&server, &alice), room_of(&server, &bob));
    send(&server, &bob.token, &other, "1");
    for n in 0..1249 {
        send(&server, &alice.token, &room, &n.to_string());
        server.clock.advance(1);
    }
    server.settle();
    let kept = |server: &TestServer, user: &TestUser| {
        let database = Database::new(Rc::new(server.disk.snapshot().open()));
        let prefix = (ruma::UserId::parse(&user.id).unwrap(),);
        server.run(database.scan_all::<ClientTxns, _>(&prefix)).unwrap().len()
    };
    assert_eq!(kept(&server, &alice), 1000);
    let newest = send(&server, &alice.token, &room, "1248");
    assert_eq!(send(&server, &alice.token, &room, "1248"), newest);
    server.post("/_matrix/client/v3/logout", &alice.token, json!({})).ok();
    assert_eq!((kept(&server, &alice), kept(&server, &bob)), (0, 1));
}
