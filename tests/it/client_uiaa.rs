//! User-interactive authentication: sessions, and what they are good for.
use serde_json::{Value, json};
use warren::api::{self, Origin};

use crate::harness::{Answer, TestServer, TestUser, request};

const PASSWORD: &str = "correct horse";
const SESSION_LIFETIME_MS: u64 = 15 * 60 * 1000;

fn delete(server: &TestServer, user: &TestUser, auth: Value) -> Answer {
    let path = "/_matrix/client/v3/delete_devices";
    server.post(path, &user.token, json!({ "devices": ["NONE"], "auth": auth }))
}

fn password(user: &TestUser, session: Option<&str>) -> Value {
    let identifier = json!({ "type": "m.id.user", "user": user.id });
    json!({ "type": "m.login.password", "identifier": identifier, "password": PASSWORD, "session": session })
}

#[track_caller]
fn session(answer: &Answer) -> String {
    assert_eq!(answer.status, 401, "{}", answer.body);
    answer.body["session"].as_str().unwrap().to_owned()
}

#[test]
fn a_session_is_kept_while_stages_are_missing_and_ends_with_the_last() {
    let server = TestServer::new();
    let alice = server.register_with_password("alice", PASSWORD);
    let begun = session(&delete(&server, &alice, Value::Null));
    let mut wrong = password(&alice, Some(&begun));
    wrong["password"] = json!("wrong");
    let refused = delete(&server, &alice, wrong);
    assert_eq!((session(&refused), refused.errcode()), (begun.clone(), "M_FORBIDDEN"));
    // Asking how far one has come.
    assert_eq!(session(&delete(&server, &alice, json!({ "session": begun }))), begun);
    delete(&server, &alice, password(&alice, Some(&begun))).ok();
    assert_ne!(session(&delete(&server, &alice, json!({ "session": begun }))), begun, "it has done its work");
}

#[test]
fn a_session_is_good_for_the_request_it_was_begun_for() {
    let server = TestServer::new();
    let alice = server.register_with_password("alice", PASSWORD);
    let bob = server.register_with_password("bob", PASSWORD);
    let begun = session(&delete(&server, &alice, Value::Null));
    let other = server.post(
        "/_matrix/client/v1/login/get_token",
        &alice.token,
        json!({ "auth": password(&alice, Some(&begun)) }),
    );
    other.is_error(403, "M_FORBIDDEN");
    delete(&server, &bob, password(&bob, Some(&begun))).is_error(403, "M_FORBIDDEN");
    delete(&server, &alice, password(&alice, Some(&begun))).ok();
}

#[test]
fn a_session_ends_and_a_restart_harms_nobody() {
    let server = TestServer::new();
    let alice = server.register_with_password("alice", PASSWORD);
    let begun = session(&delete(&server, &alice, Value::Null));
    server.advance(SESSION_LIFETIME_MS - 1);
    assert_eq!(session(&delete(&server, &alice, json!({ "session": begun }))), begun);
    server.advance(1);
    assert_ne!(session(&delete(&server, &alice, json!({ "session": begun }))), begun);

    let begun = session(&delete(&server, &alice, Value::Null));
    let server = TestServer::on(server.disk.clone());
    delete(&server, &alice, password(&alice, Some(&begun))).ok();
}

#[test]
fn sessions_are_bounded() {
    let server = TestServer::new();
    let alice = server.register_with_password("alice", PASSWORD);
    let begun = session(&delete(&server, &alice, Value::Null));
    (0..1000).for_each(|_| drop(session(&delete(&server, &alice, Value::Null))));
    assert_ne!(session(&delete(&server, &alice, json!({ "session": begun }))), begun, "the oldest went");
}

#[test]
fn malformed_authentication_is_refused() {
    let server = TestServer::new();
    let alice = server.register_with_password("alice", PASSWORD);
    for auth in [json!("me"), json!([]), json!({ "session": 7 }), json!({ "type": 7 })] {
        delete(&server, &alice, auth).is_error(400, "M_BAD_JSON");
    }
    for stage in ["m.login.dummy", "m.login.recaptcha.unheard", "m.login.terms", ""] {
        let answer = delete(&server, &alice, json!({ "type": stage }));
        assert_eq!((answer.status.as_u16(), answer.errcode()), (401, "M_FORBIDDEN"), "{stage}");
        assert_eq!(answer.body["flows"], json!([{ "stages": ["m.login.password"] }]));
    }
    let email = json!({ "type": "m.id.thirdparty", "medium": "email", "address": "a@example.org" });
    let answer =
        delete(&server, &alice, json!({ "type": "m.login.password", "identifier": email, "password": PASSWORD }));
    assert_eq!((answer.status.as_u16(), answer.errcode()), (401, "M_FORBIDDEN"));
}

#[test]
fn what_a_client_cannot_do_is_done_on_a_page() {
    let server = TestServer::new();
    let alice = server.register_with_password("alice", PASSWORD);
    let begun = session(&delete(&server, &alice, Value::Null));
    let path = |stage: &str, session: &str| format!("/_matrix/client/v3/auth/{stage}/fallback/web?session={session}");
    let page = |stage: &str, session: &str| {
        let request = request("GET", &path(stage, session), None, "");
        server.run(api::handle(&server.homeserver, request, Origin::Client))
    };
    let shown = page("m.login.password", &begun);
    assert_eq!(shown.headers()["content-type"], "text/html; charset=utf-8");
    assert!(std::str::from_utf8(shown.body()).unwrap().contains("type=\"password\""));
    assert_eq!(page("m.login.password", "over").status(), 404);
    assert_eq!(page("m.login.sso", &begun).status(), 404);

    let fill = |stage: &str, session: &str, body: Value| server.request("POST", &path(stage, session), None, body);
    fill("m.login.password", &begun, json!({ "user": "alice", "password": "wrong" })).is_error(401, "M_FORBIDDEN");
    fill("m.login.password", &begun, json!({ "user": "bob", "password": PASSWORD })).is_error(401, "M_FORBIDDEN");
    fill("m.login.password", &begun, json!({ "user": "alice" })).is_error(400, "M_BAD_JSON");
    fill("m.login.dummy", &begun, json!({})).is_error(401, "M_FORBIDDEN");
    fill("m.login.password", "over", json!({ "user": "alice", "password": PASSWORD })).is_error(404, "M_NOT_FOUND");
    assert_eq!(session(&delete(&server, &alice, json!({ "session": begun }))), begun);
    fill("m.login.password", &begun, json!({ "user": "alice", "password": PASSWORD })).ok();
    delete(&server, &alice, json!({ "session": begun })).ok();
}
