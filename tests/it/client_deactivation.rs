//! Ending an account: what goes with it, what stays, and who is shown what it sent.
use serde_json::{Value, json};

use crate::{
    harness::{Answer, TestServer, TestUser, request},
    talk::{escaped, texts},
};

const WHOAMI: &str = "/_matrix/client/v3/account/whoami";

fn deactivate(server: &TestServer, token: Option<&str>, body: Value) -> Answer {
    server.request("POST", "/_matrix/client/v3/account/deactivate", token, body)
}

fn password(user: &str) -> Value {
    json!({ "type": "m.login.password", "identifier": { "type": "m.id.user", "user": user }, "password": "p" })
}

fn end(server: &TestServer, user: &TestUser, erase: bool) {
    let body = json!({ "auth": { "type": "m.login.dummy" }, "erase": erase });
    assert_eq!(deactivate(server, Some(&user.token), body).ok(), json!({ "id_server_unbind_result": "success" }));
}

fn membership(server: &TestServer, by: &TestUser, room: &str, of: &TestUser) -> Value {
    let path = format!("/_matrix/client/v3/rooms/{}/state/m.room.member/{}", escaped(room), escaped(&of.id));
    server.get(&path, &by.token).ok()["membership"].take()
}

#[test]
fn an_ended_account_is_logged_out_and_its_name_stays_taken() {
    let server = TestServer::new();
    let alice = server.register_with_password("alice", "p");
    let challenge = deactivate(&server, Some(&alice.token), json!({}));
    assert_eq!(
        (challenge.status.as_u16(), &challenge.body["flows"]),
        (401, &json!([{ "stages": ["m.login.password"] }]))
    );
    server.get(WHOAMI, &alice.token).ok();
    deactivate(&server, Some(&alice.token), json!({ "auth": password("alice") })).ok();

    let server = TestServer::on(server.disk.clone());
    server.get(WHOAMI, &alice.token).is_error(401, "M_UNKNOWN_TOKEN");
    let mut login = password("alice");
    login["auth"] = Value::Null;
    server.request("POST", "/_matrix/client/v3/login", None, login).is_error(403, "M_USER_DEACTIVATED");
    let body = json!({ "username": "alice", "auth": { "type": "m.login.dummy" } });
    server.request("POST", "/_matrix/client/v3/register", None, body).is_error(400, "M_USER_IN_USE");
    assert_eq!(deactivate(&server, None, json!({ "auth": password("alice") })).errcode(), "M_USER_DEACTIVATED");
}

#[test]
fn who_is_not_logged_in_may_end_an_account_by_its_password() {
    let server = TestServer::new();
    let alice = server.register_with_password("alice", "p");
    assert_eq!(deactivate(&server, None, json!({})).status, 401);
    let mut wrong = password("alice");
    wrong["password"] = json!("wrong");
    assert_eq!(deactivate(&server, None, json!({ "auth": wrong })).errcode(), "M_FORBIDDEN");
    deactivate(&server, None, json!({ "auth": password("alice") })).ok();
    server.get(WHOAMI, &alice.token).is_error(401, "M_UNKNOWN_TOKEN");
}

#[test]
fn rooms_are_left_and_invites_declined() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let joined = server.public_room(&bob);
    server.join(&alice, &joined);
    let invited = server.public_room(&bob);
    server.act_on(&bob, &invited, "invite", &alice);
    let left = server.public_room(&bob);
    server.join(&alice, &left);
    server.leave(&alice, &left);
    end(&server, &alice, false);
    for room in [&joined, &invited, &left] {
        assert_eq!(membership(&server, &bob, room, &alice), "leave");
    }
    server.act_on(&bob, &joined, "invite", &server.register("carol"));
}

#[test]
fn leaving_goes_on_after_a_restart() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let rooms: Vec<String> = (0..3).map(|_| server.public_room(&bob)).collect();
    rooms.iter().for_each(|room| server.join(&alice, room));
    // The account ends in one commit; the worker stops before the next.
    server.store.plan(2, crate::fakes::Mishap::Hangs { written: false });
    let body = json!({ "auth": { "type": "m.login.dummy" } }).to_string();
    let pending = server.queue(request("POST", "/_matrix/client/v3/account/deactivate", Some(&alice.token), body));
    server.settle();
    assert!(pending.take().is_none() && server.store.is_hung());
    server.tasks.stop();

    let server = TestServer::on(server.disk.clone());
    server.settle();
    server.get(WHOAMI, &alice.token).is_error(401, "M_UNKNOWN_TOKEN");
    for room in &rooms {
        assert_eq!(membership(&server, &bob, room, &alice), "leave");
    }
}

#[test]
fn what_an_erased_user_said_is_shown_to_who_was_there() {
    let server = TestServer::new();
    let (alice, bob, carol) = (server.register("alice"), server.register("bob"), server.register("carol"));
    let room = server.public_room(&bob);
    server
        .put(
            &format!("/_matrix/client/v3/profile/{}/displayname", alice.id),
            &alice.token,
            json!({ "displayname": "Alice" }),
        )
        .ok();
    server.settle();
    server.join(&alice, &room);
    server.say(&bob, &room, "from bob");
    let said = server.say(&alice, &room, "from alice");
    let early = server.register("early");
    server.join(&early, &room);
    end(&server, &alice, true);
    server.join(&carol, &room);

    let server = TestServer::on(server.disk.clone());
    let heard = |user: &TestUser| {
        let mut heard = texts(&server.messages(user, &room, "dir=f&limit=50")["chunk"]);
        heard.retain(|text| text.starts_with("from"));
        heard
    };
    assert_eq!(heard(&bob), ["from bob", "from alice"]);
    assert_eq!(heard(&early), ["from bob", "from alice"], "was there at the erasure");
    assert_eq!(heard(&carol), ["from bob"]);
    let event = |user: &TestUser| {
        let path = format!("/_matrix/client/v3/rooms/{}/event/{}", escaped(&room), escaped(&said));
        server.get(&path, &user.token).ok()
    };
    assert_eq!(event(&bob)["content"]["body"], "from alice");
    let redacted = event(&carol);
    assert_eq!((&redacted["content"], &redacted["sender"]), (&json!({}), &json!(alice.id)));
    let synced = server.sync(&carol, None, "&full_state=true").to_string();
    assert!(!synced.contains("from alice") && !synced.contains("\"Alice\""), "{synced}");
    // Without erasure everybody sees everything.
    let other = server.public_room(&bob);
    let dave = server.register("dave");
    server.join(&dave, &other);
    server.say(&dave, &other, "from dave");
    end(&server, &dave, false);
    server.join(&carol, &other);
    assert!(server.messages(&carol, &other, "dir=b")["chunk"].to_string().contains("from dave"));
}

#[test]
fn the_data_of_an_erased_user_goes() {
    let server = TestServer::new();
    let (alice, bob) = (server.register_with_password("alice", "p"), server.register("bob"));
    let path = format!("/_matrix/client/v3/profile/{}", alice.id);
    server.put(&format!("{path}/displayname"), &alice.token, json!({ "displayname": "Alice" })).ok();
    let data = format!("/_matrix/client/v3/user/{}/account_data/org.example", alice.id);
    server.put(&data, &alice.token, json!({ "secret": "x1x" })).ok();
    server.settle();
    deactivate(&server, Some(&alice.token), json!({ "erase": true, "auth": password("alice") })).ok();
    assert_ne!(server.get(&path, &bob.token).body["displayname"], "Alice");
    let login = server.request("POST", "/_matrix/client/v3/login", None, password("alice"));
    login.is_error(403, "M_FORBIDDEN");
}

#[test]
fn malformed_requests_end_nothing() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let refused =
        |body: Value, status, errcode| deactivate(&server, Some(&alice.token), body).is_error(status, errcode);
    refused(json!({ "erase": "yes" }), 400, "M_BAD_JSON");
    refused(json!({ "id_server": 7 }), 400, "M_BAD_JSON");
    refused(json!({ "auth": [] }), 400, "M_BAD_JSON");
    refused(json!([]), 400, "M_BAD_JSON");
    deactivate(&server, Some("invented"), json!({})).is_error(401, "M_UNKNOWN_TOKEN");
    server.get(WHOAMI, &alice.token).ok();
}
