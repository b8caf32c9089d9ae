//! Events signed as they should be and meant to do harm: with ids, authority, order, depth and time that are lies.
use std::rc::Rc;

use ruma::{CanonicalJsonObject, OwnedUserId, RoomVersionId, signatures::hash_and_sign_event};
use serde_json::{Value, json};
use warren::{
    domain::{
        event::{Pdu, draft},
        identity::Identity,
        room::extremities::DEPTH_MAX,
    },
    storage::tables::StoredVerdict,
};

use crate::{
    federation_network::Network,
    federation_peer::{PeerRoom, object, value},
    federation_scene::Scene,
    talk::next_txn,
};

/// The object as an event of Eve's server, hashed and signed as it is.
fn signed(scene: &Scene, mut event: CanonicalJsonObject) -> Value {
    event.retain(|field, _| field != "signatures" && field != "hashes");
    let (name, keys) = (scene.peer.name().as_str(), scene.peer.identity.key_pair());
    hash_and_sign_event(name, keys, &mut event, &scene.known.rules.redaction).unwrap();
    serde_json::to_value(&event).unwrap()
}

/// The errors of a transaction's answer.
fn errors(answer: &Value) -> Vec<&str> {
    answer["pdus"].as_object().unwrap().values().filter_map(|outcome| outcome["error"].as_str()).collect()
}

fn send_all(scene: &Scene, pdus: &[Value]) -> Value {
    scene.peer.send(&scene.server, &next_txn().to_string(), pdus, &[]).ok()
}

#[test]
fn an_event_that_claims_anothers_id_is_itself() {
    let mut scene = Scene::new();
    let said = scene.server.say(&scene.alice, &scene.room, "what Alice said");
    let mut impostor = object(value(&scene.message("what Eve says")));
    impostor.insert("event_id".to_owned(), said.clone().into());
    let answer = send_all(&scene, &[signed(&scene, impostor)]);
    assert!(errors(&answer).is_empty() && answer["pdus"].get(&said).is_none(), "{answer}");
    assert_eq!(scene.said(), ["what Alice said", "what Eve says"]);
}

#[test]
fn an_event_signed_with_a_key_that_is_not_its_servers_is_nobodys() {
    let mut scene = Scene::new();
    let eve = scene.eve.clone();
    let draft = scene.known.draft(&eve, "m.room.message", None, json!({ "body": "signed with a new key" }));
    let position = scene.known.position(&draft);
    let usurper = Identity::named([9; 32], scene.peer.name().to_owned());
    let rotated = draft::seal(draft, position, &usurper, &scene.known.rules).unwrap();
    assert!(scene.send(&rotated).unwrap().contains("signature"));
    // The right key by a name that the server's name does not certify.
    let mut renamed = value(&scene.message("signed by another name of the key"));
    let signatures = renamed["signatures"][scene.peer.name().as_str()].as_object_mut().unwrap();
    let signature = signatures.remove("ed25519:self").unwrap();
    signatures.insert("ed25519:2".to_owned(), signature);
    let answer = send_all(&scene, &[renamed]);
    assert!(matches!(errors(&answer)[..], [error] if error.contains("signature")), "{answer}");
    assert!(scene.said().is_empty());
}

#[test]
fn an_invite_whose_excuse_is_redacted_away_is_nobodys() {
    let mut scene = Scene::of(RoomVersionId::V10);
    let (alice, mallory): (OwnedUserId, _) = (scene.alice.id.as_str().try_into().unwrap(), scene.peer.user("mallory"));
    let excuse = json!({ "display_name": "x", "signed": { "mxid": mallory, "token": "t", "signatures": {} } });
    let content = json!({ "membership": "invite", "third_party_invite": excuse });
    let forged = scene.known.make(&scene.peer, &alice, "m.room.member", Some(mallory.as_str()), content);
    let mut altered = value(&forged);
    altered["content"]["reason"] = json!("so that the hash is wrong and redaction leaves a plain invite");
    let answer = send_all(&scene, &[altered]);
    assert!(matches!(errors(&answer)[..], [error] if error.contains("signature")), "{answer}");
    assert_eq!(scene.server.membership(&scene.room, mallory.as_str()), None);
    // Whole, it needs no signature, and the rules ask for the invite it claims to redeem.
    assert!(scene.send(&forged).unwrap().starts_with("rejected"));
    assert_eq!(scene.server.membership(&scene.room, mallory.as_str()), None);
}

#[test]
fn an_event_nested_too_deeply_is_dropped_and_the_others_are_not() {
    let mut scene = Scene::new();
    let good = scene.message("good");
    let mut nested = object(value(&good));
    let deep = (0..105).fold(json!({}), |inner, _| json!({ "a": inner }));
    nested.insert("content".to_owned(), object(deep).into());
    let answer = send_all(&scene, &[signed(&scene, nested), value(&good)]);
    assert!(matches!(errors(&answer)[..], [error] if error.contains("nested")), "{answer}");
    assert_eq!(scene.said(), ["good"]);
}

#[test]
fn what_cites_no_authority_is_rejected() {
    let mut scene = Scene::new();
    let draft = scene.known.draft(&scene.eve, "m.room.message", None, json!({ "body": "by nobody's leave" }));
    let mut position = scene.known.position(&draft);
    let membership = &scene.known.state[&("m.room.member".to_owned(), scene.eve.to_string())];
    position.auth_events.retain(|id| id != membership);
    let event = scene.known.seal(&scene.peer, draft, position);
    assert!(scene.send(&event).unwrap().starts_with("rejected"));
    assert!(scene.said().is_empty());
}

#[test]
fn power_that_was_taken_away_is_not_borrowed_from_the_past() {
    let mut scene = Scene::new();
    let levels = |users: Value| json!({ "users": users, "state_default": 50 });
    let set = |content| scene.server.set_state(&scene.alice, &scene.room, "m.room.power_levels", "", content);
    let given = set(levels(json!({ scene.eve.as_str(): 50 })));
    set(levels(json!({})));
    let draft = scene.known.draft(&scene.eve, "m.room.topic", Some(""), json!({ "topic": "mine again" }));
    let mut position = scene.known.position(&draft);
    position.prev_events =
        scene.server.heads_of(&scene.room).iter().map(|id| id.as_str().try_into().unwrap()).collect();
    let membership = scene.known.state[&("m.room.member".to_owned(), scene.eve.to_string())].clone();
    position.auth_events = vec![given.as_str().try_into().unwrap(), membership];
    let topic = scene.known.seal(&scene.peer, draft, position);
    let refusal = scene.send(&topic);
    assert!(refusal.as_ref().is_some_and(|refusal| refusal.starts_with("rejected")), "{refusal:?}");
    let verdict = scene.server.inspected_event(topic.event_id.as_str()).unwrap().verdict;
    assert_eq!(verdict, StoredVerdict::Rejected, "not only out of date: it was never allowed");
}

#[test]
fn a_second_beginning_of_a_room_changes_nothing() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let bob = server.register("bob");
    let mole = peer.user("mole");
    let mut room = PeerRoom::create(&peer, &mole, &RoomVersionId::V11);
    // The creator gives all power away.
    let users = json!({ "users": { bob.id.as_str(): 100 } });
    let honest = room.clone();
    room.add(&peer, &mole, "m.room.power_levels", Some(""), users);
    room.lets_in(&peer, &bob.id);
    server.join_via(&bob, &room.id, peer.name()).ok();
    let before = server.state_of(&room.id);
    // And begins the room anew, under the same id, with all power in its hands.
    let mut again = honest.rebuilt(&peer, &mole);
    let ban = again.make(&peer, &mole, "m.room.member", Some(&bob.id), json!({ "membership": "ban" }));
    let beginning: Vec<Rc<Pdu>> = again.events.values().cloned().collect();
    let mut merging = again.clone();
    merging.heads = again
        .heads
        .iter()
        .cloned()
        .chain(server.heads_of(&room.id).iter().map(|id| id.as_str().try_into().unwrap()))
        .collect();
    let merged = merging.make(&peer, &mole, "m.room.message", None, json!({ "body": "two rooms in one" }));
    let (peer, ids) = (peer.clone(), again.state.values().cloned().collect::<Vec<_>>());
    for event in &beginning {
        let answer = json!({ "origin": peer.name(), "origin_server_ts": 1, "pdus": [value(event)] });
        peer.says("GET", event.event_id.as_str().trim_start_matches('$'), 200, answer);
    }
    peer.says("GET", "/state_ids/", 200, json!({ "pdu_ids": ids, "auth_chain_ids": ids }));
    let all: Vec<Value> = beginning.iter().chain([&ban, &merged]).map(|event| value(event)).collect();
    peer.send(&server, "again", &all, &[]).ok();
    for event in [&ban, &merged] {
        peer.send_pdu(&server, event);
    }
    assert_eq!(server.state_of(&room.id), before);
    assert_eq!(server.membership(&room.id, &bob.id).as_deref(), Some("join"));
    server.say(&bob, &room.id, "still the same room");
}

#[test]
fn an_event_as_deep_as_numbers_go_stops_nobody() {
    let mut scene = Scene::new();
    let draft = scene.known.draft(&scene.eve, "m.room.message", None, json!({ "msgtype": "m.text", "body": "deep" }));
    let position = draft::Position { depth: DEPTH_MAX, ..scene.known.position(&draft) };
    let deep = scene.known.seal(&scene.peer, draft, position);
    assert_eq!(scene.send(&deep), None);
    scene.server.say(&scene.alice, &scene.room, "deeper");
    scene.server.say(&scene.alice, &scene.room, "and deeper");
    assert_eq!(scene.said(), ["deep", "deeper", "and deeper"]);
}

#[test]
fn an_event_from_the_end_of_time_moves_nothing() {
    let mut scene = Scene::new();
    for (text, ms) in [("from the end of time", DEPTH_MAX), ("from its beginning", 0)] {
        let content = json!({ "msgtype": "m.text", "body": text });
        let draft = scene.known.draft(&scene.eve, "m.room.message", None, content);
        let time = ruma::MilliSecondsSinceUnixEpoch(ms.try_into().unwrap());
        let position = draft::Position { origin_server_ts: time, ..scene.known.position(&draft) };
        let event = scene.known.seal(&scene.peer, draft, position);
        assert_eq!(scene.send(&event), None);
        scene.known.push(&event);
    }
    let said = scene.server.say(&scene.alice, &scene.room, "today");
    assert_eq!(scene.said(), ["from the end of time", "from its beginning", "today"]);
    let told = scene.server.told_of(&scene.alice, &scene.room)["timeline"]["events"].clone();
    let future = told.as_array().unwrap().iter().find(|event| event["origin_server_ts"] == DEPTH_MAX).unwrap();
    assert_eq!(future["unsigned"]["age"], 0);
    let ours = scene.server.event(&scene.alice, &scene.room, &said)["origin_server_ts"].as_u64().unwrap();
    assert!(
        ours.abs_diff(warren::ports::Clock::now_ms(&*scene.server.clock)) < 60_000,
        "our own clock goes on: {ours}"
    );
}

#[test]
fn a_redaction_reaches_no_other_room() {
    let mut scene = Scene::new();
    let elsewhere = scene.server.public_room(&scene.alice);
    let said = scene.server.say(&scene.alice, &elsewhere, "in another room");
    let levels = json!({ "users": { scene.eve.as_str(): 100 } });
    scene.server.set_state(&scene.alice, &scene.room, "m.room.power_levels", "", levels);
    let heads = scene.server.heads_of(&scene.room);
    scene.known.heads = heads.iter().map(|id| id.as_str().try_into().unwrap()).collect();
    let draft = draft::Draft {
        redacts: Some(said.as_str().try_into().unwrap()),
        ..scene.known.draft(&scene.eve, "m.room.redaction", None, json!({}))
    };
    let mut position = scene.known.position(&draft);
    let levels = scene.server.state_of(&scene.room)[&("m.room.power_levels".to_owned(), String::new())].clone();
    let stale = &scene.known.state[&("m.room.power_levels".to_owned(), String::new())];
    position.auth_events.retain(|id| id != stale);
    position.auth_events.push(levels.as_str().try_into().unwrap());
    let redaction = scene.known.seal(&scene.peer, draft, position);
    assert_eq!(scene.send(&redaction), None);
    assert_eq!(scene.server.event(&scene.alice, &elsewhere, &said)["content"]["body"], "in another room");
}

#[test]
fn a_rule_that_quotes_who_broke_it_is_told_briefly() {
    let mut scene = Scene::new();
    let mut event = object(value(&scene.message("x")));
    event.insert("depth".to_owned(), "deep\n".repeat(10_000).into());
    let answer = send_all(&scene, &[signed(&scene, event)]);
    let errors = errors(&answer);
    assert!(matches!(errors[..], [error] if error.chars().count() <= 300 && !error.contains('\n')), "{errors:?}");
}

#[test]
fn an_event_of_no_shape_is_dropped() {
    let mut scene = Scene::new();
    let base = object(value(&scene.message("base")));
    let many = |count: usize| json!((0..count).map(|n| format!("$event{n}")).collect::<Vec<_>>());
    for (field, wrong) in [
        ("prev_events", many(21)),
        ("auth_events", many(11)),
        ("type", json!("x".repeat(300))),
        ("state_key", json!("x".repeat(300))),
    ] {
        let mut event = base.clone();
        event.insert(field.to_owned(), object(json!({ "v": wrong }))["v"].clone());
        let answer = send_all(&scene, &[signed(&scene, event)]);
        assert!(matches!(errors(&answer)[..], [error] if error.contains("malformed")), "{field}: {answer}");
    }
    assert_eq!((scene.said().len(), scene.staged()), (0, 0));
}
