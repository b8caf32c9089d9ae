//! Servers that lie about what came before: states, chains without end, and pasts that are not the room's.
use std::{cell::Cell, collections::BTreeMap, rc::Rc};

use ruma::{OwnedEventId, RoomVersionId};
use serde_json::{Value, json};
use warren::domain::event::{Pdu, draft::Position};

use crate::{
    federation_network::Network,
    federation_peer::{Peer, PeerRoom, value},
    federation_scene::Scene,
};

const MISSING: &str = "/get_missing_events/";

fn id(text: &str) -> OwnedEventId {
    text.try_into().unwrap()
}

/// Has the peer give these events, one by one.
fn offers<'a>(peer: &Peer, events: impl IntoIterator<Item = &'a Rc<Pdu>>) {
    let answer = |event: &Rc<Pdu>| json!({ "origin": peer.name(), "origin_server_ts": 1, "pdus": [value(event)] });
    let answers: BTreeMap<String, Value> =
        events.into_iter().map(|event| (event.event_id.as_str()[1..].to_owned(), answer(event))).collect();
    peer.on("GET", "/event/", move |request| {
        let asked = request.uri().path().rsplit('/').next().unwrap().trim_start_matches("%24").trim_start_matches('$');
        answers
            .get(asked)
            .map_or((404, json!({ "errcode": "M_NOT_FOUND", "error": "no" })), |answer| (200, answer.clone()))
    });
}

/// How often the peer was asked for what this is part of the path of.
fn asked(peer: &Peer, part: &str) -> usize {
    peer.take_heard().iter().filter(|(path, _)| path.contains(part)).count()
}

#[test]
fn a_state_that_is_told_replaces_nothing_that_is_known() {
    for version in [RoomVersionId::V11, RoomVersionId::V12] {
        let mut scene = Scene::of(version);
        let draft = scene.event("m.room.message", None, json!({ "msgtype": "m.text", "body": "nothing to see here" }));
        let draft = scene.known.draft(&scene.eve, "m.room.message", None, value(&draft)["content"].clone());
        let mut position = scene.known.position(&draft);
        // It follows what everybody has and what nobody has, so its server is asked for the state before it: a room with
        // nobody in it but Eve, and no power levels.
        position.prev_events.push(id("$nobody_has_this"));
        let event = scene.known.seal(&scene.peer, draft, position);
        let kept = |key: &(String, String)| key.0 == "m.room.create" || key.1 == scene.eve.as_str();
        let told: Vec<_> = scene.known.state.iter().filter(|(key, _)| kept(key)).map(|(_, id)| id).collect();
        assert_eq!(told.len(), 2);
        scene.peer.says("GET", "/state_ids/", 200, json!({ "pdu_ids": told, "auth_chain_ids": told }));
        let before = scene.server.state_of(&scene.room);
        scene.send(&event);
        assert!(asked(&scene.peer, "/state_ids/") > 0);
        assert_eq!(scene.server.state_of(&scene.room), before);
        assert_eq!(scene.server.membership(&scene.room, &scene.alice.id).as_deref(), Some("join"));
        scene.server.say(&scene.alice, &scene.room, "I am still here");
    }
}

#[test]
fn an_auth_chain_without_end_is_left() {
    let mut scene = Scene::new();
    let mut chain: Vec<Rc<Pdu>> = Vec::new();
    for n in 0..600 {
        let below = chain.last().map_or(id("$bottom"), |event| event.event_id.clone());
        let draft = scene.known.draft(
            &scene.eve,
            "m.room.member",
            Some(scene.eve.as_str()),
            json!({ "membership": "join", "n": n }),
        );
        let position = Position { auth_events: vec![below], ..scene.known.position(&draft) };
        chain.push(scene.known.seal(&scene.peer, draft, position));
    }
    offers(&scene.peer, &chain);
    let draft = scene.known.draft(&scene.eve, "m.room.message", None, json!({ "body": "on top of a tower" }));
    let position = Position { auth_events: vec![chain[599].event_id.clone()], ..scene.known.position(&draft) };
    let top = scene.known.seal(&scene.peer, draft, position);
    scene.send(&top);
    let asked = asked(&scene.peer, "/event/");
    assert!((400..=500).contains(&asked), "{asked}");
    let good = scene.message("on the ground");
    assert_eq!(scene.send(&good), None);
    assert_eq!(scene.said(), ["on the ground"]);
}

#[test]
fn a_past_without_end_is_left() {
    let scene = Scene::new();
    let mut far = scene.known.clone();
    far.heads = vec![id("$bottom")];
    let chain: Vec<Rc<Pdu>> = (0..40).map(|n| far.say(&scene.peer, &scene.eve, &format!("{n}"))).collect();
    let before: BTreeMap<String, Value> =
        chain.windows(2).map(|pair| (pair[1].event_id.to_string(), value(&pair[0]))).collect();
    // One further event at a time.
    scene.peer.on("POST", MISSING, move |request| {
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        let events: Vec<&Value> = body["latest_events"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|id| before.get(id.as_str().unwrap()))
            .collect();
        (200, json!({ "events": events }))
    });
    scene.send(&chain[39]);
    let rounds = asked(&scene.peer, MISSING);
    assert!((10..=20).contains(&rounds), "{rounds}");
    assert!(scene.said().is_empty());
    scene.server.say(&scene.alice, &scene.room, "back to the present");
    assert_eq!(scene.said(), ["back to the present"]);
}

#[test]
fn ever_more_edges_cost_a_few_questions() {
    let mut scene = Scene::new();
    let draft = scene.known.draft(&scene.eve, "m.room.message", None, json!({ "body": "after everything" }));
    let mut position = scene.known.position(&draft);
    position.prev_events = (0..20).map(|n| id(&format!("$edge{n}"))).collect();
    let event = scene.known.seal(&scene.peer, draft, position);
    scene.send(&event);
    let asked = asked(&scene.peer, "/event/");
    assert!((1..=5).contains(&asked), "{asked}");
}

#[test]
fn a_state_too_large_is_not_fetched() {
    let mut scene = Scene::new();
    let (one, two) = (scene.message("one"), scene.message("two"));
    scene.known.push(&one);
    let far = scene.message("far");
    offers(&scene.peer, [&one, &two]);
    let ids: Vec<String> = (0..100_001).map(|n| format!("$x{n}")).collect();
    scene.peer.says("GET", "/state_ids/", 200, json!({ "pdu_ids": ids, "auth_chain_ids": [] }));
    scene.peer.says("POST", MISSING, 404, json!({ "errcode": "M_NOT_FOUND", "error": "no" }));
    scene.send(&far);
    let heard = scene.peer.take_heard();
    assert!(heard.iter().any(|(path, _)| path.contains("/state_ids/")));
    assert!(heard.iter().all(|(path, _)| !path.contains("/v1/state/")));
    scene.server.say(&scene.alice, &scene.room, "business as usual");
}

#[test]
fn an_event_of_another_room_is_no_past_of_this_one() {
    let scene = Scene::new();
    let mut elsewhere = PeerRoom::create(&scene.peer, &scene.eve, &RoomVersionId::V12);
    let lost = elsewhere.say(&scene.peer, &scene.eve, "said elsewhere");
    let mut known = scene.known.clone();
    known.heads.push(lost.event_id.clone());
    let bridge = known.make(
        &scene.peer,
        &scene.eve,
        "m.room.message",
        None,
        json!({ "msgtype": "m.text", "body": "said here" }),
    );
    offers(&scene.peer, [&lost]);
    let state: Vec<_> = scene.known.state.values().collect();
    scene.peer.says("GET", "/state_ids/", 200, json!({ "pdu_ids": state, "auth_chain_ids": state }));
    scene.send(&bridge);
    assert!(scene.server.inspected_event(lost.event_id.as_str()).is_none());
    assert_eq!(scene.said(), ["said here"]);
}

#[test]
fn a_past_whose_depths_lie_is_shown_whole_and_in_order() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let bob = server.register("bob");
    let mole = peer.user("mole");
    let mut room = PeerRoom::create(&peer, &mole, &RoomVersionId::V12);
    let said: Vec<Rc<Pdu>> = [(90, "one"), (50, "two"), (20, "three")]
        .map(|(depth, text)| {
            room.depth = depth;
            room.say(&peer, &mole, text)
        })
        .into();
    room.lets_in(&peer, &bob.id);
    server.join_via(&bob, &room.id, peer.name()).ok();
    let state: Vec<_> = room.state.values().collect();
    peer.says("GET", "/state_ids/", 200, json!({ "pdu_ids": state, "auth_chain_ids": state }));
    // Told once, and never again.
    let pdus: Vec<Value> = said.iter().rev().map(|pdu| value(pdu)).collect();
    let (pdus, name) = (Cell::new(pdus), peer.name().to_owned());
    peer.on("GET", "/backfill/", move |_| (200, json!({ "origin": name, "origin_server_ts": 1, "pdus": pdus.take() })));
    assert_eq!(server.said_in(&bob, &room.id), ["one", "two", "three"]);
}

#[test]
fn another_event_than_the_one_asked_for_is_not_taken() {
    let mut scene = Scene::new();
    let other = scene.message("not what was asked for");
    let hidden = scene.message("hidden");
    scene.known.push(&hidden);
    let far = scene.message("far");
    let answer = json!({ "origin": scene.peer.name(), "origin_server_ts": 1, "pdus": [value(&other)] });
    scene.peer.says("GET", "/event/", 200, answer);
    let state: Vec<_> = scene.known.state.values().collect();
    scene.peer.says("GET", "/state_ids/", 200, json!({ "pdu_ids": state, "auth_chain_ids": state }));
    scene.send(&far);
    assert!(scene.server.inspected_event(other.event_id.as_str()).is_none());
}

#[test]
fn a_lie_about_the_state_has_nobodys_event_rejected_for_good() {
    let mut scene = Scene::new();
    let other = scene.network.peer();
    let ivy = other.user("ivy");
    let mut ivys = PeerRoom::join(&other, &scene.server, &scene.room, &ivy);
    let [one, two] = ["one", "two"].map(|text| ivys.say(&other, &ivy, text));
    // Eve's server has what comes before Eve's event, and says that Ivy was not there: as it was when Eve came.
    scene.peer.says("GET", "/event/", 200, json!({ "pdus": [value(&two)], "origin": "x", "origin_server_ts": 1 }));
    let without_ivy: Vec<_> = scene.known.state.values().collect();
    let told = json!({ "pdu_ids": without_ivy, "auth_chain_ids": without_ivy });
    scene.peer.says("GET", "/state_ids/", 200, told);
    scene.known.heads = vec![two.event_id.clone()];
    scene.known.depth = two.depth;
    let said = scene.message("after two");
    assert_eq!(scene.send(&said), None);
    assert_eq!(scene.staged(), 2, "what was told is believed of nobody, and nothing is known yet");
    scene.peer.unlearn();
    assert_eq!([other.send_pdu(&scene.server, &one), other.send_pdu(&scene.server, &two)], [None, None]);
    assert_eq!(scene.said(), ["one", "two", "after two"]);
    assert_eq!(scene.staged(), 0);
}
