//! What administrators see and do, and what is left to those they do it to.
use serde_json::{Value, json};
use warren::{api::ClientAddress, homeserver::Options, storage::memory::MemoryDisk};

use crate::{
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, sync_path},
};

const WHOAMI: &str = "/_matrix/client/v3/account/whoami";

fn restrict(server: &TestServer, by: &TestUser, what: &str, user: &str, on: Value) -> Answer {
    let field = if what == "lock" { "locked" } else { "suspended" };
    server.put(&format!("/_matrix/client/v1/admin/{what}/{user}"), &by.token, json!({ field: on }))
}

/// The first user of a tab, who is its administrator, and another.
fn admin_and_bob(server: &TestServer) -> (TestUser, TestUser) {
    (server.register("admin"), server.register("bob"))
}

#[test]
fn the_first_user_of_a_tab_administers_it() {
    let server = TestServer::new();
    let (admin, bob) = admin_and_bob(&server);
    let capabilities =
        |user: &TestUser| server.get("/_matrix/client/v3/capabilities", &user.token).ok()["capabilities"].take();
    assert_eq!(capabilities(&admin)["m.account_moderation"], json!({ "suspend": true, "lock": true }));
    assert!(capabilities(&bob)["m.account_moderation"].is_null());
    let whois =
        |by: &TestUser, of: &TestUser| server.get(&format!("/_matrix/client/v3/admin/whois/{}", of.id), &by.token);
    let seen = whois(&admin, &bob).ok();
    assert_eq!(seen["user_id"], bob.id);
    let connection = &seen["devices"][&bob.device]["sessions"][0]["connections"][0];
    assert!(connection["last_seen"].is_u64() && connection.get("ip").is_none(), "{seen}");
    whois(&bob, &bob).ok();
    whois(&bob, &admin).is_error(403, "M_FORBIDDEN");
    let path = "/_matrix/client/v3/admin/whois";
    server.get(&format!("{path}/@nobody:{}", server.server_name()), &admin.token).is_error(404, "M_NOT_FOUND");
    server.get(&format!("{path}/@bob:example.org"), &admin.token).is_error(400, "M_INVALID_PARAM");
    server.get(&format!("{path}/bob"), &admin.token).is_error(400, "M_INVALID_PARAM");

    let options = Options { first_user_is_admin: false, ..Options::default() };
    let server = TestServer::with(MemoryDisk::default(), options.clone());
    let (first, second) = admin_and_bob(&server);
    restrict(&server, &first, "lock", &second.id, json!(true)).is_error(403, "M_FORBIDDEN");
    // A tab whose users were there before there were administrators.
    let server = TestServer::on(server.disk.clone());
    restrict(&server, &first, "lock", &second.id, json!(true)).ok();
}

#[test]
fn what_a_client_calls_itself_is_told_to_who_asks_who_is_logged_in() {
    let server = TestServer::new();
    let admin = server.register("admin");
    let request = http::Request::get(WHOAMI)
        .header("authorization", format!("Bearer {}", admin.token))
        .header("user-agent", "Client/1.0")
        .extension(ClientAddress("2001:db8::7".parse().unwrap()))
        .body("".into())
        .unwrap();
    server.send(request).ok();
    server.settle();
    let seen = server.get(&format!("/_matrix/client/v3/admin/whois/{}", admin.id), &admin.token).ok();
    let connection = &seen["devices"][&admin.device]["sessions"][0]["connections"][0];
    assert_eq!((&connection["user_agent"], &connection["ip"]), (&json!("Client/1.0"), &json!("2001:db8::7")));
    let server = TestServer::on(server.disk.clone());
    let devices = server.get("/_matrix/client/v3/devices", &admin.token).ok();
    assert_eq!(devices["devices"][0]["last_seen_ip"], "2001:db8::7");
}

#[test]
fn a_suspended_user_reads_and_leaves_and_little_else() {
    let server = TestServer::new();
    let (admin, bob) = admin_and_bob(&server);
    let room = server.public_room(&admin);
    server.join(&bob, &room);
    let by_admin = server.say(&admin, &room, "hello");
    let own = server.say(&bob, &room, "rude");
    assert_eq!(restrict(&server, &admin, "suspend", &bob.id, json!(true)).ok(), json!({ "suspended": true }));

    let server = TestServer::on(server.disk.clone());
    let path = format!("/_matrix/client/v1/admin/suspend/{}", bob.id);
    assert_eq!(server.get(&path, &admin.token).ok(), json!({ "suspended": true }));
    let at = |path: &str| format!("/_matrix/client/v3/rooms/{}/{path}", escaped(&room));
    let message = json!({ "msgtype": "m.text", "body": "more" });
    server.put(&at("send/m.room.message/1"), &bob.token, message.clone()).is_error(403, "M_USER_SUSPENDED");
    server.put(&at("state/m.room.topic/"), &bob.token, json!({})).is_error(403, "M_USER_SUSPENDED");
    server.post(&at("invite"), &bob.token, json!({ "user_id": admin.id })).is_error(403, "M_USER_SUSPENDED");
    server.post("/_matrix/client/v3/createRoom", &bob.token, json!({})).is_error(403, "M_USER_SUSPENDED");
    let displayname = format!("/_matrix/client/v3/profile/{}/displayname", bob.id);
    server.put(&displayname, &bob.token, json!({ "displayname": "Bob" })).is_error(403, "M_USER_SUSPENDED");
    let redact = |event: &str, txn| {
        let path = at(&format!("redact/{}/{txn}", escaped(event)));
        server.put(&path, &bob.token, json!({}))
    };
    redact(&by_admin, 1).is_error(403, "M_USER_SUSPENDED");

    redact(&own, 2).ok();
    server.sync(&bob, None, "");
    server.messages(&bob, &room, "dir=b");
    server.read(&bob, &room, "m.read", &by_admin, json!({})).ok();
    server.leave(&bob, &room);
    server.post(&at("join"), &bob.token, json!({})).is_error(403, "M_USER_SUSPENDED");
    restrict(&server, &admin, "suspend", &bob.id, json!(false)).ok();
    server.join(&bob, &room);
    server.put(&at("send/m.room.message/1"), &bob.token, message).ok();
}

#[test]
fn a_locked_user_may_log_out_and_nothing_else() {
    let server = TestServer::new();
    let (admin, _) = admin_and_bob(&server);
    let carol = server.register_with_password("carol", "p");
    let body = json!({ "type": "m.login.password", "user": "carol", "password": "p", "refresh_token": true });
    let other = server.request("POST", "/_matrix/client/v3/login", None, body.clone()).ok();
    let since = server.sync(&carol, None, "")["next_batch"].as_str().unwrap().to_owned();
    let poll = server.start("GET", &sync_path(Some(&since), 30_000, ""), Some(&carol.token));
    restrict(&server, &admin, "lock", &carol.id, json!(true)).ok();
    server.settle();
    poll.take().expect("a locked user does not wait on").ok();

    let server = TestServer::on(server.disk.clone());
    let locked = |answer: Answer| {
        answer.is_error(401, "M_USER_LOCKED");
        assert_eq!(answer.body["soft_logout"], true, "the client keeps what it has stored");
    };
    locked(server.get(WHOAMI, &carol.token));
    locked(server.sync_answer(&carol, None, ""));
    locked(server.request("POST", "/_matrix/client/v3/login", None, body));
    let refresh = json!({ "refresh_token": other["refresh_token"] });
    locked(server.request("POST", "/_matrix/client/v3/refresh", None, refresh.clone()));
    let wrong = json!({ "type": "m.login.password", "user": "carol", "password": "wrong" });
    server.request("POST", "/_matrix/client/v3/login", None, wrong).is_error(403, "M_FORBIDDEN");

    restrict(&server, &admin, "lock", &carol.id, json!(false)).ok();
    server.get(WHOAMI, &carol.token).ok();
    server.request("POST", "/_matrix/client/v3/refresh", None, refresh).ok();
    restrict(&server, &admin, "lock", &carol.id, json!(true)).ok();
    server.post("/_matrix/client/v3/logout", &carol.token, json!({})).ok();
    restrict(&server, &admin, "lock", &carol.id, json!(false)).ok();
    server.get(WHOAMI, &carol.token).is_error(401, "M_UNKNOWN_TOKEN");
}

#[test]
fn restrictions_are_for_administrators_and_on_others() {
    let server = TestServer::new();
    let (admin, bob) = admin_and_bob(&server);
    let gone = server.register("gone");
    let body = json!({ "auth": { "type": "m.login.dummy" } });
    server.post("/_matrix/client/v3/account/deactivate", &gone.token, body).ok();
    let nobody = format!("@nobody:{}", server.server_name());
    for what in ["lock", "suspend"] {
        // Who is no administrator does not learn who is there.
        for user in [&admin.id, &nobody, "@bob:example.org"] {
            restrict(&server, &bob, what, user, json!(true)).is_error(403, "M_FORBIDDEN");
        }
        let path = |user: &str| format!("/_matrix/client/v1/admin/{what}/{user}");
        server.get(&path(&nobody), &bob.token).is_error(403, "M_FORBIDDEN");
        restrict(&server, &admin, what, &admin.id, json!(true)).is_error(403, "M_FORBIDDEN");
        restrict(&server, &admin, what, &nobody, json!(true)).is_error(404, "M_NOT_FOUND");
        restrict(&server, &admin, what, &gone.id, json!(true)).is_error(404, "M_NOT_FOUND");
        server.get(&path(&gone.id), &admin.token).is_error(404, "M_NOT_FOUND");
        restrict(&server, &admin, what, "@bob:example.org", json!(true)).is_error(400, "M_INVALID_PARAM");
        restrict(&server, &admin, what, "bob", json!(true)).is_error(400, "M_INVALID_PARAM");
        restrict(&server, &admin, what, &bob.id, json!("yes")).is_error(400, "M_BAD_JSON");
        restrict(&server, &admin, what, &bob.id, Value::Null).is_error(400, "M_BAD_JSON");
        server.put(&path(&bob.id), &admin.token, json!({})).is_error(400, "M_MISSING_PARAM");
        let field = if what == "lock" { "locked" } else { "suspended" };
        assert_eq!(server.get(&path(&bob.id), &admin.token).ok(), json!({ field: false }));
    }
}
