//! Typing notifications.
use serde_json::{Value, json};

use crate::{
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, filter, list, next_batch, sync_path},
};

fn typing(server: &TestServer, user: &TestUser, room: &str, body: Value) -> Answer {
    server.put(&format!("/_matrix/client/v3/rooms/{}/typing/{}", escaped(room), user.id), &user.token, body)
}

/// The users told to be typing, if the list was told.
fn told(answer: &Value, room: &str) -> Option<Value> {
    let events = list(&answer["rooms"]["join"][room]["ephemeral"]["events"]);
    events.iter().find(|event| event["type"] == "m.typing").map(|event| event["content"]["user_ids"].clone())
}

#[test]
fn typing_is_told_until_it_stops_or_its_time_is_over() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    let mut since = next_batch(&server.sync(&bob, None, ""));
    let mut next = || {
        let waiting = server.start("GET", &sync_path(Some(&since), 10_000, ""), Some(&bob.token));
        let answer = waiting.take().map(Answer::ok)?;
        since = next_batch(&answer);
        told(&answer, &room)
    };
    assert_eq!(next(), None);
    typing(&server, &alice, &room, json!({ "typing": true, "timeout": 5_000 })).ok();
    assert_eq!(next(), Some(json!([alice.id])));
    typing(&server, &alice, &room, json!({ "typing": true, "timeout": 5_000 })).ok();
    assert_eq!(next(), None, "going on is no news");
    server.advance(4_999);
    assert_eq!(next(), None);
    server.advance(1);
    assert_eq!(next(), Some(json!([])), "forgotten in time");
    typing(&server, &alice, &room, json!({ "typing": true, "timeout": 60_000 })).ok();
    typing(&server, &bob, &room, json!({ "typing": true, "timeout": 1_000 })).ok();
    assert_eq!(next(), Some(json!([alice.id, bob.id])));
    server.advance(1_000);
    assert_eq!(next(), Some(json!([alice.id])), "each has an own time");
    typing(&server, &alice, &room, json!({ "typing": false })).ok();
    assert_eq!(next(), Some(json!([])));
    server.advance(120_000);
    assert_eq!(next(), None);
}

#[test]
fn nobody_types_longer_than_the_server_believes() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let room = server.public_room(&alice);
    typing(&server, &alice, &room, json!({ "typing": true, "timeout": 3_600_000 })).ok();
    let since = next_batch(&server.sync(&alice, None, ""));
    server.advance(120_000);
    assert_eq!(told(&server.sync(&alice, Some(&since), ""), &room), Some(json!([])));
}

#[test]
fn who_does_not_say_for_how_long_types_for_half_a_minute() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let room = server.public_room(&alice);
    typing(&server, &alice, &room, json!({ "typing": true })).ok();
    let since = next_batch(&server.sync(&alice, None, ""));
    server.advance(29_999);
    assert_eq!(told(&server.sync(&alice, Some(&since), ""), &room), None);
    server.advance(1);
    assert_eq!(told(&server.sync(&alice, Some(&since), ""), &room), Some(json!([])));
    typing(&server, &alice, &room, json!({ "typing": true, "timeout": "soon" })).is_error(400, "M_BAD_JSON");
    typing(&server, &alice, &room, json!({ "timeout": 5 })).is_error(400, "M_MISSING_PARAM");
}

#[test]
fn only_members_type_and_only_for_themselves() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.public_room(&alice);
    typing(&server, &bob, &room, json!({ "typing": true, "timeout": 1_000 })).is_error(403, "M_FORBIDDEN");
    typing(&server, &alice, "!nowhere", json!({ "typing": false })).is_error(403, "M_FORBIDDEN");
    let path = format!("/_matrix/client/v3/rooms/{}/typing/{}", escaped(&room), alice.id);
    server.put(&path, &bob.token, json!({ "typing": false })).is_error(403, "M_FORBIDDEN");
}

#[test]
fn newcomers_are_told_who_types_and_leavers_are_not() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    typing(&server, &alice, &room, json!({ "typing": true, "timeout": 60_000 })).ok();
    let answer = server.sync(&bob, None, "");
    assert_eq!(told(&answer, &room), Some(json!([alice.id])));
    let none = filter(json!({ "room": { "ephemeral": { "not_types": ["m.typing"] } } }));
    assert_eq!(told(&server.sync(&bob, None, &none), &room), None);
    server.leave(&bob, &room);
    let answer = server.sync(&bob, Some(&next_batch(&answer)), "");
    assert!(answer["rooms"]["leave"][&room].get("ephemeral").is_none());
    let answer = server.sync(&alice, None, "");
    server.act_on(&alice, &room, "kick", &{
        server.join(&bob, &room);
        typing(&server, &bob, &room, json!({ "typing": true, "timeout": 60_000 })).ok();
        bob.clone()
    });
    assert_eq!(told(&server.sync(&alice, Some(&next_batch(&answer)), ""), &room), Some(json!([alice.id])));
}

#[test]
fn nobody_is_left_typing_by_a_restart() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    typing(&server, &alice, &room, json!({ "typing": true, "timeout": 60_000 })).ok();
    let since = next_batch(&server.sync(&bob, None, ""));
    let disk = server.disk.clone();
    drop(server);
    let server = TestServer::on(disk);
    // The first word on the room is news, though this run of the server never knew of Alice typing.
    typing(&server, &alice, &room, json!({ "typing": false })).ok();
    assert_eq!(told(&server.sync(&bob, Some(&since), ""), &room), Some(json!([])));
}
