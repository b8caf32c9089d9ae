//! Events that build on what we do not have, pushed by a server that helps, refuses, stalls, or lies.
use std::{cell::Cell, rc::Rc};

use bytes::Bytes;
use serde_json::{Value, json};
use warren::domain::event::Pdu;

use crate::{
    federation_network::{Link, Network, REQUEST_TIMEOUT_MS},
    federation_peer::{Peer, PeerRoom, value},
    federation_scene::Scene,
};

const MISSING: &str = "/get_missing_events/";

/// Three messages of Eve's, each on top of the other; only the last will be sent.
fn chain(scene: &mut Scene) -> [Rc<Pdu>; 3] {
    ["one", "two", "three"].map(|text| {
        let pdu = scene.message(text);
        scene.known.push(&pdu);
        pdu
    })
}

fn events(pdus: &[Rc<Pdu>]) -> Value {
    json!({ "events": pdus.iter().map(|pdu| value(pdu)).collect::<Vec<_>>() })
}

/// Has Eve's server answer for single events.
fn offers(scene: &Scene, pdus: &[Rc<Pdu>]) {
    for pdu in pdus {
        offers_as(&scene.peer, pdu, pdu);
    }
}

/// Has a peer answer with `pdu` when it is asked for the event `asked`.
fn offers_as(peer: &Peer, asked: &Pdu, pdu: &Pdu) {
    let answer = json!({ "origin": peer.name(), "origin_server_ts": 1, "pdus": [value(pdu)] });
    // Whether the sigil is escaped is the asker's business.
    peer.says("GET", asked.event_id.as_str().trim_start_matches('$'), 200, answer);
}

#[test]
fn what_is_missing_is_fetched_from_the_sender() {
    let mut scene = Scene::new();
    let [one, two, three] = chain(&mut scene);
    scene.peer.says("POST", MISSING, 200, events(&[one, two]));
    assert_eq!(scene.send(&three), None);
    assert_eq!(scene.said(), ["one", "two", "three"]);
    assert_eq!(scene.staged(), 0);
}

#[test]
fn what_cannot_be_fetched_is_kept_until_it_can() {
    let mut scene = Scene::new();
    let [one, two, three] = chain(&mut scene);
    assert_eq!(scene.send(&three), None, "kept is taken");
    assert!(scene.said().is_empty());
    assert_eq!(scene.staged(), 1);
    // What it follows arrives by itself, in whatever order.
    assert_eq!(scene.send(&two), None);
    assert_eq!(scene.staged(), 2);
    assert_eq!(scene.send(&one), None);
    assert_eq!(scene.said(), ["one", "two", "three"]);
    assert_eq!(scene.staged(), 0);
}

#[test]
fn what_was_kept_is_fetched_when_the_sender_returns() {
    let mut scene = Scene::new();
    let [one, two, three] = chain(&mut scene);
    scene.send(&three);
    let server = scene.network.restart(scene.server);
    assert_eq!(server.staged_of(&scene.room).len(), 1, "kept over a restart");
    scene.peer.says("POST", MISSING, 200, events(&[one, two]));
    server.homeserver.peer_connected(scene.peer.name().to_owned());
    server.settle();
    assert_eq!(server.said_in(&scene.alice, &scene.room), ["one", "two", "three"]);
    assert_eq!(server.staged_of(&scene.room).len(), 0);
}

#[test]
fn nobody_makes_us_drop_what_we_keep() {
    let mut scene = Scene::new();
    let [one, two, three] = chain(&mut scene);
    scene.send(&three);
    let reads = scene.server.reads();
    for _ in 0..100 {
        scene.server.homeserver.peer_connected(scene.peer.name().to_owned());
        scene.server.settle();
    }
    assert_eq!(scene.staged(), 1, "however often somebody has us try");
    assert!(scene.server.reads() - reads < 100 * 50, "each trial costs little");
    scene.peer.says("POST", MISSING, 200, events(&[one, two]));
    scene.server.homeserver.peer_connected(scene.peer.name().to_owned());
    scene.server.settle();
    assert_eq!(scene.said(), ["one", "two", "three"]);
}

#[test]
fn what_never_becomes_whole_is_dropped_in_time() {
    let mut scene = Scene::new();
    let [_, _, three] = chain(&mut scene);
    scene.send(&three);
    scene.network.advance(warren::homeserver::rooms::ingest::STAGED_PDU_KEPT_MS + 1);
    scene.server.homeserver.peer_connected(scene.peer.name().to_owned());
    scene.server.settle();
    assert_eq!(scene.staged(), 0);
}

#[test]
fn a_sender_that_answers_nonsense_gets_its_event_kept_and_nothing_else() {
    let long: Vec<Value> = (0..500).map(|n| json!({ "n": n })).collect();
    for answer in [
        json!({}),
        json!({ "events": "all" }),
        json!({ "events": [] }),
        json!({ "events": [null, 1, "x", {}] }),
        json!({ "events": long }),
        json!([]),
    ] {
        let mut scene = Scene::new();
        let [_, _, three] = chain(&mut scene);
        scene.peer.says("POST", MISSING, 200, answer.clone());
        assert_eq!(scene.send(&three), None, "{answer}");
        assert_eq!((scene.said().len(), scene.staged()), (0, 1), "{answer}");
        assert!(scene.peer.take_heard().len() < 10, "asked a few times at most");
    }
}

#[test]
fn a_sender_that_stalls_holds_up_nobody_else() {
    let mut scene = Scene::new();
    let bob = scene.server.register("bob");
    let [_, two, three] = chain(&mut scene);
    let other = scene.network.peer();
    let mut elsewhere = PeerRoom::join(&other, &scene.server, &scene.room, &other.user("ivy"));
    let (here, there) = (scene.server.server_name(), scene.peer.name());
    scene.network.link_one_way(here, there, Link::Stalling);
    let body = json!({ "origin": there, "origin_server_ts": 1, "pdus": [value(&three)], "edus": [] });
    let sending = scene.peer.request(here, "PUT", "/_matrix/federation/v1/send/s", &body);
    let stalled = scene.server.queue_as(warren::api::Origin::Peer(scene.peer.key()), sending);
    scene.server.settle();
    assert!(stalled.take().is_none(), "waiting for an answer that does not come");
    scene.server.join(&bob, &scene.room);
    scene.server.say(&scene.alice, &scene.room, "business as usual");
    let said = elsewhere.say(&other, &other.user("ivy"), "for others too");
    assert_eq!(other.send_pdu(&scene.server, &said), None);
    assert_eq!(scene.said(), ["business as usual", "for others too"]);
    scene.network.advance(REQUEST_TIMEOUT_MS);
    while stalled.take().is_none() {
        scene.network.advance(REQUEST_TIMEOUT_MS);
    }
    assert_eq!(scene.staged(), 1);
    scene.network.link_one_way(here, there, Link::Up);
    assert_eq!(scene.send(&two), None);
}

#[test]
fn a_sender_that_never_ends_is_left_alone_in_the_end() {
    let mut scene = Scene::new();
    let latest = scene.message("the latest");
    // Each answer names a predecessor that nobody has ever seen, and the next answer has that one.
    let known = std::cell::RefCell::new(scene.known.clone());
    let (peer, eve) = (scene.peer.clone(), scene.eve.clone());
    let answered = Rc::new(Cell::new(0));
    let counter = answered.clone();
    let mut first = scene.known.clone();
    first.heads = vec!["$unknown".try_into().unwrap()];
    let latest = first.make(&scene.peer, &scene.eve, "m.room.message", None, json!({ "body": latest.event_id }));
    scene.peer.on("POST", MISSING, move |request| {
        counter.set(counter.get() + 1);
        let asked: Value = serde_json::from_slice(request.body()).unwrap();
        let mut known = known.borrow_mut();
        known.heads = vec![format!("$further{}", counter.get()).try_into().unwrap()];
        let noise = known.make(&peer, &eve, "m.room.message", None, json!({ "asked": asked["latest_events"] }));
        (200, json!({ "events": [value(&noise)] }))
    });
    assert_eq!(scene.send(&latest), None);
    assert!(answered.get() <= 21, "asked {} times", answered.get());
    assert_eq!(scene.staged(), 1, "what was not asked for is not even kept");
    assert!(scene.said().is_empty());
}

#[test]
fn events_that_were_not_asked_for_are_not_taken() {
    let mut scene = Scene::new();
    let [one, two, three] = chain(&mut scene);
    // A branch of the room that has nothing to do with what was sent.
    let mut branch = scene.known.clone();
    branch.heads = one.prev_events.clone();
    let unasked = branch.say(&scene.peer, &scene.eve, "by the way");
    scene.peer.says("POST", MISSING, 200, events(&[unasked.clone(), one, two]));
    assert_eq!(scene.send(&three), None);
    assert_eq!(scene.said(), ["one", "two", "three"]);
    assert!(scene.server.inspected_event(unasked.event_id.as_str()).is_none());
}

#[test]
fn an_event_far_ahead_is_placed_by_the_state_its_sender_tells() {
    let mut scene = Scene::new();
    let [_, two, three] = chain(&mut scene);
    offers(&scene, std::slice::from_ref(&two));
    let state: Vec<_> = scene.known.state.values().collect();
    let ids = json!({ "pdu_ids": state, "auth_chain_ids": state });
    scene.peer.says("GET", "/state_ids/", 200, ids);
    assert_eq!(scene.send(&three), None);
    assert_eq!(scene.said(), ["two", "three"], "what lies between may be scrolled to");
    assert_eq!(scene.staged(), 0);
}

#[test]
fn a_state_that_is_a_lie_changes_nothing() {
    let mut scene = Scene::new();
    let [_, two, three] = chain(&mut scene);
    offers(&scene, &[two]);
    // Eve's server says the room's power is hers, by an event that the rules refuse.
    let levels = json!({ "users": { scene.eve.as_str(): 100 } });
    let coup = scene.event("m.room.power_levels", Some(""), levels);
    let mut state = scene.known.state.clone();
    state.insert(("m.room.power_levels".to_owned(), String::new()), coup.event_id.clone());
    offers(&scene, std::slice::from_ref(&coup));
    let ids: Vec<_> = state.values().collect();
    scene.peer.says("GET", "/state_ids/", 200, json!({ "pdu_ids": ids, "auth_chain_ids": ids }));
    let before = scene.server.state_of(&scene.room);
    scene.send(&three);
    let mut known = scene.known.clone();
    known.heads = vec![three.event_id.clone()];
    let banned =
        known.make(&scene.peer, &scene.eve, "m.room.member", Some(&scene.alice.id), json!({ "membership": "ban" }));
    scene.send(&banned);
    assert_eq!(scene.server.state_of(&scene.room), before);
    assert_eq!(scene.server.membership(&scene.room, &scene.alice.id).as_deref(), Some("join"));
}

#[test]
fn a_state_answer_that_makes_no_sense_is_not_believed() {
    let answers: [fn(&Scene) -> Value; 5] = [
        |_| json!({ "pdu_ids": 5, "auth_chain_ids": [] }),
        |_| json!({ "pdu_ids": ["$nothing1", "$nothing2"], "auth_chain_ids": ["$nothing3"] }),
        |_| json!({ "pdu_ids": [], "auth_chain_ids": [] }),
        // One place twice.
        |scene| {
            let ids: Vec<_> = scene.known.state.values().collect();
            json!({ "pdu_ids": ([ids.clone(), ids].concat()), "auth_chain_ids": [] })
        },
        |_| json!({ "pdu_ids": ((0..1_000).map(|n| format!("$nothing{n}")).collect::<Vec<_>>()), "auth_chain_ids": [] }),
    ];
    for answer in answers {
        let mut scene = Scene::new();
        let [_, two, three] = chain(&mut scene);
        offers(&scene, &[two]);
        let answer = answer(&scene);
        scene.peer.says("GET", "/state_ids/", 200, answer.clone());
        let before = scene.server.state_of(&scene.room);
        scene.send(&three);
        assert_eq!(scene.server.state_of(&scene.room), before, "{answer}");
        assert!(scene.peer.take_heard().len() < 50, "{answer}");
        scene.server.say(&scene.alice, &scene.room, "still working");
        assert!(scene.said().ends_with(&["still working".to_owned()]));
    }
}

#[test]
fn an_event_that_cites_what_nobody_has_waits() {
    let mut scene = Scene::new();
    let draft = scene.known.draft(&scene.eve, "m.room.message", None, json!({ "body": "x" }));
    let mut position = scene.known.position(&draft);
    position.auth_events.push("$fata_morgana".try_into().unwrap());
    let event = scene.known.seal(&scene.peer, draft, position);
    assert_eq!(scene.send(&event), None);
    assert_eq!((scene.said().len(), scene.staged()), (0, 1));
    let heard = scene.peer.take_heard();
    assert_eq!(heard.iter().filter(|(path, _)| path.contains("fata_morgana")).count(), 1, "asked for once");
}

#[test]
fn authority_that_was_refused_before_gives_none() {
    let scene = Scene::new();
    // A membership that the rules refuse: somebody banned says they joined.
    let (peer, server) = (scene.network.peer(), &scene.server);
    let ivy = peer.user("ivy");
    server.act(&scene.alice, &scene.room, "ban", ivy.as_str()).ok();
    let mut known = scene.known.clone();
    known.heads = server.heads_of(&scene.room).iter().map(|id| id.as_str().try_into().unwrap()).collect();
    let join = known.make(&peer, &ivy, "m.room.member", Some(ivy.as_str()), json!({ "membership": "join" }));
    known.push(&join);
    let said = known.say(&peer, &ivy, "I am in");
    offers_as(&peer, &join, &join);
    peer.says("POST", MISSING, 200, events(&[join]));
    peer.send_pdu(server, &said);
    assert!(scene.said().is_empty());
    assert_eq!(scene.server.membership(&scene.room, ivy.as_str()).as_deref(), Some("ban"));
}

#[test]
fn an_answer_with_another_event_than_asked_for_is_not_taken() {
    let mut scene = Scene::new();
    let [_, two, three] = chain(&mut scene);
    let other = scene.message("another");
    offers_as(&scene.peer, &two, &other);
    scene.send(&three);
    assert!(scene.server.inspected_event(other.event_id.as_str()).is_none());
    assert_eq!((scene.said().len(), scene.staged()), (0, 1));
}

#[test]
fn garbage_instead_of_http_answers_is_survived() {
    let mut scene = Scene::new();
    let [_, _, three] = chain(&mut scene);
    let (here, there) = (scene.server.server_name(), scene.peer.name());
    for (status, body) in [(200, &b"\x00\xff"[..]), (200, b""), (500, b"<html>"), (302, b"{}"), (200, b"[[[[")] {
        scene.network.link_one_way(here, there, Link::Says(status, Bytes::copy_from_slice(body)));
        scene.send(&three);
        assert_eq!((scene.said().len(), scene.staged()), (0, 1));
    }
}

#[test]
fn heads_nobody_has_cost_a_question_each_and_no_more() {
    let scene = Scene::new();
    let heads: Vec<_> = (0..1_000).map(|n| format!("$head{n}")).collect();
    let edu = json!({ "edu_type": "org.warren.heads", "content": { "rooms": { &scene.room: heads } } });
    scene.peer.send(&scene.server, "h", &[], &vec![edu; 100]).ok();
    let asked = scene.peer.take_heard().iter().filter(|(path, _)| path.contains("/event/")).count();
    assert!((1..=40).contains(&asked), "{asked}");
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    network.take_carried();
    network.reconnect(&a, &b);
    assert!(network.take_carried().len() <= 2, "who agrees has nothing to ask");
}
