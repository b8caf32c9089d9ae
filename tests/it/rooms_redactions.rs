//! Redactions: what they take away is gone, whichever of the two events comes first, and only for who may.
use serde_json::{Value, json};
use warren::domain::{event::draft::Draft, room_version::SUPPORTED};

use crate::{
    federation_network::Network,
    federation_peer::{Peer, PeerRoom, value},
    federation_scene::Scene,
    harness::TestServer,
    talk::{escaped, next_txn},
};

/// The content of an event as it is stored.
fn content(server: &TestServer, event: &str) -> Value {
    let json = server.inspected_event(event).expect("it is there").json;
    serde_json::from_str::<Value>(&json).unwrap()["content"].clone()
}

/// A redaction on top of the room, by a user of the peer.
fn redaction(
    known: &mut PeerRoom,
    peer: &Peer,
    sender: &ruma::UserId,
    target: &str,
) -> std::rc::Rc<warren::domain::event::Pdu> {
    let sender = sender.to_owned();
    let draft = Draft {
        redacts: Some(target.try_into().unwrap()),
        ..known.draft(&sender, "m.room.redaction", None, json!({}))
    };
    let position = known.position(&draft);
    known.seal(peer, draft, position)
}

#[test]
fn a_redacted_message_is_gone_on_every_server() {
    for version in SUPPORTED {
        let (network, (a, alice), (b, bob)) = Network::pair();
        let room = a.create_room(&alice, json!({ "preset": "public_chat", "room_version": version }));
        b.join_via(&bob, &room, a.server_name()).ok();
        let said = b.say(&bob, &room, "oops");
        network.settle();
        assert_eq!(content(&a, &said)["body"], "oops");
        b.redact(&bob, &room, &said);
        network.settle();
        for server in [&a, &b] {
            assert_eq!(content(server, &said), json!({}), "{version}");
        }
        let seen = a.messages(&alice, &room, "dir=b&limit=10");
        let event = seen["chunk"].as_array().unwrap().iter().find(|event| event["event_id"] == said.as_str()).unwrap();
        assert_eq!(event["content"], json!({}));
        assert_eq!(event["unsigned"]["redacted_because"]["type"], "m.room.redaction");
        // Moderators take away what others said; others do not.
        let said = b.say(&bob, &room, "worse");
        let alices = a.say(&alice, &room, "mine");
        network.settle();
        a.redact(&alice, &room, &said);
        network.settle();
        assert_eq!(content(&b, &said), json!({}));
        let path = format!("/_matrix/client/v3/rooms/{room}/redact/{}/{}", escaped(&alices), next_txn());
        b.put(&path, &bob.token, json!({})).is_error(403, "M_FORBIDDEN");
    }
}

#[test]
fn a_redaction_sent_as_an_event_is_held_to_the_same_rules() {
    for version in SUPPORTED {
        let server = TestServer::new();
        let (alice, bob) = (server.register("alice"), server.register("bob"));
        let room = server.create_room(&alice, json!({ "preset": "public_chat", "room_version": version }));
        server.join(&bob, &room);
        let (alices, bobs) = (server.say(&alice, &room, "a"), server.say(&bob, &room, "b"));
        let send = |body: Value| {
            let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.redaction/{}", next_txn());
            server.put(&path, &bob.token, body)
        };
        send(json!({ "redacts": alices })).is_error(403, "M_FORBIDDEN");
        assert_eq!(content(&server, &alices)["body"], "a", "{version}");
        send(json!({})).is_error(400, "M_MISSING_PARAM");
        send(json!({ "redacts": 5 })).is_error(400, "M_INVALID_PARAM");
        let sent = send(json!({ "redacts": bobs, "reason": "typo" })).ok();
        assert_eq!(content(&server, &bobs), json!({}), "{version}");
        let json = server.inspected_event(sent["event_id"].as_str().unwrap()).unwrap().json;
        let event: Value = serde_json::from_str(&json).unwrap();
        let beside = !version.rules().unwrap().redaction.content_field_redacts;
        assert_eq!(event.get("redacts").is_some(), beside, "{version}");
        assert_eq!(event["content"].get("redacts").is_some(), !beside, "{version}");
    }
}

#[test]
fn a_redaction_that_comes_first_waits_for_its_target() {
    for restart in [false, true] {
        let mut scene = Scene::new();
        let said = scene.message("never mind");
        let mut known = scene.known.clone();
        // Beside the message, not after it, so that it can arrive first.
        let undo = redaction(&mut known, &scene.peer, &scene.eve, said.event_id.as_str());
        assert_eq!(scene.send(&undo), None);
        let server = if restart { scene.network.restart(scene.server) } else { scene.server };
        assert_eq!(scene.peer.send_pdu(&server, &said), None);
        assert_eq!(content(&server, said.event_id.as_str()), json!({}));
        assert!(server.said_in(&scene.alice, &scene.room).is_empty());
    }
}

#[test]
fn a_redaction_and_its_target_in_one_transaction_come_to_the_same() {
    let mut scene = Scene::new();
    let said = scene.message("never mind");
    let mut known = scene.known.clone();
    let undo = redaction(&mut known, &scene.peer, &scene.eve, said.event_id.as_str());
    for (n, pdus) in [[value(&undo), value(&said)], [value(&said), value(&undo)]].into_iter().enumerate() {
        scene.peer.send(&scene.server, &format!("r{n}"), &pdus, &[]).ok();
        assert_eq!(content(&scene.server, said.event_id.as_str()), json!({}));
    }
}

#[test]
fn who_may_not_redact_keeps_nobody_from_it_who_may() {
    let mut scene = Scene::new();
    let other = scene.network.peer();
    let ivy = other.user("ivy");
    let mut ivys = PeerRoom::join(&other, &scene.server, &scene.room, &ivy);
    scene.known.heads = ivys.heads.clone();
    scene.known.depth = ivys.depth;
    let said = scene.message("never mind");
    let id = said.event_id.as_str();
    // Eve takes her words back; Ivy, who may not, says the same before and after.
    let mut eves = scene.known.clone();
    for attempt in [
        redaction(&mut ivys, &other, &ivy, id),
        redaction(&mut eves, &scene.peer, &scene.eve, id),
        redaction(&mut ivys, &other, &ivy, id),
    ] {
        let peer = if attempt.sender == ivy { &other } else { &scene.peer };
        assert_eq!(peer.send_pdu(&scene.server, &attempt), None);
    }
    assert_eq!(scene.send(&said), None);
    assert_eq!(content(&scene.server, id), json!({}));
    // Alone, Ivy's word takes nothing away, before or after.
    let kept = scene.message("kept");
    assert_eq!(other.send_pdu(&scene.server, &redaction(&mut ivys, &other, &ivy, kept.event_id.as_str())), None);
    scene.send(&kept);
    assert_eq!(other.send_pdu(&scene.server, &redaction(&mut ivys, &other, &ivy, kept.event_id.as_str())), None);
    assert_eq!(content(&scene.server, kept.event_id.as_str())["body"], "kept");
}

#[test]
fn what_was_redacted_as_state_stays_so_when_it_is_scrolled_to() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let peer = network.peer();
    let eve = peer.user("eve");
    let room = a.public_room(&alice);
    let topic = a.set_state(&alice, &room, "m.room.topic", "", json!({ "topic": "regrettable" }));
    let mut known = PeerRoom::join(&peer, &a, &room, &eve);
    let original = value(&known.events[&ruma::EventId::parse(&topic).unwrap()]);
    // Bob knows the topic as state only, and sees it redacted.
    b.join_via(&bob, &room, a.server_name()).ok();
    assert_eq!(content(&b, &topic)["topic"], "regrettable");
    a.redact(&alice, &room, &topic);
    network.settle();
    assert_eq!(content(&b, &topic), json!({}));
    // Somebody who kept the words hands them over when Bob scrolls back.
    network.cut(&a, &b);
    let answer = json!({ "origin": peer.name(), "origin_server_ts": 1, "pdus": [original] });
    peer.says("GET", "/backfill/", 200, answer);
    let create =
        known.events.values().find(|event| event.state_key.is_some() && event.prev_events.is_empty()).unwrap().clone();
    known.heads = vec![create.event_id.clone()];
    let ids: Vec<_> = known
        .state
        .iter()
        .filter(|((kind, key), _)| kind != "m.room.topic" && key != eve.as_str())
        .map(|(_, id)| id)
        .collect();
    peer.says("GET", "/state_ids/", 200, json!({ "pdu_ids": ids, "auth_chain_ids": ids }));
    b.said_in(&bob, &room);
    assert_eq!(content(&b, &topic), json!({}), "gone is gone");
}

#[test]
fn a_redacted_membership_leaves_no_name_behind() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let name = format!("/_matrix/client/v3/profile/{}/displayname", bob.id);
    b.put(&name, &bob.token, json!({ "displayname": "Rude Word" })).ok();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    let path = format!("/_matrix/client/v3/rooms/{room}/joined_members");
    assert_eq!(a.get(&path, &alice.token).ok()["joined"][&bob.id]["display_name"], "Rude Word");
    let join = a.state_of(&room)[&("m.room.member".to_owned(), bob.id.clone())].clone();
    a.redact(&alice, &room, &join);
    network.settle();
    for (server, user) in [(&a, &alice), (&b, &bob)] {
        let members = server.get(&path, &user.token).ok();
        assert!(members["joined"][&bob.id].get("display_name").is_none_or(Value::is_null), "{members}");
        assert_eq!(server.membership(&room, &bob.id).as_deref(), Some("join"));
    }
}

#[test]
fn the_create_event_cannot_be_taken_from_a_room() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let room = server.create_room(&alice, json!({ "creation_content": { "m.federate": true }, "room_version": "10" }));
    let create = server.state_of(&room)[&("m.room.create".to_owned(), String::new())].clone();
    let before = content(&server, &create);
    server.redact(&alice, &room, &create);
    assert_eq!(content(&server, &create), before);
    server.say(&alice, &room, "still standing");
}
