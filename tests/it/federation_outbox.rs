//! What waits for servers that are away, when it is tried again, and what meeting again makes good.
use bytes::Bytes;
use serde_json::json;

use crate::{
    federation_network::{Link, Network, REQUEST_TIMEOUT_MS},
    federation_scene::Scene,
};

#[test]
fn what_was_said_while_a_server_was_away_arrives_in_order_when_it_returns() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    network.cut(&a, &b);
    let lines: Vec<String> = (0..120).map(|n| format!("line {n}")).collect();
    lines.iter().for_each(|line| drop(a.say(&alice, &room, line)));
    network.settle();
    assert_eq!(a.homeserver.outbox()[0].waiting, 120);
    assert!(a.homeserver.outbox()[0].error.is_some(), "the page can say why");
    network.take_carried();
    network.reconnect(&a, &b);
    assert!(b.said_in(&bob, &room).ends_with(&lines[60..]));
    assert!(a.homeserver.outbox().is_empty());
    let largest = network
        .take_carried()
        .iter()
        .filter(|carried| carried.path.contains("/send/"))
        .map(|carried| carried.body["pdus"].as_array().map_or(0, Vec::len))
        .max();
    assert_eq!(largest, Some(50), "no transaction is larger than the specification allows");
    assert_eq!(a.heads_of(&room), b.heads_of(&room));
}

#[test]
fn both_sides_write_while_apart_and_agree_when_together() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    network.cut(&a, &b);
    for n in 0..5 {
        a.say(&alice, &room, &format!("a{n}"));
        b.say(&bob, &room, &format!("b{n}"));
    }
    a.set_state(&alice, &room, "m.room.topic", "", json!({ "topic": "apart" }));
    assert_ne!(a.heads_of(&room), b.heads_of(&room), "they did diverge");
    network.reconnect(&a, &b);
    assert_eq!(a.heads_of(&room), b.heads_of(&room));
    assert_eq!(a.state_of(&room), b.state_of(&room));
    let sorted = |mut said: Vec<String>| {
        said.sort();
        said
    };
    assert_eq!(sorted(a.said_in(&alice, &room)), sorted(b.said_in(&bob, &room)));
    assert_eq!(a.said_in(&alice, &room).len(), 10);
}

#[test]
fn attempts_become_rarer_and_a_returning_server_is_tried_at_once() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    network.cut(&a, &b);
    network.take_carried();
    a.say(&alice, &room, "is anybody there?");
    network.settle();
    let attempts = |seconds: u64| {
        (0..seconds).for_each(|_| network.advance(1_000));
        network.take_carried().len()
    };
    let first_minute = attempts(60);
    assert!((4..=9).contains(&first_minute), "{first_minute} attempts in the first minute");
    attempts(3_600);
    let later = attempts(3_600);
    assert!((5..=13).contains(&later), "{later} attempts an hour in the end");
    assert!(b.said_in(&bob, &room).is_empty());
    assert!(a.homeserver.outbox()[0].retry_at_ms.is_some());
    network.link(a.server_name(), b.server_name(), Link::Up);
    network.settle();
    assert!(b.said_in(&bob, &room).is_empty(), "nobody has noticed yet");
    a.homeserver.peer_connected(b.server_name().to_owned());
    network.settle();
    assert_eq!(b.said_in(&bob, &room), ["is anybody there?"]);
}

#[test]
fn what_waits_survives_a_restart() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    network.cut(&a, &b);
    a.say(&alice, &room, "later");
    let a = network.restart(a);
    assert_eq!(a.homeserver.outbox()[0].waiting, 1);
    network.reconnect(&a, &b);
    assert_eq!(b.said_in(&bob, &room), ["later"]);
    assert!(a.homeserver.outbox().is_empty());
}

#[test]
fn an_answer_that_gets_lost_costs_a_repetition_and_nothing_twice() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    network.link_one_way(a.server_name(), b.server_name(), Link::Mute);
    a.say(&alice, &room, "heard and not confirmed");
    network.settle();
    assert_eq!(b.said_in(&bob, &room), ["heard and not confirmed"]);
    assert_eq!(a.homeserver.outbox()[0].waiting, 1);
    network.link_one_way(a.server_name(), b.server_name(), Link::Up);
    network.advance(REQUEST_TIMEOUT_MS);
    network.advance(2_000);
    assert!(a.homeserver.outbox().is_empty());
    assert_eq!(b.said_in(&bob, &room), ["heard and not confirmed"]);
}

#[test]
fn a_server_that_answers_garbage_loses_nothing_of_ours() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    for (status, body) in [(200, &b"<html>"[..]), (200, b"{\"pdus\": 5}"), (500, b"oops"), (429, b"{}"), (503, b"")] {
        network.link_one_way(a.server_name(), b.server_name(), Link::Says(status, Bytes::copy_from_slice(body)));
        a.say(&alice, &room, &format!("{status}"));
        network.settle();
        assert!(a.homeserver.outbox()[0].waiting >= 1, "{status}");
        network.advance(600_000);
    }
    network.reconnect(&a, &b);
    assert_eq!(b.said_in(&bob, &room).len(), 5);
}

#[test]
fn what_a_server_will_never_take_does_not_dam_up_the_rest_and_is_fetched_when_they_meet() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    let refusal = Bytes::from_static(br#"{"errcode":"M_BAD_JSON","error":"no"}"#);
    network.link_one_way(a.server_name(), b.server_name(), Link::For("/send/", Box::new(Link::Says(400, refusal))));
    a.say(&alice, &room, "refused");
    network.settle();
    assert!(a.homeserver.outbox().is_empty());
    assert!(b.said_in(&bob, &room).is_empty());
    network.reconnect(&a, &b);
    assert_eq!(b.said_in(&bob, &room), ["refused"], "their heads tell them");
}

#[test]
fn one_server_that_is_away_keeps_nothing_from_the_others() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let c = network.server();
    let carol = c.register("carol");
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    c.join_via(&carol, &room, a.server_name()).ok();
    network.link(a.server_name(), b.server_name(), Link::Stalling);
    network.link(c.server_name(), b.server_name(), Link::Stalling);
    a.say(&alice, &room, "to whom it may reach");
    network.settle();
    assert_eq!(c.said_in(&carol, &room), ["to whom it may reach"]);
}

#[test]
fn a_message_reaches_a_server_through_another_when_its_sender_cannot() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let c = network.server();
    let carol = c.register("carol");
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    c.join_via(&carol, &room, a.server_name()).ok();
    network.cut(&a, &c);
    a.say(&alice, &room, "around the corner");
    network.settle();
    assert!(c.said_in(&carol, &room).is_empty());
    // Bob's next word follows Alice's, so Carol's server asks Bob's for it.
    b.say(&bob, &room, "and mine");
    network.settle();
    assert_eq!(c.said_in(&carol, &room), ["around the corner", "and mine"]);
}

#[test]
fn a_transaction_is_repeated_under_its_own_name() {
    let scene = Scene::new();
    let (here, there) = (scene.server.server_name(), scene.peer.name());
    scene.network.take_carried();
    scene.network.link_one_way(here, there, Link::Says(502, Bytes::new()));
    scene.server.say(&scene.alice, &scene.room, "again and again");
    (0..5).for_each(|_| scene.network.advance(10_000));
    let paths: Vec<String> = scene.network.take_carried().into_iter().map(|carried| carried.path).collect();
    assert!(paths.len() > 2 && paths.iter().all(|path| *path == paths[0]), "{paths:?}");
}

#[test]
fn a_server_that_does_not_believe_our_signature_yet_gets_what_was_said_meanwhile() {
    let scene = Scene::new();
    scene.peer.says("PUT", "/send/", 401, json!({ "errcode": "M_UNAUTHORIZED", "error": "Who are you?" }));
    let said = scene.server.say(&scene.alice, &scene.room, "with a new key");
    scene.server.settle();
    assert_eq!(scene.server.homeserver.outbox()[0].waiting, 1);
    scene.peer.unlearn();
    scene.peer.take_heard();
    scene.network.advance(60_000);
    let heard = scene.peer.take_heard();
    assert!(
        heard.iter().any(|(path, body)| path.contains("/send/") && body.to_string().contains("with a new key")),
        "{said}"
    );
    assert!(scene.server.homeserver.outbox().is_empty());
}
