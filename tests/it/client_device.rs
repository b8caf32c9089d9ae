//! The devices of a user: listing, renaming, and deleting with the user's consent.
use serde_json::{Value, json};

use crate::harness::{Answer, TestServer, TestUser, request};

const DEVICES: &str = "/_matrix/client/v3/devices";
const PASSWORD: &str = "correct horse";

/// Alice with a password and a second device.
fn alice_twice(server: &TestServer) -> (TestUser, TestUser) {
    let first = server.register_with_password("alice", PASSWORD);
    let identifier = json!({ "type": "m.id.user", "user": "alice" });
    let body =
        json!({ "type": "m.login.password", "identifier": identifier, "password": PASSWORD, "device_id": "TWO" });
    let body = server.request("POST", "/_matrix/client/v3/login", None, body).ok();
    let token = body["access_token"].as_str().unwrap().to_owned();
    let second = TestUser { id: first.id.clone(), device: "TWO".to_owned(), token };
    (first, second)
}

fn password(password: &str) -> Value {
    let identifier = json!({ "type": "m.id.user", "user": "alice" });
    json!({ "auth": { "type": "m.login.password", "identifier": identifier, "password": password, "session": "s" } })
}

fn delete(server: &TestServer, by: &TestUser, device: &str, body: Value) -> Answer {
    server.request("DELETE", &format!("{DEVICES}/{device}"), Some(&by.token), body)
}

#[test]
fn devices_are_listed_and_renamed() {
    let server = TestServer::new();
    let (alice, second) = alice_twice(&server);
    let listed = server.get(DEVICES, &alice.token).ok();
    assert_eq!(listed["devices"].as_array().unwrap().len(), 2);
    let unnamed = &listed["devices"][0];
    assert_eq!((&unnamed["display_name"], &unnamed["last_seen_ip"]), (&json!(""), &json!("")), "not null");

    let path = format!("{DEVICES}/TWO");
    assert_eq!(server.put(&path, &alice.token, json!({ "display_name": "phone" })).ok(), json!({}));
    server.put(&path, &alice.token, json!({})).ok();
    assert_eq!(server.get(&path, &second.token).ok()["display_name"], "phone");
    server.put(&path, &alice.token, json!({ "display_name": "x".repeat(256) })).is_error(413, "M_TOO_LARGE");
    server.put(&path, &alice.token, json!({ "display_name": 1 })).is_error(400, "M_BAD_JSON");
    assert_eq!(server.get(&path, &second.token).ok()["display_name"], "phone");
}

#[test]
fn when_a_device_was_last_seen_is_told_and_kept() {
    let server = TestServer::new();
    let (alice, second) = alice_twice(&server);
    let seen = |server: &TestServer| {
        server.get(&format!("{DEVICES}/TWO"), &alice.token).ok()["last_seen_ts"].as_u64().unwrap()
    };
    let at_login = seen(&server);
    server.advance(3_600_000);
    assert_eq!(seen(&server), at_login, "nobody used it");
    server.get(DEVICES, &second.token).ok();
    assert_eq!(seen(&server), at_login + 3_600_000);
    server.settle();
    assert_eq!(seen(&TestServer::on(server.disk.clone())), at_login + 3_600_000);
}

#[test]
fn devices_that_are_not_there_or_not_ones_own_are_not_found() {
    let server = TestServer::new();
    let (_, second) = alice_twice(&server);
    let bob = server.register("bob");
    for (token, device) in [(&second.token, "NONE"), (&bob.token, "TWO")] {
        let path = format!("{DEVICES}/{device}");
        server.get(&path, token).is_error(404, "M_NOT_FOUND");
        server.put(&path, token, json!({ "display_name": "mine" })).is_error(404, "M_NOT_FOUND");
    }
    server.send(request("GET", DEVICES, None, "")).is_error(401, "M_MISSING_TOKEN");
}

#[test]
fn deleting_a_device_takes_the_password() {
    let server = TestServer::new();
    let (alice, second) = alice_twice(&server);
    let challenge = delete(&server, &alice, "TWO", json!({}));
    assert_eq!(
        (challenge.status.as_u16(), &challenge.body["flows"]),
        (401, &json!([{ "stages": ["m.login.password"] }]))
    );
    assert!(challenge.body["session"].is_string());
    let wrong = delete(&server, &alice, "TWO", password("wrong"));
    assert_eq!((wrong.status.as_u16(), wrong.errcode()), (401, "M_FORBIDDEN"));
    delete(&server, &alice, "TWO", json!({ "auth": { "type": "m.login.password" } })).is_error(400, "M_MISSING_PARAM");
    server.get(DEVICES, &second.token).ok();

    assert_eq!(delete(&server, &alice, "TWO", password(PASSWORD)).ok(), json!({}));
    server.get(DEVICES, &second.token).is_error(401, "M_UNKNOWN_TOKEN");
    delete(&server, &alice, "TWO", password(PASSWORD)).ok();
    server.get(DEVICES, &alice.token).ok();
}

#[test]
fn without_a_password_consent_is_enough() {
    let server = TestServer::new();
    let bob = server.register("bob");
    // Some clients send a DELETE without a body.
    let challenge = server.delete(&format!("{DEVICES}/{}", bob.device), &bob.token);
    assert_eq!(challenge.body["flows"], json!([{ "stages": ["m.login.dummy"] }]));
    delete(&server, &bob, &bob.device, json!({ "auth": { "type": "m.login.dummy" } })).ok();
    server.get(DEVICES, &bob.token).is_error(401, "M_UNKNOWN_TOKEN");
}

#[test]
fn many_devices_are_deleted_at_once_but_only_ones_own() {
    let server = TestServer::new();
    let (alice, second) = alice_twice(&server);
    let bob = server.register("bob");
    let path = "/_matrix/client/v3/delete_devices";
    assert_eq!(server.post(path, &alice.token, json!({ "devices": ["TWO"] })).status, 401);
    server.post(path, &alice.token, password(PASSWORD)).is_error(400, "M_MISSING_PARAM");
    let mut body = password(PASSWORD);
    body["devices"] = json!(vec!["X"; 501]);
    server.post(path, &alice.token, body.clone()).is_error(413, "M_TOO_LARGE");

    body["devices"] = json!(["TWO", "NONE", bob.device]);
    server.post(path, &alice.token, body).ok();
    server.get(DEVICES, &second.token).is_error(401, "M_UNKNOWN_TOKEN");
    server.get(DEVICES, &bob.token).ok();
    server.get(DEVICES, &alice.token).ok();
}
