//! `/timestamp_to_event`: the event closest to a time, here and over federation.
use serde_json::{Value, json};

use crate::{
    federation_network::{Link, Network},
    federation_scene::Scene,
    harness::{Answer, TestServer, TestUser},
    talk::escaped,
};

const MINUTE_MS: u64 = 60_000;

/// Messages a minute apart: their ids and times.
fn say_by_the_minute(server: &TestServer, user: &TestUser, room: &str, count: usize) -> Vec<(String, u64)> {
    (0..count)
        .map(|n| {
            server.clock.advance(MINUTE_MS);
            let event = server.say(user, room, &n.to_string());
            let time = server.event(user, room, &event)["origin_server_ts"].as_u64().unwrap();
            (event, time)
        })
        .collect()
}

fn at(server: &TestServer, user: &TestUser, room: &str, dir: &str, time: u64) -> Answer {
    let path = format!("/_matrix/client/v1/rooms/{}/timestamp_to_event?dir={dir}&ts={time}", escaped(room));
    server.get(&path, &user.token)
}

fn event_at(server: &TestServer, user: &TestUser, room: &str, dir: &str, time: u64) -> String {
    at(server, user, room, dir, time).ok()["event_id"].as_str().unwrap().to_owned()
}

#[test]
fn the_closest_event_on_either_side_is_found() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let room = server.public_room(&alice);
    let said = say_by_the_minute(&server, &alice, &room, 300);
    for n in [1, 2, 57, 150, 222, 298] {
        let (event, time) = &said[n];
        assert_eq!(event_at(&server, &alice, &room, "f", *time), *event, "{n}");
        assert_eq!(event_at(&server, &alice, &room, "b", *time), *event, "{n}");
        assert_eq!(event_at(&server, &alice, &room, "f", time - 1), *event, "{n}");
        assert_eq!(event_at(&server, &alice, &room, "b", time - 1), said[n - 1].0, "{n}");
        assert_eq!(event_at(&server, &alice, &room, "f", time + 1), said[n + 1].0, "{n}");
    }
    let found = at(&server, &alice, &room, "b", said[299].1 + MINUTE_MS).ok();
    assert_eq!(found, json!({ "event_id": said[299].0, "origin_server_ts": said[299].1 }));
    at(&server, &alice, &room, "f", said[299].1 + 1).is_error(404, "M_NOT_FOUND");
    at(&server, &alice, &room, "b", 1).is_error(404, "M_NOT_FOUND");
    // What leads there.
    let path = format!("/_matrix/client/v3/rooms/{}/context/{}", escaped(&room), escaped(&said[57].0));
    server.get(&path, &alice.token).ok();
}

#[test]
fn what_the_user_may_not_see_is_not_found() {
    let server = TestServer::new();
    let (alice, bob, carol) = (server.register("alice"), server.register("bob"), server.register("carol"));
    let state = json!([{ "type": "m.room.history_visibility", "content": { "history_visibility": "joined" } }]);
    let room = server.create_room(&alice, json!({ "preset": "public_chat", "initial_state": state }));
    let before = say_by_the_minute(&server, &alice, &room, 150);
    server.clock.advance(MINUTE_MS);
    server.join(&bob, &room);
    let after = say_by_the_minute(&server, &alice, &room, 3);
    let found = event_at(&server, &bob, &room, "f", before[0].1);
    assert!(before.iter().all(|(event, _)| *event != found), "of what Bob may not see");
    assert_eq!(event_at(&server, &bob, &room, "f", after[0].1 - 1), after[0].0);
    at(&server, &carol, &room, "f", 1).is_error(403, "M_FORBIDDEN");
    at(&server, &carol, "!nowhere:x.alt", "f", 1).is_error(403, "M_FORBIDDEN");
}

#[test]
fn malformed_times_are_refused() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let room = server.public_room(&alice);
    let ask = |query: &str| {
        let path = format!("/_matrix/client/v1/rooms/{}/timestamp_to_event?{query}", escaped(&room));
        server.get(&path, &alice.token)
    };
    for query in ["", "dir=f", "ts=1", "ts=x&dir=f", "ts=-1&dir=f", "ts=1&dir=x", "ts=99999999999999999&dir=f"] {
        let answer = ask(query);
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        assert!(["M_INVALID_PARAM", "M_MISSING_PARAM"].contains(&answer.errcode()), "{query}: {}", answer.body);
    }
    ask("ts=0&dir=f&unknown=1").ok();
    ask("ts=9007199254740991&dir=b").ok();
}

#[test]
fn servers_of_the_room_may_ask() {
    let scene = Scene::new();
    let said = say_by_the_minute(&scene.server, &scene.alice, &scene.room, 5);
    let ask = |dir: &str, time: u64| {
        let path = format!("/_matrix/federation/v1/timestamp_to_event/{}?dir={dir}&ts={time}", scene.room);
        scene.peer.ask(&scene.server, "GET", &path, Value::Null)
    };
    assert_eq!(ask("f", said[2].1 - 1).ok(), json!({ "event_id": said[2].0, "origin_server_ts": said[2].1 }));
    assert_eq!(ask("b", said[2].1 - 1).ok()["event_id"], json!(said[1].0));
    ask("f", said[4].1 + 1).is_error(404, "M_NOT_FOUND");
    let stranger = scene.network.peer();
    let path = format!("/_matrix/federation/v1/timestamp_to_event/{}?dir=f&ts=1", scene.room);
    stranger.ask(&scene.server, "GET", &path, Value::Null).is_error(403, "M_FORBIDDEN");
}

#[test]
fn other_servers_are_asked_where_history_is_missing() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    let old = say_by_the_minute(&a, &alice, &room, 120);
    network.advance(MINUTE_MS);
    b.join_via(&bob, &room, a.server_name()).ok();
    let new = say_by_the_minute(&a, &alice, &room, 3);
    network.settle();
    network.take_carried();
    assert_eq!(event_at(&b, &bob, &room, "f", new[1].1), new[1].0);
    let asked = |carried: &[crate::federation_network::Carried]| {
        carried.iter().filter(|request| request.path.contains("timestamp_to_event")).count()
    };
    assert_eq!(asked(&network.take_carried()), 0, "nothing can be closer");
    // With nobody to ask, the closest of what is here.
    network.link(a.server_name(), b.server_name(), Link::Down);
    assert_ne!(event_at(&b, &bob, &room, "f", old[40].1), old[40].0);
    network.link(a.server_name(), b.server_name(), Link::Up);
    network.take_carried();
    assert_eq!(event_at(&b, &bob, &room, "f", old[40].1), old[40].0);
    assert_eq!(asked(&network.take_carried()), 1);
    let path = format!("/_matrix/client/v3/rooms/{}/context/{}", escaped(&room), escaped(&old[40].0));
    assert_eq!(b.get(&path, &bob.token).ok()["event"]["content"]["body"], "40");
    // What is said by a server that does not keep to the question is not believed.
    let wrong = json!({ "event_id": "$wrong", "origin_server_ts": 1 }).to_string();
    network.link_one_way(
        b.server_name(),
        a.server_name(),
        Link::For("timestamp_to_event", Box::new(Link::Says(200, wrong.into()))),
    );
    assert_ne!(event_at(&b, &bob, &room, "f", 5), "$wrong");
}
