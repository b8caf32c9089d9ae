//! Rooms in which servers choose the ids of events (versions 1 and 2), and numbers are any numbers (up to 5).
use ruma::{OwnedEventId, RoomVersionId};
use serde_json::{Value, json};
use warren::domain::event::{
    Pdu,
    check::event_id_of,
    draft::{Draft, Position, seal},
    object::EventObject,
};

use crate::{
    federation_network::Network,
    federation_peer::{PeerRoom, value},
    federation_scene::Scene,
};

/// The next message of Eve's under an id of her choice, after and authorized by what she says.
fn named(scene: &mut Scene, id: &str, body: &str, prev_events: &[&str]) -> Pdu {
    let draft: Draft =
        scene.known.draft(&scene.eve, "m.room.message", None, json!({ "msgtype": "m.text", "body": body }));
    let mut position: Position = scene.known.position(&draft);
    if !prev_events.is_empty() {
        position.prev_events = prev_events.iter().map(|id| full(scene, id)).collect();
        position.hashes.extend(position.prev_events.iter().map(|id| (id.clone(), "any".to_owned())));
    }
    let id = full(scene, id);
    renamed(scene, &seal(draft, position, &scene.peer.identity, &scene.known.rules).unwrap(), &id)
}

fn full(scene: &Scene, id: &str) -> OwnedEventId {
    if id.contains(':') { id.try_into().unwrap() } else { format!("${id}:{}", scene.peer.name()).try_into().unwrap() }
}

fn renamed(scene: &Scene, pdu: &Pdu, id: &OwnedEventId) -> Pdu {
    let rules = &scene.known.rules;
    let mut object = EventObject::parse(pdu.json(), rules).unwrap();
    object.remove("signatures");
    object.set_text("event_id", id.as_str());
    object.hash_and_sign(&scene.peer.identity, rules).unwrap();
    Pdu::from_canonical(event_id_of(&object, rules).unwrap(), object.to_json(), rules).unwrap()
}

#[test]
fn who_came_first_keeps_the_id() {
    for version in [RoomVersionId::V1, RoomVersionId::V2] {
        let mut scene = Scene::of(version);
        let first = named(&mut scene, "same", "first", &[]);
        let second = named(&mut scene, "same", "second", &[]);
        assert_eq!(scene.send(&first), None);
        scene.send(&second);
        assert_eq!(scene.said(), ["first"]);
        let kept = scene.server.inspected_event(first.event_id.as_str()).unwrap().json;
        assert_eq!(kept, first.json());
        // And the room goes on from there.
        scene.server.say(&scene.alice, &scene.room, "on");
        assert_eq!(scene.said(), ["first", "on"]);
    }
}

#[test]
fn an_event_of_another_room_is_not_replaced_by_one_of_the_same_id() {
    for version in [RoomVersionId::V1, RoomVersionId::V2] {
        let mut scene = Scene::of(version.clone());
        let here = named(&mut scene, "same", "here", &[]);
        assert_eq!(scene.send(&here), None);
        let other = scene.server.create_room(&scene.alice, json!({ "preset": "public_chat", "room_version": version }));
        let eve = scene.eve.clone();
        let mut elsewhere = PeerRoom::join(&scene.peer, &scene.server, &other, &eve);
        std::mem::swap(&mut scene.known, &mut elsewhere);
        let there = named(&mut scene, "same", "there", &[]);
        scene.peer.send_pdu(&scene.server, &there);
        assert!(scene.server.said_in(&scene.alice, &other).is_empty());
        // Nor as what somebody else's event follows and has to be fetched for it.
        scene.peer.says("POST", "/get_missing_events/", 200, json!({ "events": [value(&there)] }));
        let after = named(&mut scene, "after", "after", &["same"]);
        scene.peer.send_pdu(&scene.server, &after);
        assert_eq!(scene.said(), ["here"], "the first room has lost nothing");
        let kept = scene.server.inspected_event(here.event_id.as_str()).unwrap().json;
        assert_eq!(kept, here.json());
        scene.server.say(&scene.alice, &other, "unharmed");
        assert_eq!(scene.server.said_in(&scene.alice, &other), ["unharmed"]);
    }
}

#[test]
fn events_that_follow_each_other_are_followed_by_nothing() {
    for version in [RoomVersionId::V1, RoomVersionId::V2] {
        let mut scene = Scene::of(version);
        let (one, two) = (named(&mut scene, "one", "one", &["two"]), named(&mut scene, "two", "two", &["one"]));
        let own = named(&mut scene, "own", "own", &["own"]);
        let circle = [value(&one), value(&two), value(&own)];
        scene.peer.says("POST", "/get_missing_events/", 200, json!({ "events": circle }));
        scene.peer.send(&scene.server, "circle", &circle, &[]).ok();
        assert!(scene.said().is_empty());
        // Authority that rests on itself is none either.
        let member = full(&scene, "member");
        let draft = scene.known.draft(
            &scene.eve.clone(),
            "m.room.member",
            Some(scene.eve.as_str()),
            json!({ "membership": "join" }),
        );
        let mut position = scene.known.position(&draft);
        let place = ("m.room.member".to_owned(), scene.eve.to_string());
        let honest = scene.known.state[&place].clone();
        position.auth_events.iter_mut().filter(|id| **id == honest).for_each(|id| *id = member.clone());
        position.hashes.insert(member.clone(), "any".to_owned());
        let circular =
            renamed(&scene, &seal(draft, position, &scene.peer.identity, &scene.known.rules).unwrap(), &member);
        scene.peer.on("GET", "/event/", move |_| {
            (200, json!({ "origin": "x", "origin_server_ts": 1, "pdus": [value(&circular)] }))
        });
        let mut resting = scene.known.clone();
        resting.state.insert(place, member);
        let resting = {
            let eve = scene.eve.clone();
            let draft = resting.draft(&eve, "m.room.message", None, json!({ "body": "x" }));
            let mut position = resting.position(&draft);
            position.hashes.extend(position.auth_events.clone().into_iter().map(|id| (id, "any".to_owned())));
            resting.seal(&scene.peer, draft, position)
        };
        scene.peer.send_pdu(&scene.server, &resting);
        assert!(scene.said().is_empty());
        let good = scene.message("members are still heard");
        assert_eq!(scene.send(&good), None);
        assert_eq!(scene.said(), ["members are still heard"]);
    }
}

#[test]
fn a_redaction_of_what_another_server_said_is_refused_before_version_3() {
    for (version, refused) in [("1", true), ("2", true), ("3", false)] {
        let mut scene = Scene::of(version.try_into().unwrap());
        let alices = scene.server.say(&scene.alice, &scene.room, "hers");
        let eve = scene.eve.clone();
        let draft = Draft {
            redacts: Some(alices.as_str().try_into().unwrap()),
            ..scene.known.draft(&eve, "m.room.redaction", None, json!({}))
        };
        let position = scene.known.position(&draft);
        let undo = scene.known.seal(&scene.peer, draft, position);
        assert_eq!(scene.send(&undo).is_some(), refused, "{version}");
        assert_eq!(scene.said(), ["hers"], "{version}");
    }
}

#[test]
fn a_room_goes_on_at_the_depth_beyond_which_there_is_none() {
    for version in [RoomVersionId::V1, RoomVersionId::V5, RoomVersionId::V6] {
        let (network, (a, alice), (b, bob)) = Network::pair();
        let peer = network.peer();
        let eve = peer.user("eve");
        let room = a.create_room(&alice, json!({ "preset": "public_chat", "room_version": version }));
        let mut known = PeerRoom::join(&peer, &a, &room, &eve);
        known.depth = i64::MAX as u64;
        let deep = known.say(&peer, &eve, "deep");
        assert_eq!(peer.send_pdu(&a, &deep), None);
        b.join_via(&bob, &room, a.server_name()).ok();
        b.say(&bob, &room, "as deep");
        network.settle();
        assert_eq!(a.said_in(&alice, &room), ["deep", "as deep"], "{version}");
        assert_eq!(a.heads_of(&room), b.heads_of(&room));
    }
}

#[test]
fn versions_that_know_no_knock_refuse_it() {
    for version in ["1", "6"] {
        let (_network, (a, alice), (b, bob)) = Network::pair();
        let rule = json!({ "type": "m.room.join_rules", "state_key": "", "content": { "join_rule": "knock" } });
        let room = a.create_room(&alice, json!({ "room_version": version, "initial_state": [rule] }));
        let path = format!("/_matrix/client/v3/knock/{}?via={}", crate::talk::escaped(&room), a.server_name());
        b.post(&path, &bob.token, json!({})).is_error(403, "M_FORBIDDEN");
        assert_eq!(a.membership(&room, &bob.id), None);
    }
}

#[test]
fn a_room_of_any_version_is_made_by_asking_for_it() {
    let server = crate::harness::TestServer::new();
    let alice = server.register("alice");
    for version in 1..=12 {
        let room = server.create_room(&alice, json!({ "room_version": version.to_string(), "name": "Den" }));
        let create = server.state_of(&room)[&("m.room.create".to_owned(), String::new())].clone();
        let json: Value = serde_json::from_str(&server.inspected_event(&create).unwrap().json).unwrap();
        assert_eq!(json["content"]["room_version"], version.to_string());
        assert_eq!(json["content"].get("creator").is_some(), version < 11);
    }
}
