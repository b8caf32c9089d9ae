//! Guests: what they may do, where they may go, and how they become users.
use serde_json::{Value, json};
use warren::{homeserver::Options, storage::memory::MemoryDisk};

use crate::{
    federation_network::Network,
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, ids, texts},
};

const REGISTER: &str = "/_matrix/client/v3/register";

fn open_to_guests(disk: MemoryDisk) -> TestServer {
    TestServer::with(disk, guests_too())
}

fn guest(server: &TestServer) -> TestUser {
    let body = server.request("POST", &format!("{REGISTER}?kind=guest"), None, json!({})).ok();
    let text = |field: &str| body[field].as_str().unwrap().to_owned();
    TestUser { id: text("user_id"), device: text("device_id"), token: text("access_token") }
}

/// A room of `owner` that lets guests in.
fn open_room(server: &TestServer, owner: &TestUser) -> String {
    let room = server.public_room(owner);
    server.set_state(owner, &room, "m.room.guest_access", "", json!({ "guest_access": "can_join" }));
    room
}

fn join(server: &TestServer, user: &TestUser, room: &str) -> Answer {
    server.post(&format!("/_matrix/client/v3/rooms/{}/join", escaped(room)), &user.token, json!({}))
}

#[test]
fn a_guest_comes_without_authentication_and_with_nothing_but_a_device() {
    let server = open_to_guests(MemoryDisk::default());
    // All else is ignored, whatever it is.
    let body = json!({ "initial_device_display_name": "kiosk", "username": "alice", "password": 7, "device_id": "MINE",
        "inhibit_login": true, "auth": [], "refresh_token": "yes" });
    let answer = server.request("POST", &format!("{REGISTER}?kind=guest"), None, body).ok();
    assert_ne!(answer["user_id"], format!("@alice:{}", server.server_name()));
    assert_ne!(answer["device_id"], "MINE");
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(server.get("/_matrix/client/v3/devices", token).ok()["devices"][0]["display_name"], "kiosk");
    let server = open_to_guests(server.disk.clone());
    assert_eq!(server.get("/_matrix/client/v3/account/whoami", token).ok()["is_guest"], true);
    let wrong = json!({ "initial_device_display_name": 7 });
    server.request("POST", &format!("{REGISTER}?kind=guest"), None, wrong).is_error(400, "M_BAD_JSON");
    TestServer::new()
        .request("POST", &format!("{REGISTER}?kind=guest"), None, json!({}))
        .is_error(403, "M_GUEST_ACCESS_FORBIDDEN");
}

#[test]
fn guests_join_only_where_they_are_let_in() {
    let server = open_to_guests(MemoryDisk::default());
    let (alice, guest) = (server.register("alice"), guest(&server));
    let (open, closed) = (open_room(&server, &alice), server.public_room(&alice));
    join(&server, &guest, &closed).is_error(403, "M_GUEST_ACCESS_FORBIDDEN");
    server.act_on(&alice, &closed, "invite", &guest);
    join(&server, &guest, &closed).is_error(403, "M_GUEST_ACCESS_FORBIDDEN");
    join(&server, &guest, "!elsewhere:example.org").is_error(403, "M_GUEST_ACCESS_FORBIDDEN");
    let by_alias = format!("/_matrix/client/v3/join/{}", escaped(&closed));
    server.post(&by_alias, &guest.token, json!({})).is_error(403, "M_GUEST_ACCESS_FORBIDDEN");
    join(&server, &guest, &open).ok();
    server.say(&guest, &open, "hello");
    assert_eq!(texts(&server.messages(&alice, &open, "dir=b")["chunk"]), ["hello"]);
}

#[test]
fn guests_are_put_out_when_a_room_closes_to_them() {
    let server = open_to_guests(MemoryDisk::default());
    let (alice, bob, guest) = (server.register("alice"), server.register("bob"), guest(&server));
    let room = open_room(&server, &alice);
    server.join(&bob, &room);
    join(&server, &guest, &room).ok();
    server.set_state(&alice, &room, "m.room.topic", "", json!({ "topic": "x" }));
    server.settle();
    let membership = |server: &TestServer, of: &TestUser| {
        let path = format!("/_matrix/client/v3/rooms/{}/state/m.room.member/{}", escaped(&room), escaped(&of.id));
        server.get(&path, &alice.token).ok()["membership"].take()
    };
    assert_eq!(membership(&server, &guest), "join");
    server.set_state(&alice, &room, "m.room.guest_access", "", json!({ "guest_access": "forbidden" }));
    server.settle();
    assert_eq!((membership(&server, &guest), membership(&server, &bob)), (json!("leave"), json!("join")));

    // The worker may stop before it comes to that.
    server.set_state(&alice, &room, "m.room.guest_access", "", json!({ "guest_access": "can_join" }));
    join(&server, &guest, &room).ok();
    server.store.plan(2, crate::fakes::Mishap::Hangs { written: false });
    server.set_state(&alice, &room, "m.room.guest_access", "", json!({}));
    server.settle();
    assert!(server.store.is_hung());
    server.tasks.stop();
    let server = open_to_guests(server.disk.clone());
    server.settle();
    assert_eq!(membership(&server, &guest), "leave");
}

#[test]
fn a_guest_may_do_little_else() {
    let server = open_to_guests(MemoryDisk::default());
    let (alice, guest) = (server.register("alice"), guest(&server));
    let room = open_room(&server, &alice);
    join(&server, &guest, &room).ok();
    let at = |path: &str| format!("/_matrix/client/v3/rooms/{}/{path}", escaped(&room));
    for (method, path) in [
        ("GET", "/_matrix/client/v3/joined_rooms".to_owned()),
        ("GET", "/_matrix/client/v3/pushrules/".to_owned()),
        ("POST", "/_matrix/client/v3/createRoom".to_owned()),
        ("POST", "/_matrix/client/v3/account/password".to_owned()),
        ("POST", format!("/_matrix/client/v3/user/{}/openid/request_token", guest.id)),
        ("POST", at("invite")),
        ("PUT", at("redact/$e/1")),
        ("DELETE", format!("/_matrix/client/v3/devices/{}", guest.device)),
    ] {
        let answer = server.request(method, &path, Some(&guest.token), json!({ "new_password": "x" }));
        answer.is_error(403, "M_GUEST_ACCESS_FORBIDDEN");
    }
    let profile = |field: &str| format!("/_matrix/client/v3/profile/{}/{field}", guest.id);
    server
        .put(&profile("avatar_url"), &guest.token, json!({ "avatar_url": "mxc://a/b" }))
        .is_error(403, "M_GUEST_ACCESS_FORBIDDEN");
    server.put(&profile("displayname"), &guest.token, json!({ "displayname": "Guest" })).ok();
    server.sync(&guest, None, "");
    for path in ["state", "members", "messages?dir=b", "state/m.room.create/"] {
        server.get(&at(path), &guest.token).ok();
    }
    for path in ["/_matrix/client/versions", "/_matrix/client/v3/capabilities", "/_matrix/client/v3/devices"] {
        server.get(path, &guest.token).ok();
    }
    server.leave(&guest, &room);
    server.post("/_matrix/client/v3/logout", &guest.token, json!({})).ok();
}

#[test]
fn a_guest_becomes_a_user_under_the_same_name() {
    let server = open_to_guests(MemoryDisk::default());
    let (alice, guest) = (server.register("alice"), guest(&server));
    let room = open_room(&server, &alice);
    join(&server, &guest, &room).ok();
    let name = guest.id[1..].split(':').next().unwrap();
    let upgrade = |username: Value, token: Value, auth: Value| {
        let body = json!({ "username": username, "guest_access_token": token, "password": "p", "auth": auth });
        server.request("POST", REGISTER, None, body)
    };
    let dummy = json!({ "type": "m.login.dummy" });
    upgrade(Value::Null, json!(guest.token), dummy.clone()).is_error(400, "M_MISSING_PARAM");
    upgrade(json!("other"), json!(guest.token), dummy.clone()).is_error(403, "M_FORBIDDEN");
    upgrade(json!("alice"), json!(alice.token), dummy.clone()).is_error(403, "M_FORBIDDEN");
    upgrade(json!(name), json!("invented"), dummy.clone()).is_error(401, "M_UNKNOWN_TOKEN");
    upgrade(json!(name), json!(7), dummy.clone()).is_error(400, "M_BAD_JSON");
    assert_eq!(upgrade(json!(name), json!(guest.token), Value::Null).status, 401, "it takes what registration takes");
    let upgraded = upgrade(json!(name), json!(guest.token), dummy.clone()).ok();
    assert_eq!(upgraded["user_id"], guest.id);
    upgrade(json!(name), json!(guest.token), dummy).is_error(403, "M_FORBIDDEN");

    let server = open_to_guests(server.disk.clone());
    for token in [&guest.token, upgraded["access_token"].as_str().unwrap()] {
        assert_ne!(server.get("/_matrix/client/v3/account/whoami", token).ok()["is_guest"], true);
        server.get("/_matrix/client/v3/pushrules/", token).ok();
    }
    server.set_state(&alice, &room, "m.room.guest_access", "", json!({ "guest_access": "forbidden" }));
    server.settle();
    server.say(&guest, &room, "still here");
    let login = json!({ "type": "m.login.password", "user": name, "password": "p" });
    server.request("POST", "/_matrix/client/v3/login", None, login).ok();
}

#[test]
fn guests_look_into_rooms_that_are_open_to_the_world() {
    let server = open_to_guests(MemoryDisk::default());
    let (alice, guest) = (server.register("alice"), guest(&server));
    let (open, shut) = (server.public_room(&alice), server.public_room(&alice));
    let world = json!({ "history_visibility": "world_readable" });
    server.set_state(&alice, &open, "m.room.history_visibility", "", world);
    let said = server.say(&alice, &open, "hello world");
    let at = |room: &str, path: &str| format!("/_matrix/client/v3/rooms/{}/{path}", escaped(room));
    let events = |rest: &str| server.get(&format!("/_matrix/client/v3/events?{rest}"), &guest.token);
    let seen = server.get(&at(&open, "initialSync"), &guest.token).ok();
    assert_eq!(texts(&seen["messages"]["chunk"]), ["hello world"]);
    let from = seen["messages"]["end"].as_str().unwrap();
    let news = server.say(&alice, &open, "news");
    assert_eq!(ids(&events(&format!("room_id={}&from={from}", escaped(&open))).ok()["chunk"]), [news]);
    for path in ["state", "members", "messages?dir=b", "state/m.room.create/"] {
        server.get(&at(&open, path), &guest.token).ok();
    }
    for path in ["event", "context"] {
        server.get(&at(&open, &format!("{path}/{}", escaped(&said))), &guest.token).ok();
    }
    server.get(&at(&shut, "initialSync"), &guest.token).is_error(403, "M_FORBIDDEN");
    events(&format!("room_id={}", escaped(&shut))).is_error(403, "M_FORBIDDEN");
    events("").is_error(403, "M_GUEST_ACCESS_FORBIDDEN");
    server.get("/_matrix/client/v3/initialSync", &guest.token).is_error(403, "M_GUEST_ACCESS_FORBIDDEN");
}

#[test]
fn guests_join_rooms_of_other_servers_that_let_guests_in() {
    let network = Network::new();
    let (far, here) = (network.server(), network.server_with(MemoryDisk::default(), guests_too()));
    let (alice, guest) = (far.register("alice"), guest(&here));
    let (open, closed) = (open_room(&far, &alice), far.public_room(&alice));
    here.join_via(&guest, &closed, far.server_name()).is_error(403, "M_GUEST_ACCESS_FORBIDDEN");
    here.join_via(&guest, &open, far.server_name()).ok();
    assert_eq!(far.membership(&open, &guest.id).as_deref(), Some("join"));
    // Invited, a guest need not know of a server.
    let private = far.create_room(&alice, json!({ "preset": "private_chat" }));
    far.act(&alice, &private, "invite", &guest.id).ok();
    join(&here, &guest, &private).ok();
    far.set_state(&alice, &private, "m.room.guest_access", "", json!({ "guest_access": "forbidden" }));
    network.settle();
    assert_eq!(far.membership(&private, &guest.id).as_deref(), Some("leave"));
    network.cut(&far, &here);
    here.join_via(&guest, &closed, far.server_name()).is_error(403, "M_GUEST_ACCESS_FORBIDDEN");
}

fn guests_too() -> Options {
    Options { guests: true, ..Options::default() }
}
