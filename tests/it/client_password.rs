//! Changing the password of an account.
use serde_json::{Value, json};

use crate::harness::{Answer, TestServer, TestUser};

const WHOAMI: &str = "/_matrix/client/v3/account/whoami";
const OLD: &str = "correct horse";
const NEW: &str = "battery staple";

fn log_in(server: &TestServer, password: &str) -> Answer {
    let body = json!({ "type": "m.login.password", "user": "alice", "password": password });
    server.request("POST", "/_matrix/client/v3/login", None, body)
}

fn auth(user: &str, password: &str) -> Value {
    json!({ "type": "m.login.password", "identifier": { "type": "m.id.user", "user": user }, "password": password })
}

fn change(server: &TestServer, token: Option<&str>, body: Value) -> Answer {
    server.request("POST", "/_matrix/client/v3/account/password", token, body)
}

/// Alice and a further token of hers.
fn alice_twice(server: &TestServer) -> (TestUser, String) {
    let alice = server.register_with_password("alice", OLD);
    let other = log_in(server, OLD).ok()["access_token"].as_str().unwrap().to_owned();
    (alice, other)
}

#[test]
fn a_new_password_takes_the_old_one_and_logs_out_other_devices() {
    let server = TestServer::new();
    let (alice, other) = alice_twice(&server);
    let challenge = change(&server, Some(&alice.token), json!({ "new_password": NEW }));
    assert_eq!(
        (challenge.status.as_u16(), &challenge.body["flows"]),
        (401, &json!([{ "stages": ["m.login.password"] }]))
    );
    let wrong = json!({ "new_password": NEW, "auth": auth("alice", "wrong") });
    assert_eq!(change(&server, Some(&alice.token), wrong).errcode(), "M_FORBIDDEN");
    log_in(&server, NEW).is_error(403, "M_FORBIDDEN");

    let body = json!({ "new_password": NEW, "auth": auth("alice", OLD) });
    assert_eq!(change(&server, Some(&alice.token), body).ok(), json!({}));
    server.get(WHOAMI, &alice.token).ok();
    server.get(WHOAMI, &other).is_error(401, "M_UNKNOWN_TOKEN");
    let after = TestServer::on(server.disk.clone());
    log_in(&after, OLD).is_error(403, "M_FORBIDDEN");
    log_in(&after, NEW).ok();
}

#[test]
fn other_devices_may_stay() {
    let server = TestServer::new();
    let (alice, other) = alice_twice(&server);
    let body = json!({ "new_password": NEW, "logout_devices": false, "auth": auth("alice", OLD) });
    change(&server, Some(&alice.token), body).ok();
    server.get(WHOAMI, &other).ok();
    log_in(&server, NEW).ok();
}

#[test]
fn who_is_not_logged_in_shows_the_old_password_and_whose_it_is() {
    let server = TestServer::new();
    let (alice, other) = alice_twice(&server);
    assert_eq!(change(&server, None, json!({ "new_password": NEW })).status, 401);
    for (user, password) in [("alice", "wrong"), ("nobody", OLD), ("@alice:example.org", OLD)] {
        let answer = change(&server, None, json!({ "new_password": NEW, "auth": auth(user, password) }));
        assert_eq!((answer.status.as_u16(), answer.errcode()), (401, "M_FORBIDDEN"), "{user}");
    }
    change(&server, None, json!({ "new_password": NEW, "auth": auth("alice", OLD) })).ok();
    for token in [&alice.token, &other] {
        server.get(WHOAMI, token).is_error(401, "M_UNKNOWN_TOKEN");
    }
    log_in(&server, NEW).ok();
}

#[test]
fn an_account_without_a_password_gets_one() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let body = json!({ "new_password": NEW, "auth": { "type": "m.login.dummy" } });
    change(&server, Some(&alice.token), body).ok();
    log_in(&server, NEW).ok();
    let again = json!({ "new_password": OLD, "auth": { "type": "m.login.dummy" } });
    assert_eq!(change(&server, Some(&alice.token), again).status, 401, "from now on it takes the password");
}

#[test]
fn another_users_password_is_no_use() {
    let server = TestServer::new();
    let (alice, _) = alice_twice(&server);
    server.register_with_password("bob", "bobs");
    let body = json!({ "new_password": NEW, "auth": auth("bob", "bobs") });
    assert_eq!(change(&server, Some(&alice.token), body).errcode(), "M_FORBIDDEN");
    log_in(&server, OLD).ok();
}

#[test]
fn malformed_passwords_are_refused_before_anybody_is_asked() {
    let server = TestServer::new();
    let (alice, _) = alice_twice(&server);
    let refused = |body: Value, status, errcode| change(&server, Some(&alice.token), body).is_error(status, errcode);
    refused(json!({}), 400, "M_MISSING_PARAM");
    refused(json!({ "new_password": null }), 400, "M_BAD_JSON");
    refused(json!({ "new_password": 7 }), 400, "M_BAD_JSON");
    refused(json!({ "new_password": "" }), 400, "M_WEAK_PASSWORD");
    refused(json!({ "new_password": "x".repeat(513) }), 413, "M_TOO_LARGE");
    refused(json!({ "new_password": NEW, "logout_devices": "no" }), 400, "M_BAD_JSON");
    change(&server, Some("invented"), json!({ "new_password": NEW })).is_error(401, "M_UNKNOWN_TOKEN");
    log_in(&server, OLD).ok();
}
