//! Events that other servers push: what is dropped, refused, kept and repeated.
use ruma::{CanonicalJsonValue, RoomVersionId};
use serde_json::{Value, json};
use warren::domain::{event::draft::seal_template, room_version::SUPPORTED};

use crate::{
    federation_network::Network,
    federation_peer::{PeerRoom, object, value},
    federation_scene::Scene,
};

#[test]
fn an_event_larger_than_the_limit_is_dropped_and_the_others_are_not() {
    let mut scene = Scene::new();
    let good = scene.message("good");
    let mut large = value(&good);
    large["content"]["body"] = json!("x".repeat(65_536));
    let answer = scene.peer.send(&scene.server, "1", &[large.clone(), value(&good)], &[]).ok();
    assert_eq!(answer["pdus"][good.event_id.as_str()], json!({}));
    assert_eq!(scene.said(), ["good"]);
    // Escapes do not get around it, nor does what they hide count against an event that is small.
    large["content"]["body"] = json!("\u{1}".repeat(11_000));
    let answer = scene.peer.send(&scene.server, "2", &[large], &[]).ok();
    assert!(answer["pdus"].as_object().unwrap().values().all(|outcome| outcome.get("error").is_some()));
}

#[test]
fn forged_events_are_dropped() {
    let mut scene = Scene::new();
    let stranger = scene.network.peer();
    // In somebody else's name, with one's own signature.
    let alice_id = scene.alice.id.as_str().try_into().unwrap();
    let content = json!({ "msgtype": "m.text", "body": "I, Alice" });
    let forged = scene.known.make(&scene.peer, &alice_id, "m.room.message", None, content);
    assert!(scene.peer.send_pdu(&scene.server, &forged).unwrap().contains("signature"));
    // In one's own name, signed by nobody one knows.
    let eve = scene.eve.clone();
    let unsigned = scene.known.make(&stranger, &eve, "m.room.message", None, json!({ "body": "hm" }));
    assert!(scene.peer.send_pdu(&scene.server, &unsigned).unwrap().contains("signature"));
    // A good signature on other words.
    let mut altered = value(&scene.message("one"));
    altered["depth"] = json!(7);
    let answer = scene.peer.send(&scene.server, "x", &[altered], &[]).ok();
    let errors: Vec<&Value> = answer["pdus"].as_object().unwrap().values().collect();
    assert!(matches!(errors[..], [error] if error["error"].as_str().unwrap().contains("signature")), "{answer}");
    assert!(scene.said().is_empty());
    assert!(scene.server.inspected_event(forged.event_id.as_str()).is_none(), "nothing of it is kept");
}

#[test]
fn an_event_whose_content_was_changed_on_the_way_is_kept_without_it() {
    for version in SUPPORTED {
        let mut scene = Scene::of(version);
        let honest = scene.message("what Eve said");
        let mut altered = value(&honest);
        altered["content"]["body"] = json!("what Eve never said");
        altered["unsigned"] = json!({ "age": 1, "redacted_because": {} });
        let answer = scene.peer.send(&scene.server, "1", &[altered], &[]).ok();
        assert_eq!(answer["pdus"][honest.event_id.as_str()], json!({}));
        let kept: Value =
            serde_json::from_str(&scene.server.inspected_event(honest.event_id.as_str()).unwrap().json).unwrap();
        assert_eq!((&kept["content"], kept.get("unsigned")), (&json!({}), None));
        assert!(scene.said().is_empty());
    }
}

#[test]
fn an_event_of_another_room_gets_nowhere() {
    let mut scene = Scene::new();
    let other = scene.server.public_room(&scene.alice);
    let mut elsewhere = PeerRoom::join(&scene.peer, &scene.server, &other, &scene.eve);
    // An event that says it is of one room and builds on another.
    elsewhere.heads = scene.known.heads.clone();
    let content = json!({ "msgtype": "m.text", "body": "lost" });
    let lost = elsewhere.make(&scene.peer, &scene.eve, "m.room.message", None, content);
    scene.peer.send_pdu(&scene.server, &lost);
    assert!(scene.server.said_in(&scene.alice, &other).is_empty());
    assert_eq!(scene.server.staged_of(&other).len(), 1, "what it follows is not in that room");
    // One that cites authority from another room.
    let mut borrowed = scene.known.draft(&scene.eve, "m.room.message", None, json!({ "body": "x" }));
    let mut position = scene.known.position(&borrowed);
    position.auth_events = vec![elsewhere.state[&("m.room.member".to_owned(), scene.eve.to_string())].clone()];
    borrowed.content = object(json!({ "body": "borrowed" }));
    let borrowed = scene.known.seal(&scene.peer, borrowed, position);
    scene.peer.send_pdu(&scene.server, &borrowed);
    assert!(scene.said().is_empty());
    // A room nobody here has heard of.
    let mut nowhere = PeerRoom::create(&scene.peer, &scene.eve, &RoomVersionId::V12);
    let there = nowhere.say(&scene.peer, &scene.eve, "echo");
    let answer = scene.peer.send(&scene.server, "n", &[value(&there)], &[]).ok();
    assert_eq!(answer["pdus"], json!({}));
    assert!(scene.server.inspected(&nowhere.id).is_none());
}

#[test]
fn what_is_no_event_at_all_is_passed_over() {
    let mut scene = Scene::new();
    let good = scene.message("good");
    let room = scene.room.clone();
    let deep = (0..110).fold(json!({}), |inner, _| json!({ "a": inner }));
    let nonsense = [
        json!(null),
        json!(5),
        json!([]),
        json!({}),
        json!({ "room_id": 7 }),
        json!({ "room_id": room }),
        json!({ "room_id": room, "type": "m.room.message", "content": "text", "sender": scene.eve }),
        json!({ "room_id": room, "content": deep }),
        json!({ "room_id": room, "depth": 1.5 }),
        json!({ "room_id": "not a room" }),
    ];
    // Fractions are not canonical JSON: a transaction that has one cannot even be signed.
    let signable: Vec<Value> =
        nonsense.into_iter().filter(|pdu| serde_json::from_value::<CanonicalJsonValue>(pdu.clone()).is_ok()).collect();
    let pdus: Vec<Value> = signable.into_iter().chain([value(&good)]).collect();
    let answer = scene.peer.send(&scene.server, "1", &pdus, &[]).ok();
    assert_eq!(answer["pdus"][good.event_id.as_str()], json!({}));
    assert_eq!(scene.said(), ["good"]);
}

#[test]
fn malformed_fields_make_no_event() {
    let mut scene = Scene::new();
    let base = value(&scene.message("base"));
    let many: Vec<String> = (0..30).map(|n| format!("$event{n}")).collect();
    let long = "x".repeat(300);
    for (field, wrong) in [
        ("sender", json!("eve")),
        ("sender", json!(format!("@{long}:{}", scene.peer.name()))),
        ("type", json!(7)),
        ("type", json!(long)),
        ("state_key", json!(null)),
        ("state_key", json!(long)),
        ("content", json!([])),
        ("depth", json!(-1)),
        ("depth", json!("deep")),
        ("prev_events", json!("none")),
        ("prev_events", json!(many)),
        ("auth_events", json!(many)),
        ("auth_events", json!([1])),
        ("origin_server_ts", json!("yesterday")),
        ("origin_server_ts", json!(-1)),
        ("hashes", json!({})),
        ("hashes", json!("sha256")),
    ] {
        let mut event = object(base.clone());
        event.insert(field.to_owned(), object(json!({ "v": wrong }))["v"].clone());
        // Signed as it is, so that nothing but the field is wrong.
        event.remove("signatures");
        let mut signed = event.clone();
        ruma::signatures::sign_json(scene.peer.name().as_str(), scene.peer.identity.key_pair(), &mut signed).unwrap();
        let raw: Value = serde_json::from_str(&serde_json::to_string(&signed).unwrap()).unwrap();
        let txn = crate::talk::next_txn().to_string();
        let answer = scene.peer.send(&scene.server, &txn, &[raw], &[]).ok();
        let outcomes = answer["pdus"].as_object().unwrap();
        assert!(outcomes.values().all(|outcome| outcome.get("error").is_some()), "{field} {wrong}: {answer}");
    }
    assert!(scene.said().is_empty());
    assert_eq!(scene.server.staged_of(&scene.room).len(), 0);
}

#[test]
fn transactions_have_limits() {
    let mut scene = Scene::new();
    let good = value(&scene.message("good"));
    let many = vec![good.clone(); 51];
    scene.peer.send(&scene.server, "1", &many, &[]).is_error(413, "M_TOO_LARGE");
    let edu = json!({ "edu_type": "m.unknown", "content": {} });
    scene
        .peer
        .send(&scene.server, "2", std::slice::from_ref(&good), &vec![edu.clone(); 101])
        .is_error(413, "M_TOO_LARGE");
    assert!(scene.said().is_empty(), "of what is too large nothing is taken");
    scene.peer.send(&scene.server, "3", &vec![good; 50], &vec![edu; 100]).ok();
    assert_eq!(scene.said(), ["good"]);
}

#[test]
fn malformed_edus_are_passed_over() {
    let mut scene = Scene::new();
    let (room, eve, alice) = (scene.room.clone(), scene.eve.clone(), scene.alice.id.clone());
    let edus = [
        json!(null),
        json!({}),
        json!({ "edu_type": "m.typing" }),
        json!({ "edu_type": "m.typing", "content": [] }),
        json!({ "edu_type": "m.typing", "content": { "room_id": room, "user_id": alice, "typing": true } }),
        json!({ "edu_type": "m.receipt", "content": { room.as_str(): { "m.read": 5 } } }),
        json!({ "edu_type": "m.receipt", "content": { room.as_str(): { "m.read": { &alice: { "event_ids": ["$x"], "data": { "ts": 1 } } } } } }),
        json!({ "edu_type": "org.warren.heads", "content": { "rooms": [] } }),
        json!({ "edu_type": "org.warren.heads", "content": { "rooms": { "nonsense": ["x"] } } }),
        json!({ "edu_type": "m.never_heard_of", "content": {} }),
    ];
    let good = scene.message("good");
    let typing = json!({ "edu_type": "m.typing", "content": { "room_id": room, "user_id": eve, "typing": true } });
    let edus: Vec<Value> = edus.into_iter().chain([typing]).collect();
    let answer = scene.peer.send(&scene.server, "1", &[value(&good)], &edus).ok();
    assert_eq!(answer["pdus"][good.event_id.as_str()], json!({}));
    let told = scene.server.told_of(&scene.alice, &room);
    let ephemeral = told["ephemeral"]["events"].as_array().unwrap();
    assert_eq!(ephemeral.len(), 1, "{ephemeral:?}");
    assert_eq!(ephemeral[0]["content"]["user_ids"], json!([eve]), "nobody types in another's name");
}

#[test]
fn the_same_transaction_gets_the_same_answer() {
    let mut scene = Scene::new();
    let (good, other) = (scene.message("one"), scene.message("two"));
    let first = scene.peer.send(&scene.server, "t", &[value(&good)], &[]).ok();
    // The same id with other contents is a repetition all the same: it was answered.
    let again = scene.peer.send(&scene.server, "t", &[value(&other)], &[]).ok();
    assert_eq!(first, again);
    assert_eq!(scene.said(), ["one"]);
    let (network, room, alice) = (scene.network.clone(), scene.room.clone(), scene.alice.clone());
    let server = network.restart(scene.server);
    assert_eq!(scene.peer.send(&server, "t", &[value(&good)], &[]).ok(), first, "after a restart as well");
    // The same event in another transaction is the same event.
    scene.peer.send(&server, "u", &[value(&good)], &[]).ok();
    assert_eq!(server.said_in(&alice, &room), ["one"]);
}

#[test]
fn what_the_rules_refuse_is_refused_with_the_rule() {
    let mut scene = Scene::new();
    let eve = scene.eve.clone();
    let levels = json!({ "users": { eve.as_str(): 100 } });
    let coup = scene.known.make(&scene.peer, &eve, "m.room.power_levels", Some(""), levels);
    assert!(scene.peer.send_pdu(&scene.server, &coup).unwrap().starts_with("rejected"));
    let verdict = scene.server.inspected_event(coup.event_id.as_str()).unwrap().verdict;
    assert_eq!(verdict, warren::storage::tables::StoredVerdict::Rejected, "a verdict on a member's event is kept");
    let kick = json!({ "membership": "leave" });
    let alice = scene.alice.id.clone();
    let kick = scene.known.make(&scene.peer, &eve, "m.room.member", Some(&alice), kick);
    assert!(scene.peer.send_pdu(&scene.server, &kick).unwrap().starts_with("rejected"));
    // What rests on a rejected event is rejected as well.
    scene.known.push(&coup);
    scene.known.heads =
        scene.known.state.get(&("m.room.member".to_owned(), eve.to_string())).cloned().into_iter().collect();
    let topic = scene.known.make(&scene.peer, &eve, "m.room.topic", Some(""), json!({ "topic": "mine" }));
    assert!(scene.peer.send_pdu(&scene.server, &topic).unwrap().starts_with("rejected"));
    assert_eq!(scene.server.membership(&scene.room, &alice).as_deref(), Some("join"));
    scene.server.say(&scene.alice, &scene.room, "still here");
    assert_eq!(scene.said(), ["still here"]);
}

#[test]
fn what_was_right_once_and_is_not_any_more_is_not_shown() {
    let mut scene = Scene::new();
    let late = scene.message("as if I had said it before");
    scene.server.act(&scene.alice, &scene.room, "ban", scene.eve.as_str()).ok();
    assert_eq!(scene.send(&late), None, "its origin did nothing wrong");
    assert!(scene.said().is_empty());
    let heads = scene.server.heads_of(&scene.room);
    scene.server.say(&scene.alice, &scene.room, "peace");
    assert!(!heads.contains(late.event_id.as_str()), "new events do not follow it");
    assert_eq!(scene.said(), ["peace"]);
}

#[test]
fn a_stranger_fills_no_storage() {
    let mut scene = Scene::new();
    let stranger = scene.network.peer();
    let mallory = stranger.user("mallory");
    let before = scene.server.disk.bytes_stored();
    for n in 0..10 {
        let padding = json!({ "body": "x".repeat(60_000), "n": n });
        // Following the room's newest event, or nothing known.
        let mut known = scene.known.clone();
        known.heads = if n % 2 == 0 { known.heads } else { vec![] };
        let event = known.make(&stranger, &mallory, "m.room.message", None, padding);
        assert!(stranger.send_pdu(&scene.server, &event).is_some());
    }
    assert_eq!(
        scene.server.disk.bytes_stored(),
        before,
        "what is refused of somebody who is not in the room is not kept"
    );
    // What cannot be judged yet is kept, up to a limit.
    for n in 0..60 {
        let mut known = scene.known.clone();
        known.heads = vec![format!("$unknown{n}").try_into().unwrap()];
        let event = known.make(&stranger, &mallory, "m.room.message", None, json!({ "body": n }));
        stranger.send_pdu(&scene.server, &event);
    }
    assert_eq!(
        scene.server.staged_of(&scene.room).len(),
        warren::homeserver::rooms::ingest::STAGED_PDUS_OF_STRANGERS_MAX
    );
    let good = scene.message("members are still heard");
    assert_eq!(scene.send(&good), None);
    assert_eq!(scene.said(), ["members are still heard"]);
}

#[test]
fn a_denied_server_gets_nothing_in() {
    let mut scene = Scene::new();
    let name = scene.peer.name().to_string();
    let acl = json!({ "allow": ["*"], "deny": [name] });
    let since = crate::talk::next_batch(&scene.server.sync(&scene.alice, None, ""));
    scene.server.set_state(&scene.alice, &scene.room, "m.room.server_acl", "", acl);
    let said = scene.message("knock knock");
    assert!(scene.peer.send_pdu(&scene.server, &said).unwrap().contains("denied"));
    assert!(scene.said().is_empty());
    let typing = json!({ "room_id": scene.room, "user_id": scene.eve, "typing": true });
    let edu = json!({ "edu_type": "m.typing", "content": typing });
    scene.peer.send(&scene.server, "e", &[], &[edu]).ok();
    let told = scene.server.sync(&scene.alice, Some(&since), "");
    assert_eq!(told["rooms"]["join"][&scene.room].get("ephemeral"), None);
    let ask = |path: String| scene.peer.ask(&scene.server, "GET", &path, Value::Null);
    let (room, eve) = (&scene.room, &scene.eve);
    ask(format!("/_matrix/federation/v1/make_join/{room}/{eve}?ver=12")).is_error(403, "M_FORBIDDEN");
    ask(format!("/_matrix/federation/v1/make_leave/{room}/{eve}")).is_error(403, "M_FORBIDDEN");
    ask(format!("/_matrix/federation/v1/backfill/{room}?v={}&limit=5", said.event_id)).is_error(403, "M_FORBIDDEN");
}

#[test]
fn one_servers_nesting_is_not_anothers_loss() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    let nested = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({ "a": inner }));
    let path = |txn: u64| format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{txn}");
    for levels in [99, 110, 120] {
        a.put(&path(crate::talk::next_txn()), &alice.token, nested(levels)).is_error(400, "M_BAD_JSON");
    }
    a.put(&path(crate::talk::next_txn()), &alice.token, nested(98)).ok();
    a.say(&alice, &room, "and on");
    network.settle();
    assert_eq!(b.said_in(&bob, &room), ["and on"]);
    assert_eq!(a.heads_of(&room), b.heads_of(&room));
    // A join that could not be told on is not let in.
    let peer = network.peer();
    let eve = peer.user("eve");
    let (_, join) = PeerRoom::make_join(&peer, &a, &room, &eve);
    let mut event = join.canonical_object();
    let mut content = object(nested(110));
    content.insert("membership".to_owned(), "join".into());
    event.insert("content".to_owned(), content.into());
    let rules = warren::domain::room_version::rules(&RoomVersionId::V12).unwrap();
    assert!(seal_template(event.clone(), &peer.identity, &rules).is_err(), "nor does anybody here make one");
}
