//! Logging in and out.
use serde_json::{Value, json};

use crate::harness::{Answer, TestServer, TestUser, request};

const LOGIN: &str = "/_matrix/client/v3/login";
const PASSWORD: &str = "correct horse";

fn login(server: &TestServer, body: Value) -> Answer {
    server.request("POST", LOGIN, None, body)
}

fn with_password(user: &str, password: &str) -> Value {
    json!({ "type": "m.login.password", "identifier": { "type": "m.id.user", "user": user }, "password": password })
}

/// Registers a user whose password is `PASSWORD`.
fn alice(server: &TestServer) -> TestUser {
    server.register_with_password("alice", PASSWORD)
}

#[test]
fn the_flows_are_password_and_token() {
    let server = TestServer::new();
    let body = server.send(request("GET", LOGIN, None, "")).ok();
    let flows = json!([{ "type": "m.login.password" }, { "type": "m.login.token", "get_login_token": true }]);
    assert_eq!(body["flows"], flows);
}

#[test]
fn a_password_logs_in_a_new_device() {
    let server = TestServer::new();
    let alice = alice(&server);
    for user in ["alice", &alice.id] {
        let body = login(&server, with_password(user, PASSWORD)).ok();
        assert_eq!(body["user_id"], alice.id);
        assert_ne!(body["device_id"], alice.device);
        server.get("/_matrix/client/v3/account/whoami", body["access_token"].as_str().unwrap()).ok();
    }
    let old_form = json!({ "type": "m.login.password", "user": "alice", "password": PASSWORD });
    assert_eq!(login(&server, old_form).ok()["user_id"], alice.id);
}

#[test]
fn logging_in_a_device_again_replaces_its_token() {
    let server = TestServer::new();
    let alice = alice(&server);
    server.get("/_matrix/client/v3/account/whoami", &alice.token).ok();
    let mut body = with_password("alice", PASSWORD);
    body["device_id"] = json!(alice.device);
    let again = login(&server, body).ok();
    assert_eq!(again["device_id"], alice.device);
    server.get("/_matrix/client/v3/account/whoami", &alice.token).is_error(401, "M_UNKNOWN_TOKEN");
    server.get("/_matrix/client/v3/account/whoami", again["access_token"].as_str().unwrap()).ok();
}

#[test]
fn wrong_passwords_and_unknown_users_look_the_same() {
    let server = TestServer::new();
    alice(&server);
    server.register("passwordless");
    let wrong = login(&server, with_password("alice", "wrong"));
    wrong.is_error(403, "M_FORBIDDEN");
    for user in ["nobody", "passwordless", "@alice:example.org", "not a user"] {
        let answer = login(&server, with_password(user, PASSWORD));
        answer.is_error(403, "M_FORBIDDEN");
        assert_eq!(answer.body, wrong.body, "{user}");
    }
    let email = json!({ "type": "m.id.thirdparty", "medium": "email", "address": "a@example.org" });
    let body = json!({ "type": "m.login.password", "identifier": email, "password": PASSWORD });
    login(&server, body).is_error(403, "M_FORBIDDEN");
}

#[test]
fn guessing_is_slowed_down() {
    let server = TestServer::new();
    alice(&server);
    for _ in 0..10 {
        login(&server, with_password("alice", "guess")).is_error(403, "M_FORBIDDEN");
    }
    let answer = login(&server, with_password("alice", PASSWORD));
    answer.is_error(429, "M_LIMIT_EXCEEDED");
    assert_eq!(answer.headers["retry-after"], "300");
    server.advance(300_000);
    login(&server, with_password("alice", PASSWORD)).ok();
}

#[test]
fn malformed_logins_are_refused() {
    let server = TestServer::new();
    login(&server, json!({})).is_error(400, "M_MISSING_PARAM");
    login(&server, json!({ "type": null })).is_error(400, "M_MISSING_PARAM");
    login(&server, json!({ "type": "m.login.password", "password": "x" })).is_error(400, "M_MISSING_PARAM");
    login(&server, json!({ "type": "m.login.token" })).is_error(400, "M_MISSING_PARAM");
    login(&server, with_password("alice", &"x".repeat(100_000))).is_error(403, "M_FORBIDDEN");
    login(&server, json!({ "type": "m.login.telepathy" })).is_error(400, "M_UNKNOWN");
    login(&server, json!({ "type": "m.login.password", "password": 1, "user": "alice" })).is_error(400, "M_BAD_JSON");
    server.send(request("POST", LOGIN, None, "")).is_error(400, "M_MISSING_PARAM");
    server.send(request("POST", LOGIN, None, "{")).is_error(400, "M_NOT_JSON");
}

fn login_token(server: &TestServer, user: &TestUser, auth: Value) -> Answer {
    server.post("/_matrix/client/v1/login/get_token", &user.token, json!({ "auth": auth }))
}

#[test]
fn a_login_token_is_good_once_and_not_for_long() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let challenge = server.post("/_matrix/client/v1/login/get_token", &alice.token, json!({}));
    assert_eq!((challenge.status.as_u16(), &challenge.body["flows"]), (401, &json!([{ "stages": ["m.login.dummy"] }])));

    let token = || {
        let body = login_token(&server, &alice, json!({ "type": "m.login.dummy" })).ok();
        assert_eq!(body["expires_in_ms"], 120_000);
        json!({ "type": "m.login.token", "token": body["login_token"] })
    };
    let used = token();
    assert_eq!(login(&server, used.clone()).ok()["user_id"], alice.id);
    login(&server, used).is_error(403, "M_FORBIDDEN");

    let late = token();
    server.advance(120_000);
    login(&server, late).is_error(403, "M_FORBIDDEN");
    login(&server, json!({ "type": "m.login.token", "token": "invented" })).is_error(403, "M_FORBIDDEN");
}

#[test]
fn a_login_token_takes_the_password_of_who_has_one() {
    let server = TestServer::new();
    let alice = alice(&server);
    server.register_with_password("bob", "other");
    let dummy = login_token(&server, &alice, json!({ "type": "m.login.dummy" }));
    assert_eq!((dummy.status.as_u16(), &dummy.body["flows"]), (401, &json!([{ "stages": ["m.login.password"] }])));
    let wrong = login_token(&server, &alice, with_password("alice", "wrong"));
    assert_eq!((wrong.status.as_u16(), wrong.errcode()), (401, "M_FORBIDDEN"));
    let other = login_token(&server, &alice, with_password("bob", "other"));
    assert_eq!((other.status.as_u16(), other.errcode()), (401, "M_FORBIDDEN"), "somebody else's password");
    login_token(&server, &alice, with_password("alice", PASSWORD)).ok();
}

#[test]
fn logging_out_ends_one_device() {
    let server = TestServer::new();
    let alice = alice(&server);
    let other = login(&server, with_password("alice", PASSWORD)).ok();
    let other = other["access_token"].as_str().unwrap();
    // Clients send an empty object, nothing at all, or no JSON header.
    server.send(request("POST", "/_matrix/client/v3/logout", Some(&alice.token), "")).ok();
    server.get("/_matrix/client/v3/account/whoami", &alice.token).is_error(401, "M_UNKNOWN_TOKEN");
    server.get("/_matrix/client/v3/account/whoami", other).ok();
    let devices = server.get("/_matrix/client/v3/devices", other).ok();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 1);
    let after = TestServer::on(server.disk.clone());
    after.get("/_matrix/client/v3/account/whoami", &alice.token).is_error(401, "M_UNKNOWN_TOKEN");
}

#[test]
fn logging_out_everywhere_ends_them_all_but_not_others() {
    let server = TestServer::new();
    let (alice, bob) = (alice(&server), server.register("bob"));
    let other = login(&server, with_password("alice", PASSWORD)).ok();
    server.post("/_matrix/client/v3/logout/all", &alice.token, json!({})).ok();
    for token in [&alice.token, other["access_token"].as_str().unwrap()] {
        server.get("/_matrix/client/v3/account/whoami", token).is_error(401, "M_UNKNOWN_TOKEN");
    }
    server.get("/_matrix/client/v3/account/whoami", &bob.token).ok();
}

#[test]
fn logging_out_ends_a_long_poll() {
    let server = TestServer::new();
    let alice = alice(&server);
    let other = login(&server, with_password("alice", PASSWORD)).ok();
    let other = other["access_token"].as_str().unwrap();
    let since = |token: &str| {
        let body = server.get("/_matrix/client/v3/sync", token).ok();
        format!("/_matrix/client/v3/sync?timeout=30000&since={}", body["next_batch"].as_str().unwrap())
    };
    let mine = server.start("GET", &since(&alice.token), Some(&alice.token));
    let others = server.start("GET", &since(other), Some(other));
    server.post("/_matrix/client/v3/logout", &alice.token, json!({})).ok();
    server.settle();
    mine.take().expect("woken").is_error(401, "M_UNKNOWN_TOKEN");
    // The other device is not logged out: it hears that there is one less.
    assert_eq!(others.take().expect("woken").ok()["device_lists"]["changed"], json!([alice.id]));
}
