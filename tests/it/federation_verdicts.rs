//! What becomes of events that were refused, and of those that follow them (server-server API, "Rejection", "Soft failure").
use std::rc::Rc;

use ruma::{EventId, RoomVersionId};
use serde_json::{Value, json};
use warren::{
    domain::{event::Pdu, room_version::SUPPORTED},
    storage::tables::StoredVerdict,
};

use crate::{federation_peer::PeerRoom, federation_scene::Scene, harness::TestServer};

/// An event of the homeserver's, as others know it.
fn told(server: &TestServer, known: &mut PeerRoom, id: &str) -> Rc<Pdu> {
    let json = server.inspected_event(id).expect("it is there").json;
    let pdu = Rc::new(known.parse(&serde_json::from_str(&json).unwrap()));
    known.push(&pdu);
    pdu
}

fn verdict(server: &TestServer, pdu: &Pdu) -> StoredVerdict {
    server.inspected_event(pdu.event_id.as_str()).expect("it is there").verdict
}

fn place(kind: &str) -> (String, String) {
    (kind.to_owned(), String::new())
}

#[test]
fn what_follows_a_rejected_event_is_judged_without_it() {
    for version in SUPPORTED {
        let mut scene = Scene::of(version.clone());
        let eve = scene.eve.clone();
        let before = scene.server.state_of(&scene.room);
        let coup = scene.event("m.room.power_levels", Some(""), json!({ "users": { eve.as_str(): 100 } }));
        assert!(scene.send(&coup).unwrap().starts_with("rejected"), "{version}");
        // Somebody speaks after it, with the authority they have all the same.
        scene.known.events.insert(coup.event_id.clone(), coup.clone());
        scene.known.heads = vec![coup.event_id.clone()];
        scene.known.depth = coup.depth;
        let after = scene.message("after it");
        assert_eq!(scene.send(&after), None, "{version}");
        assert_eq!(scene.said(), ["after it"]);
        assert_eq!(scene.server.state_of(&scene.room), before);
        // What the coup would have allowed is not, though it follows it.
        scene.known.push(&after);
        let topic = scene.event("m.room.topic", Some(""), json!({ "topic": "mine" }));
        assert!(scene.send(&topic).unwrap().starts_with("rejected"), "{version}");
        assert!(!scene.server.heads_of(&scene.room).contains(coup.event_id.as_str()), "nobody here follows it");
    }
}

#[test]
fn a_rejection_is_remembered() {
    let mut scene = Scene::new();
    let eve = scene.eve.clone();
    let coup = scene.event("m.room.power_levels", Some(""), json!({ "users": { eve.as_str(): 100 } }));
    assert!(scene.send(&coup).is_some());
    let server = scene.network.restart(scene.server);
    let before = server.state_of(&scene.room);
    scene.peer.send_pdu(&server, &coup);
    assert_eq!(verdict(&server, &coup), StoredVerdict::Rejected);
    assert_eq!(server.state_of(&scene.room), before);
    // Who cites it is rejected as well, and so is who cites that.
    let mut known = scene.known.clone();
    let heads = known.heads.clone();
    known.push(&coup);
    known.heads = heads.clone();
    let one = known.make(&scene.peer, &eve, "m.room.join_rules", Some(""), json!({ "join_rule": "invite" }));
    assert!(scene.peer.send_pdu(&server, &one).is_some_and(|error| error.contains("rejected")));
    known.state.remove(&place("m.room.power_levels"));
    known.push(&one);
    known.heads = heads;
    let two = known.make(&scene.peer, &eve, "m.room.member", Some(eve.as_str()), json!({ "membership": "join" }));
    assert!(two.auth_events.contains(&one.event_id));
    assert!(scene.peer.send_pdu(&server, &two).is_some_and(|error| error.contains("rejected")));
    for pdu in [&one, &two] {
        assert_eq!(verdict(&server, pdu), StoredVerdict::Rejected);
    }
    assert_eq!(server.state_of(&scene.room), before);
}

/// The example of the specification: a ban, beside it what the banned did, and after both what a third server says.
#[test]
fn what_was_soft_failed_counts_where_somebody_follows_it() {
    for (version, stays) in [(RoomVersionId::V1, true), (RoomVersionId::V2, false), (RoomVersionId::V12, false)] {
        let mut scene = Scene::of(version.clone());
        let other = scene.network.peer();
        let ivy = other.user("ivy");
        let mut ivys = PeerRoom::join(&other, &scene.server, &scene.room, &ivy);
        let mut levels = json!({ "users": { scene.eve.as_str(): 50 } });
        if version != RoomVersionId::V12 {
            levels["users"][&scene.alice.id] = json!(100);
        }
        let levels = scene.server.set_state(&scene.alice, &scene.room, "m.room.power_levels", "", levels);
        scene.known = ivys.clone();
        for known in [&mut scene.known, &mut ivys] {
            told(&scene.server, known, &levels);
        }
        let topic = scene.event("m.room.topic", Some(""), json!({ "topic": "while I can" }));
        scene.server.act(&scene.alice, &scene.room, "ban", scene.eve.as_str()).ok();
        let ban = scene.server.state_of(&scene.room)[&("m.room.member".to_owned(), scene.eve.to_string())].clone();
        let ban = told(&scene.server, &mut ivys, &ban);
        assert_eq!(scene.send(&topic), None, "its origin did nothing wrong");
        assert_eq!(verdict(&scene.server, &topic), StoredVerdict::SoftFailed);
        assert_eq!(scene.server.state_of(&scene.room).get(&place("m.room.topic")), None, "{version}");
        assert_eq!(scene.server.heads_of(&scene.room).len(), 1);
        // It is told to who asks for it.
        let path = format!("/_matrix/federation/v1/event/{}", crate::talk::escaped(topic.event_id.as_str()));
        let answer = other.ask(&scene.server, "GET", &path, Value::Null).ok();
        assert_eq!(answer["pdus"][0]["content"]["topic"], "while I can");

        // The past, asked for from there, does not hold it: nothing refers to it yet.
        let past = |from: &EventId| {
            let path = format!(
                "/_matrix/federation/v1/backfill/{}?v={}&limit=50",
                scene.room,
                crate::talk::escaped(from.as_str())
            );
            let answer = other.ask(&scene.server, "GET", &path, Value::Null).ok();
            let pdus = answer["pdus"].as_array().unwrap().clone();
            pdus.iter().any(|pdu| pdu["content"]["topic"] == "while I can")
        };
        assert!(!past(&ban.event_id), "{version}");
        ivys.events.insert(topic.event_id.clone(), topic.clone());
        ivys.heads = vec![ban.event_id.clone(), topic.event_id.clone()];
        ivys.depth = ivys.depth.max(topic.depth);
        let after = ivys.say(&other, &ivy, "what happened?");
        assert_eq!(other.send_pdu(&scene.server, &after), None, "{version}");
        assert_eq!(scene.said(), ["what happened?"]);
        assert!(past(&after.event_id), "{version}");
        let state = scene.server.state_of(&scene.room);
        let held = state.get(&place("m.room.topic")).and_then(|id| EventId::parse(id).ok());
        assert_eq!(held, stays.then(|| topic.event_id.clone()), "{version}");
        assert_eq!(scene.server.membership(&scene.room, scene.eve.as_str()).as_deref(), Some("ban"), "{version}");
    }
}
