//! What servers tell each other of a room's past, and what a newcomer gets to see of it.
use bytes::Bytes;
use ruma::RoomVersionId;
use serde_json::{Value, json};
use warren::domain::{
    event::{Pdu, object::EventObject},
    room_version::SUPPORTED,
};

use crate::{
    federation_network::{Link, Network},
    federation_peer::{Peer, PeerRoom, value},
    federation_scene::Scene,
    harness::{TestServer, TestUser},
    talk::{ids, texts},
};

fn say_many(server: &TestServer, user: &TestUser, room: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| server.say(user, room, &format!("line {n}"))).collect()
}

/// Every text a user gets to see by scrolling back page by page, oldest first.
fn scrolled(server: &TestServer, user: &TestUser, room: &str, page: usize) -> Vec<String> {
    let mut said = Vec::new();
    let mut from = String::new();
    for _ in 0..100 {
        let answer = server.messages(user, room, &format!("dir=b&limit={page}{from}"));
        said.extend(texts(&answer["chunk"]));
        match answer["end"].as_str() {
            Some(end) => from = format!("&from={end}"),
            None => break,
        }
    }
    said.reverse();
    said
}

#[test]
fn a_newcomer_scrolls_back_to_the_beginning() {
    for version in SUPPORTED {
        let (_network, (a, alice), (b, bob)) = Network::pair();
        let room = a.create_room(&alice, json!({ "preset": "public_chat", "room_version": version }));
        say_many(&a, &alice, &room, 30);
        a.set_state(&alice, &room, "m.room.topic", "", json!({ "topic": "old times" }));
        say_many(&a, &alice, &room, 5);
        b.join_via(&bob, &room, a.server_name()).ok();
        a.say(&alice, &room, "now");
        b.settle();
        assert_eq!(scrolled(&b, &bob, &room, 7), a.said_in(&alice, &room), "{version}");
        assert_eq!(a.state_of(&room), b.state_of(&room), "the past changes nothing of the present");
        assert_eq!(a.heads_of(&room), b.heads_of(&room));
    }
}

#[test]
fn a_room_whose_past_nobody_gives_works_and_heals() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    say_many(&a, &alice, &room, 5);
    let refusal = Link::Says(404, Bytes::from_static(br#"{ "errcode": "M_NOT_FOUND", "error": "what past?" }"#));
    b.join_via(&bob, &room, a.server_name()).ok();
    for (n, trouble) in
        [refusal.clone(), Link::Down, Link::Says(200, Bytes::from_static(b"{}"))].into_iter().enumerate()
    {
        let no_past = Link::For("/backfill/", Box::new(trouble));
        network.link_one_way(b.server_name(), a.server_name(), no_past);
        let page = b.messages(&bob, &room, "dir=b&limit=50");
        assert!(texts(&page["chunk"]).iter().all(|text| !text.starts_with("line")), "{n}");
        assert!(page["end"].is_string(), "there is more, if only it could be had");
        a.say(&alice, &room, &format!("still here {n}"));
        b.say(&bob, &room, &format!("so am I {n}"));
        network.settle();
        assert!(b.said_in(&bob, &room).contains(&format!("still here {n}")));
        assert!(a.said_in(&alice, &room).contains(&format!("so am I {n}")));
        assert_eq!(a.state_of(&room), b.state_of(&room));
    }
    network.link(a.server_name(), b.server_name(), Link::Up);
    assert_eq!(scrolled(&b, &bob, &room, 4), a.said_in(&alice, &room));
    assert_eq!(a.heads_of(&room), b.heads_of(&room));
}

#[test]
fn a_newcomer_sees_no_more_than_the_room_shows() {
    for (visibility, expected) in [
        ("joined", vec!["for later"]),
        ("invited", vec!["for later"]),
        ("shared", vec!["secret", "for later"]),
        ("world_readable", vec!["secret", "for later"]),
    ] {
        let (_network, (a, alice), (b, bob)) = Network::pair();
        let state = json!([{ "type": "m.room.history_visibility", "content": { "history_visibility": visibility } }]);
        let room = a.create_room(&alice, json!({ "preset": "public_chat", "initial_state": state }));
        let secret = a.say(&alice, &room, "secret");
        b.join_via(&bob, &room, a.server_name()).ok();
        a.say(&alice, &room, "for later");
        b.settle();
        assert_eq!(scrolled(&b, &bob, &room, 10), expected, "{visibility}");
        // What is not shown is not even handed over.
        let json = b.inspected_event(&secret).map(|event| event.json).unwrap_or_default();
        assert_eq!(json.contains("secret"), expected.len() == 2, "{visibility}: {json}");
    }
}

#[test]
fn who_left_sees_nothing_of_what_came_after() {
    let (_network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    b.try_leave(&bob, &room).ok();
    a.say(&alice, &room, "without Bob");
    assert!(scrolled(&b, &bob, &room, 10).is_empty());
}

#[test]
fn events_between_two_points_are_told_oldest_first_and_no_more_than_asked_for() {
    let scene = Scene::new();
    let said = say_many(&scene.server, &scene.alice, &scene.room, 130);
    let path = format!("/_matrix/federation/v1/get_missing_events/{}", scene.room);
    let ask = |body: Value| {
        let answer = scene.peer.ask(&scene.server, "POST", &path, body).ok();
        let parsed: Vec<String> = answer["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| scene.known.parse(event).event_id.to_string())
            .collect();
        parsed
    };
    let between = |limit: usize| json!({ "earliest_events": [said[3]], "latest_events": [said[10]], "limit": limit });
    assert_eq!(ask(between(20)), said[4..10]);
    assert_eq!(ask(between(3)), said[7..10], "the latest of them");
    assert_eq!(ask(json!({ "earliest_events": [said[3]], "latest_events": [said[10]] })).len(), 6, "ten by default");
    assert_eq!(ask(json!({ "earliest_events": [], "latest_events": [said[129]], "limit": 1_000_000 })).len(), 100);
    let depth = value(
        &scene.known.parse(
            &scene
                .peer
                .ask(&scene.server, "GET", &format!("/_matrix/federation/v1/event/{}", said[8]), Value::Null)
                .ok()["pdus"][0],
        ),
    )["depth"]
        .clone();
    let above = json!({ "earliest_events": [said[3]], "latest_events": [said[10]], "limit": 20, "min_depth": depth });
    assert_eq!(ask(above), said[8..10]);
    let nothing: Vec<String> = (0..20_000).map(|n| format!("$nothing{n}")).collect();
    let reads = scene.server.reads();
    assert!(ask(json!({ "earliest_events": nothing, "latest_events": nothing, "limit": 10 })).is_empty());
    assert!(scene.server.reads() - reads < 50, "what nobody has costs little to look for");
}

#[test]
fn an_event_is_told_as_it_was_signed() {
    let scene = Scene::new();
    let said = scene.server.say(&scene.alice, &scene.room, "to the letter");
    let ask = |event: &str| {
        scene.peer.ask(&scene.server, "GET", &format!("/_matrix/federation/v1/event/{event}"), Value::Null)
    };
    let answer = ask(&said).ok();
    assert_eq!(answer["origin"], json!(scene.server.server_name()));
    assert!(answer["origin_server_ts"].is_u64());
    let [event] = &answer["pdus"].as_array().unwrap()[..] else { panic!("one event: {answer}") };
    assert_eq!(scene.known.parse(event).event_id.as_str(), said);
    assert_eq!((&event["content"]["body"], event.get("event_id")), (&json!("to the letter"), None));
    assert!(event["signatures"].get(scene.server.server_name().as_str()).is_some());
    ask("$nothing").is_error(404, "M_NOT_FOUND");
    ask("nonsense").is_error(400, "M_INVALID_PARAM");
}

#[test]
fn backfill_is_told_newest_first_and_no_more_than_asked_for() {
    let scene = Scene::new();
    let said = say_many(&scene.server, &scene.alice, &scene.room, 120);
    let ask = |query: &str| {
        let path = format!("/_matrix/federation/v1/backfill/{}?{query}", scene.room);
        let answer = scene.peer.ask(&scene.server, "GET", &path, Value::Null).ok();
        let parsed: Vec<String> = answer["pdus"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| scene.known.parse(event).event_id.to_string())
            .collect();
        parsed
    };
    let mut expected = said[6..=10].to_vec();
    expected.reverse();
    assert_eq!(ask(&format!("v={}&limit=5", said[10])), expected);
    assert_eq!(ask(&format!("v={}&limit=100000", said[119])).len(), 100);
    assert!(ask("v=$nothing&limit=5").is_empty());
    assert!(ask(&format!("v={}&limit=0", said[10])).is_empty());
}

#[test]
fn the_state_before_an_event_is_told_with_what_it_rests_on() {
    let scene = Scene::new();
    let first = scene.server.set_state(&scene.alice, &scene.room, "m.room.topic", "", json!({ "topic": "one" }));
    let said = scene.server.say(&scene.alice, &scene.room, "under one");
    scene.server.set_state(&scene.alice, &scene.room, "m.room.topic", "", json!({ "topic": "two" }));
    let ask = |what: &str| {
        let path = format!("/_matrix/federation/v1/{what}/{}?event_id={said}", scene.room);
        scene.peer.ask(&scene.server, "GET", &path, Value::Null).ok()
    };
    let state_ids = ask("state_ids");
    assert!(state_ids["pdu_ids"].as_array().unwrap().contains(&json!(first)));
    let create = format!("${}", scene.room.trim_start_matches('!'));
    assert!(state_ids["auth_chain_ids"].as_array().unwrap().contains(&json!(create)), "though nobody cites it");
    let state = ask("state");
    let topics: Vec<&Value> =
        state["pdus"].as_array().unwrap().iter().filter(|event| event["type"] == "m.room.topic").collect();
    assert!(matches!(topics[..], [topic] if topic["content"]["topic"] == "one"));
    assert_eq!(state["pdus"].as_array().unwrap().len(), state_ids["pdu_ids"].as_array().unwrap().len());
}

#[test]
fn a_server_that_backfills_lies_adds_nothing_to_the_past() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let bob = server.register("bob");
    let mole = peer.user("mole");
    let mut room = PeerRoom::create(&peer, &mole, &RoomVersionId::V12);
    let said = room.say(&peer, &mole, "true words");
    room.lets_in(&peer, &bob.id);
    server.join_via(&bob, &room.id, peer.name()).ok();
    let answer = |pdus: Vec<Value>| json!({ "origin": peer.name(), "origin_server_ts": 1, "pdus": pdus });
    // Words that belong nowhere near what was asked for, and words nobody signed.
    let mut branch = room.clone();
    branch.heads = vec!["$nowhere".try_into().unwrap()];
    let unasked = branch.say(&peer, &mole, "by the way");
    let mut forged = value(&said);
    forged["sender"] = json!(bob.id);
    let far_too_many: Vec<Value> = (0..300).map(|n| json!({ "n": n })).collect();
    for pdus in [vec![], vec![json!(5), json!({})], far_too_many, vec![value(&unasked)], vec![forged]] {
        peer.says("GET", "/backfill/", 200, answer(pdus));
        assert!(server.said_in(&bob, &room.id).is_empty());
    }
    peer.says("GET", "/backfill/", 200, json!({ "pdus": "none" }));
    assert!(server.said_in(&bob, &room.id).is_empty());
    assert!(server.inspected_event(unasked.event_id.as_str()).is_none());
    // The truth is still welcome.
    peer.says("GET", "/backfill/", 200, answer(vec![value(&said), value(&unasked)]));
    let state: Vec<_> = room.state.values().collect();
    peer.says("GET", "/state_ids/", 200, json!({ "pdu_ids": state, "auth_chain_ids": state }));
    assert_eq!(server.said_in(&bob, &room.id), ["true words"]);
}

/// An event that follows more events than one may today.
fn with_many_prevs(room: &mut PeerRoom, peer: &Peer, said: &Pdu) -> Pdu {
    let mut event = said.canonical_object();
    let prevs = said.prev_events.iter().map(|id| id.to_string()).chain((0..30).map(|n| format!("${n:043}")));
    event.insert("prev_events".to_owned(), json!(prevs.collect::<Vec<_>>()).try_into().unwrap());
    ["hashes", "signatures"].into_iter().for_each(|field| drop(event.remove(field)));
    let mut event = EventObject::from(event);
    event.hash_and_sign(&peer.identity, &room.rules).unwrap();
    let pdu = room.parse(&serde_json::from_str(&event.to_json()).unwrap());
    room.push(&pdu.clone().into());
    pdu
}

#[test]
fn what_is_filled_in_is_not_held_to_the_limits_of_what_is_sent() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let bob = server.register("bob");
    let mole = peer.user("mole");
    let mut room = PeerRoom::create(&peer, &mole, &RoomVersionId::V11);
    let said = room.clone().say(&peer, &mole, "of old");
    let said = with_many_prevs(&mut room, &peer, &said);
    room.lets_in(&peer, &bob.id);
    server.join_via(&bob, &room.id, peer.name()).ok();
    let answer = json!({ "origin": peer.name(), "origin_server_ts": 1, "pdus": [value(&said)] });
    peer.says("GET", "/backfill/", 200, answer);
    let state: Vec<_> = room.state.values().collect();
    peer.says("GET", "/state_ids/", 200, json!({ "pdu_ids": state, "auth_chain_ids": state }));
    assert_eq!(server.said_in(&bob, &room.id), ["of old"]);
    // Who sends one today is told that it is none.
    let next = room.clone().say(&peer, &mole, "of today");
    let next = with_many_prevs(&mut room, &peer, &next);
    let refused = peer.send(&server, "many", &[value(&next)], &[]).ok();
    assert!(refused["pdus"][next.event_id.as_str()]["error"].is_string(), "{refused}");
    assert_eq!(server.said_in(&bob, &room.id), ["of old"]);
}

#[test]
fn a_timeline_of_two_servers_is_told_to_a_third() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let c = network.server();
    let carol = c.register("carol");
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    for n in 0..6 {
        a.say(&alice, &room, &format!("a{n}"));
        b.say(&bob, &room, &format!("b{n}"));
        network.settle();
    }
    c.join_via(&carol, &room, b.server_name()).ok();
    let mut expected = a.said_in(&alice, &room);
    let mut seen = scrolled(&c, &carol, &room, 4);
    expected.sort();
    seen.sort();
    assert_eq!(seen, expected);
    let told = c.messages(&carol, &room, "dir=b&limit=100");
    let unique: std::collections::BTreeSet<_> = ids(&told["chunk"]).into_iter().collect();
    assert_eq!(unique.len(), ids(&told["chunk"]).len(), "nothing twice");
}
