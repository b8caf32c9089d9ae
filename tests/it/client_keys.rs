//! Whose devices a client must look at again: told by `/sync` and `/keys/changes` to whoever shares a room, of users here.
use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    client_to_device::login,
    harness::{Answer, TestServer, TestUser},
    talk::{list, next_batch, sync_path},
};

const PASSWORD: &str = "correct horse";

/// What `/sync` tells of devices since then, and that `/keys/changes` tells the same.
#[track_caller]
pub fn told(server: &TestServer, user: &TestUser, since: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let answer = server.sync(user, Some(since), "");
    let names = |value: &Value| -> BTreeSet<String> {
        list(value).iter().map(|user| user.as_str().unwrap().to_owned()).collect()
    };
    let told = |answer: &Value| (names(&answer["changed"]), names(&answer["left"]));
    let to = next_batch(&answer);
    if to != since {
        assert_eq!(told(&changes(server, user, since, &to).ok()), told(&answer["device_lists"]));
    }
    told(&answer["device_lists"])
}

fn changes(server: &TestServer, user: &TestUser, from: &str, to: &str) -> Answer {
    server.get(&format!("/_matrix/client/v3/keys/changes?from={from}&to={to}"), &user.token)
}

pub fn now(server: &TestServer, user: &TestUser) -> String {
    next_batch(&server.sync(user, None, ""))
}

pub fn encrypt(server: &TestServer, user: &TestUser, room: &str) {
    server.set_state(user, room, "m.room.encryption", "", json!({ "algorithm": "m.megolm.v1.aes-sha2" }));
}

pub fn ids<const N: usize>(users: [&TestUser; N]) -> BTreeSet<String> {
    users.iter().map(|user| user.id.clone()).collect()
}

#[test]
fn a_change_of_devices_is_told_to_whom_shares_a_room_and_to_ones_other_devices() {
    let server = TestServer::new();
    let (alice, carol) = (server.register("alice"), server.register("carol"));
    let bob = server.register_with_password("bob", PASSWORD);
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    // That they are there is news for each other.
    [&alice, &bob, &carol].iter().for_each(|user| drop(now(&server, user)));
    let since = [&alice, &bob, &carol].map(|user| now(&server, user));
    let first = server.sync(&alice, None, "");
    assert!(first["device_lists"].is_null(), "only a sync that goes on tells of it");
    let waiting = server.start("GET", &sync_path(Some(&since[0]), 10_000, ""), Some(&alice.token));
    assert!(waiting.take().is_none());
    let second = login(&server, "bob", PASSWORD);
    server.settle();
    assert_eq!(waiting.take().expect("it wakes a sync").ok()["device_lists"]["changed"], json!([bob.id]));
    let all_told = |of: &TestUser, since: &[String; 3]| {
        assert_eq!(told(&server, &alice, &since[0]), (ids([of]), ids([])));
        assert_eq!(told(&server, &bob, &since[1]), (ids([of]), ids([])));
        assert_eq!(told(&server, &carol, &since[2]), (ids([]), ids([])));
    };
    all_told(&bob, &since);
    // What was told is not told again.
    let since = [&alice, &bob, &carol].map(|user| now(&server, user));
    assert_eq!(told(&server, &alice, &since[0]), (ids([]), ids([])));
    let path = format!("/_matrix/client/v3/devices/{}", second.device);
    server.put(&path, &bob.token, json!({ "display_name": "phone" })).ok();
    all_told(&bob, &since);
    let since = [&alice, &bob, &carol].map(|user| now(&server, user));
    server.put(&path, &bob.token, json!({ "display_name": "phone" })).ok();
    assert_eq!(told(&server, &alice, &since[0]), (ids([]), ids([])), "it was called that before");
    server.post("/_matrix/client/v3/logout", &second.token, json!({})).ok();
    all_told(&bob, &since);
    // Whose restart it is does not matter.
    let server = TestServer::on(server.disk.clone());
    assert_eq!(told(&server, &alice, &since[0]), (ids([&bob]), ids([])));
}

#[test]
fn who_comes_to_share_a_room_is_told_and_who_no_longer_does() {
    let server = TestServer::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| server.register(name));
    let (one, two) = (server.public_room(&alice), server.public_room(&alice));
    server.join(&carol, &one);
    let (of_alice, of_bob) = (now(&server, &alice), now(&server, &bob));
    server.join(&bob, &one);
    assert_eq!(told(&server, &alice, &of_alice), (ids([&bob]), ids([])));
    assert_eq!(told(&server, &bob, &of_bob), (ids([&alice, &carol]), ids([])));
    server.join(&bob, &two);
    let (of_alice, of_bob) = (now(&server, &alice), now(&server, &bob));
    server.leave(&bob, &one);
    assert_eq!(told(&server, &alice, &of_alice), (ids([]), ids([])), "there is another room they share");
    assert_eq!(told(&server, &bob, &of_bob), (ids([]), ids([&carol])));
    server.leave(&bob, &two);
    assert_eq!(told(&server, &alice, &of_alice), (ids([]), ids([&bob])));
    assert_eq!(told(&server, &bob, &of_bob), (ids([]), ids([&alice, &carol])));
    // Another name is no coming and no going.
    let of_alice = now(&server, &alice);
    let path = format!("/_matrix/client/v3/profile/{}/displayname", carol.id);
    server.put(&path, &carol.token, json!({ "displayname": "Carol" })).ok();
    server.settle();
    assert_eq!(told(&server, &alice, &of_alice), (ids([]), ids([])));
    // Nobody is told who was only invited, or put out.
    server.act_on(&alice, &one, "invite", &bob);
    assert_eq!(told(&server, &alice, &of_alice), (ids([]), ids([])));
    server.act_on(&alice, &one, "ban", &bob);
    assert_eq!(told(&server, &alice, &of_alice), (ids([]), ids([])));
    server.act_on(&alice, &one, "kick", &carol);
    let server = TestServer::on(server.disk.clone());
    assert_eq!(told(&server, &alice, &of_alice), (ids([]), ids([&carol])), "a restart forgets nothing");
}

#[test]
fn the_last_encrypted_room_counts_and_so_does_a_room_that_becomes_one() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let (plain, secret) = (server.public_room(&alice), server.public_room(&alice));
    encrypt(&server, &alice, &secret);
    server.join(&bob, &plain);
    server.join(&bob, &secret);
    let since = now(&server, &alice);
    server.leave(&bob, &secret);
    assert_eq!(told(&server, &alice, &since), (ids([]), ids([&bob])), "they share no encrypted room");
    let since = now(&server, &alice);
    encrypt(&server, &alice, &plain);
    assert_eq!(told(&server, &alice, &since), (ids([&bob]), ids([])));
}

#[test]
fn changes_are_asked_for_between_two_tokens() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let here = now(&server, &alice);
    let ask = |query: &str| server.get(&format!("/_matrix/client/v3/keys/changes{query}"), &alice.token);
    assert_eq!(changes(&server, &alice, &here, &here).ok(), json!({ "changed": [], "left": [] }));
    assert_eq!(changes(&server, &alice, &here, "s1").ok(), json!({ "changed": [], "left": [] }));
    assert_eq!(changes(&server, &alice, "s0", &here).ok(), json!({ "changed": [alice.id], "left": [] }));
    ask("").is_error(400, "M_MISSING_PARAM");
    ask(&format!("?from={here}")).is_error(400, "M_MISSING_PARAM");
    ask(&format!("?to={here}")).is_error(400, "M_MISSING_PARAM");
    for wrong in ["", "s", "12", "t12", "s-1", "s99999999999", "s99999999999999999999"] {
        changes(&server, &alice, wrong, &here).is_error(400, "M_INVALID_PARAM");
        changes(&server, &alice, &here, wrong).is_error(400, "M_INVALID_PARAM");
    }
    let path = format!("/_matrix/client/v3/keys/changes?from={here}&to={here}");
    server.request("GET", &path, None, Value::Null).is_error(401, "M_MISSING_TOKEN");
    server.get(&path, "nobody's").is_error(401, "M_UNKNOWN_TOKEN");
    server.post(&path, &alice.token, json!({})).is_error(405, "M_UNRECOGNIZED");
}
