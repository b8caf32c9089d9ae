//! Profiles of users here and elsewhere.
use std::rc::Rc;

use ruma::events::room::member::MembershipState;
use serde_json::{Value, json};
use warren::storage::{Database, tables::RoomMembers};

use crate::{
    federation_network::Network,
    harness::{Answer, TestServer, TestUser, request},
};

fn path(user: &TestUser, field: &str) -> String {
    format!("/_matrix/client/v3/profile/{}{field}", user.id)
}

fn put(server: &TestServer, user: &TestUser, name: &str, value: Value) -> Answer {
    server.put(&path(user, &format!("/{name}")), &user.token, json!({ name: value }))
}

fn get(server: &TestServer, user: &TestUser, field: &str) -> Answer {
    server.send(request("GET", &path(user, field), None, ""))
}

#[test]
fn fields_are_set_got_and_removed() {
    let server = TestServer::new();
    let alice = server.register("alice");
    assert_eq!(get(&server, &alice, "").ok(), json!({}));
    get(&server, &alice, "/displayname").is_error(404, "M_NOT_FOUND");

    put(&server, &alice, "displayname", json!("Alice ☕")).ok();
    put(&server, &alice, "avatar_url", json!("mxc://example.org/cat")).ok();
    put(&server, &alice, "m.tz", json!("Europe/Berlin")).ok();
    put(&server, &alice, "org.example.pronouns", json!([{ "subject": "she" }, null])).ok();
    assert_eq!(get(&server, &alice, "/displayname").ok(), json!({ "displayname": "Alice ☕" }));
    let pronouns = json!({ "org.example.pronouns": [{ "subject": "she" }, null] });
    assert_eq!(get(&server, &alice, "/org.example.pronouns").ok(), pronouns);

    let after = TestServer::on(server.disk.clone());
    assert_eq!(get(&after, &alice, "").ok().as_object().unwrap().len(), 4);
    assert_eq!(after.delete(&path(&alice, "/m.tz"), &alice.token).ok(), json!({}));
    after.delete(&path(&alice, "/m.tz"), &alice.token).ok();
    get(&after, &alice, "/m.tz").is_error(404, "M_NOT_FOUND");
}

#[test]
fn older_clients_remove_names_with_nothing() {
    let server = TestServer::new();
    let alice = server.register("alice");
    for nothing in [json!(null), json!("")] {
        put(&server, &alice, "displayname", json!("Alice")).ok();
        put(&server, &alice, "avatar_url", json!("mxc://example.org/cat")).ok();
        put(&server, &alice, "displayname", nothing.clone()).ok();
        put(&server, &alice, "avatar_url", nothing).ok();
        assert_eq!(get(&server, &alice, "").ok(), json!({}));
    }
}

#[test]
fn other_fields_of_the_body_do_not_matter() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let body = json!({ "a": 1, "displayname": "Alice", "z": { "displayname": 2 } });
    server.put(&path(&alice, "/displayname"), &alice.token, body).ok();
    assert_eq!(get(&server, &alice, "").ok(), json!({ "displayname": "Alice" }));
}

#[test]
fn malformed_fields_are_refused() {
    let server = TestServer::new();
    let alice = server.register("alice");
    server.put(&path(&alice, "/displayname"), &alice.token, json!({})).is_error(400, "M_MISSING_PARAM");
    put(&server, &alice, "displayname", json!(7)).is_error(400, "M_BAD_JSON");
    put(&server, &alice, "displayname", json!("x".repeat(257))).is_error(413, "M_TOO_LARGE");
    put(&server, &alice, "displayname", json!("ä".repeat(256))).ok();
    put(&server, &alice, "avatar_url", json!("https://example.org/cat.png")).is_error(400, "M_INVALID_PARAM");
    put(&server, &alice, "m.tz", json!(1)).is_error(400, "M_BAD_JSON");
    for name in ["nickname", "Org.example", "org.exam%20ple", "%C3%A4.b"] {
        let answer = server.put(&path(&alice, &format!("/{name}")), &alice.token, json!({ name: 1 }));
        assert_eq!(answer.status, 400, "{name}");
    }
    server.delete(&path(&alice, "/nickname"), &alice.token).is_error(400, "M_INVALID_PARAM");
    put(&server, &alice, &format!("a.{}", "b".repeat(254)), json!(1)).is_error(400, "M_KEY_TOO_LARGE");
    put(&server, &alice, "org.example.big", json!("x".repeat(40_000))).ok();
    put(&server, &alice, "org.example.more", json!("x".repeat(30_000))).is_error(400, "M_PROFILE_TOO_LARGE");
    get(&server, &alice, "/org.example.more").is_error(404, "M_NOT_FOUND");
}

#[test]
fn a_profile_is_its_users_to_change() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let displayname = path(&alice, "/displayname");
    server.put(&displayname, &bob.token, json!({ "displayname": "Mallory" })).is_error(403, "M_FORBIDDEN");
    server.delete(&displayname, &bob.token).is_error(403, "M_FORBIDDEN");
    let anonymous = request("PUT", &displayname, None, json!({ "displayname": "Mallory" }).to_string());
    server.send(anonymous).is_error(401, "M_MISSING_TOKEN");
    get(&server, &alice, "/displayname").is_error(404, "M_NOT_FOUND");
}

#[test]
fn users_nobody_knows_are_not_found_and_servers_away_are_said_to_be() {
    let server = TestServer::new();
    let ask = |user: &str| server.send(request("GET", &format!("/_matrix/client/v3/profile/{user}"), None, ""));
    ask(&format!("@nobody:{}", server.server_name())).is_error(404, "M_NOT_FOUND");
    ask("@bob:example.org").is_error(502, "M_UNKNOWN");
    ask("bob").is_error(400, "M_INVALID_PARAM");
}

#[test]
fn users_of_other_servers_are_asked_of_those() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let alice = server.register("alice");
    let eve = peer.user("eve");
    // What makes no sense here may be news from there.
    let profile = json!({ "displayname": "Eve", "m.tz": "Nowhere/At_All", "org.example.new": [1] });
    peer.says("GET", "/query/profile", 200, profile.clone());
    let path = format!("/_matrix/client/v3/profile/{eve}");
    assert_eq!(server.send(request("GET", &path, None, "")).ok(), profile);
    let asked: Vec<String> = peer.take_heard().into_iter().map(|(path, _)| path).collect();
    assert!(asked.len() == 1 && asked[0].contains("user_id="), "{asked:?}");
    get(&server, &alice, "").ok();
    assert!(peer.take_heard().is_empty(), "of users here nobody else is asked");
}

#[test]
fn rooms_are_told_of_a_new_name() {
    let server = TestServer::new();
    let alice = server.register("alice");
    server.post("/_matrix/client/v3/createRoom", &alice.token, json!({})).ok();
    put(&server, &alice, "displayname", json!("Alice")).ok();
    put(&server, &alice, "displayname", json!("Alice the Second")).ok();
    server.settle();
    let database = Database::new(Rc::new(server.disk.open()));
    let members = server.run(database.scan_all::<RoomMembers, _>(&())).unwrap();
    let names: Vec<_> = members.iter().map(|(_, row)| (row.displayname.as_deref(), &row.membership)).collect();
    assert_eq!(names, [(Some("Alice the Second"), &MembershipState::Join)]);
}
