//! Having a homeserver work: what one peer sends must not cost more than it weighs, and keep nobody else waiting.
use serde_json::{Value, json};
use warren::{
    api::Origin, domain::outbox::TRANSACTION_PDUS_MAX, homeserver::rooms::ingest::STAGED_PDUS_PER_SERVER_MAX,
};

use crate::{
    federation_network::Link,
    federation_peer::{PeerRoom, value},
    federation_scene::Scene,
    talk::next_txn,
};

/// More links than a chain may take rounds of resolution.
const CHAIN_EVENTS: usize = 3 * TRANSACTION_PDUS_MAX;

#[test]
fn a_long_chain_of_ones_own_memberships_is_walked_once_to_resolve_a_fork() {
    let mut scene = Scene::new();
    let member = |name: &str| json!({ "membership": "join", "displayname": name });
    let eve = scene.eve.clone();
    for n in 0..CHAIN_EVENTS / TRANSACTION_PDUS_MAX {
        let mut change = |k: usize| {
            let content = member(&format!("Eve {n}.{k}"));
            value(&scene.known.add(&scene.peer, &eve, "m.room.member", Some(eve.as_str()), content))
        };
        let changes: Vec<_> = (0..TRANSACTION_PDUS_MAX).map(&mut change).collect();
        let answer = scene.peer.send(&scene.server, &next_txn().to_string(), &changes, &[]).ok();
        assert!(answer["pdus"].as_object().unwrap().values().all(|outcome| outcome == &json!({})), "{answer}");
    }
    let [left, right] = ["left", "right"].map(|name| scene.event("m.room.member", Some(eve.as_str()), member(name)));
    assert_eq!([scene.send(&left), scene.send(&right)], [None, None]);
    assert_eq!(scene.server.heads_of(&scene.room).len(), 2);
    scene.server.say(&scene.alice, &scene.room, "we go on");
    assert_eq!(scene.said(), ["we go on"]);
}

#[test]
fn what_waits_is_not_looked_at_until_what_it_follows_has_come() {
    let mut scene = Scene::new();
    let other = scene.network.peer();
    let ivy = other.user("ivy");
    let mut ivys = PeerRoom::join(&other, &scene.server, &scene.room, &ivy);
    let mut cost = |scene: &Scene, text: &str| {
        let said = ivys.say(&other, &ivy, text);
        let before = scene.server.reads();
        assert_eq!(other.send_pdu(&scene.server, &said), None);
        scene.server.reads() - before
    };
    cost(&scene, "the first loads what stays loaded");
    let usual = cost(&scene, "nothing waits");
    let missing = scene.message("said last");
    let mut waiting = scene.known.clone();
    waiting.heads = vec![missing.event_id.clone()];
    let follower = waiting.make(&scene.peer, &scene.eve, "m.room.message", None, json!({ "body": "and then" }));
    assert_eq!(scene.send(&follower), None);
    for n in 1..STAGED_PDUS_PER_SERVER_MAX {
        waiting.heads = vec![format!("$unknown{n}").try_into().unwrap()];
        let event = waiting.make(&scene.peer, &scene.eve, "m.room.message", None, json!({ "body": "x".repeat(1_000) }));
        assert_eq!(scene.send(&event), None);
    }
    assert_eq!(scene.staged(), STAGED_PDUS_PER_SERVER_MAX);
    cost(&scene, "whether anything waits is asked anew");
    assert_eq!(cost(&scene, "much waits"), usual);
    assert_eq!(scene.send(&missing), None);
    assert_eq!(scene.said()[4..], ["said last", "and then"]);
    assert_eq!(scene.staged(), STAGED_PDUS_PER_SERVER_MAX - 1);
}

#[test]
fn gaps_of_one_server_are_filled_one_transaction_at_a_time() {
    let mut scene = Scene::new();
    let (here, there) = (scene.server.server_name().to_owned(), scene.peer.name().to_owned());
    scene.network.link_one_way(&here, &there, Link::Mute);
    let sending: Vec<_> = (0..5)
        .map(|n| {
            scene.known.heads = vec![format!("$unknown{n}").try_into().unwrap()];
            let event = scene.message("after a gap");
            let body = json!({ "origin": there, "origin_server_ts": 1, "pdus": [value(&event)], "edus": [] });
            let request = scene.peer.request(&here, "PUT", &format!("/_matrix/federation/v1/send/gap{n}"), &body);
            scene.server.queue_as(Origin::Peer(scene.peer.key()), request)
        })
        .collect();
    scene.server.settle();
    let asked = scene.peer.take_heard();
    assert_eq!(asked.iter().filter(|(path, _): &&(String, Value)| path.contains("get_missing_events")).count(), 1);
    // Each comes to an end, whatever becomes of the others.
    for _ in 0..200 {
        scene.network.advance(crate::federation_network::REQUEST_TIMEOUT_MS);
    }
    assert!(sending.iter().all(|answer| answer.take().is_some()));
    assert_eq!(scene.staged(), 5);
}
