//! Getting around who may do what: names, access control lists, and room for what waits.
use bytes::Bytes;
use ruma::RoomVersionId;
use serde_json::{Value, json};
use warren::{
    domain::event::draft::seal_template,
    homeserver::rooms::{ingest, late::LATE_EVENTS},
};

use crate::{
    federation_keys::publishes,
    federation_peer::{Peer, PeerRoom, object, value},
    federation_scene::Scene,
    harness::{Answer, request},
    talk::{escaped, next_batch, next_txn},
};

/// The room denies Eve's server.
fn denied() -> Scene {
    let scene = Scene::new();
    deny(&scene);
    scene
}

fn deny(scene: &Scene) {
    let acl = json!({ "allow": ["*"], "deny": [scene.peer.name()] });
    scene.server.set_state(&scene.alice, &scene.room, "m.room.server_acl", "", acl);
}

fn get(scene: &Scene, path: String) -> Answer {
    scene.peer.ask(&scene.server, "GET", &path, Value::Null)
}

#[test]
fn who_was_put_out_fills_no_storage_with_what_was_right_once() {
    let mut scene = Scene::new();
    let before_ban = scene.known.clone();
    scene.server.act(&scene.alice, &scene.room, "ban", scene.eve.as_str()).ok();
    let mut late = |n: u32| {
        scene.known = before_ban.clone();
        let said = scene.message(&format!("I was still there {n}"));
        assert_eq!(scene.send(&said), None, "its origin did nothing wrong");
        scene.server.inspected_event(said.event_id.as_str()).is_some()
    };
    let kept: Vec<_> = (0..LATE_EVENTS.burst + 10).map(&mut late).collect();
    assert_eq!(kept.iter().filter(|kept| **kept).count(), LATE_EVENTS.burst as usize, "{kept:?}");
    scene.network.advance(LATE_EVENTS.refill_ms.into());
    scene.known = before_ban;
    let said = scene.message("a while later");
    assert_eq!(scene.send(&said), None);
    assert!(scene.server.inspected_event(said.event_id.as_str()).is_some());
    assert!(scene.said().is_empty());
    assert_eq!(scene.server.heads_of(&scene.room).len(), 1);
}

#[test]
fn a_transaction_in_anothers_name_is_refused() {
    let mut scene = Scene::new();
    let other = scene.network.peer();
    let said = scene.message("by whom?");
    let body = json!({ "origin": other.name(), "origin_server_ts": 1, "pdus": [value(&said)], "edus": [] });
    scene.peer.ask(&scene.server, "PUT", "/_matrix/federation/v1/send/1", body).is_error(403, "M_FORBIDDEN");
    assert!(scene.said().is_empty());
}

#[test]
fn a_request_larger_than_any_may_be_is_not_read() {
    let scene = Scene::new();
    let body =
        json!({ "origin": scene.peer.name(), "origin_server_ts": 1, "pdus": [], "padding": "x".repeat(8 << 20) });
    scene.peer.ask(&scene.server, "PUT", "/_matrix/federation/v1/send/1", body).is_error(413, "M_TOO_LARGE");
}

#[test]
fn an_event_blown_up_with_nothing_is_dropped_and_the_others_are_not() {
    let mut scene = Scene::new();
    let (blown, good) = (scene.message("blown up"), scene.message("good"));
    let padded = blown.json().replacen('{', &format!("{{{}", " ".repeat(400_000)), 1);
    let body = format!(
        r#"{{"origin":"{}","origin_server_ts":1,"pdus":[{padded},{}],"edus":[]}}"#,
        scene.peer.name(),
        good.json()
    );
    let unsigned = request("PUT", "/_matrix/federation/v1/send/1", None, body);
    let header = scene.peer.x_matrix(scene.peer.name(), scene.server.server_name(), &unsigned);
    let (mut parts, body): (_, Bytes) = unsigned.into_parts();
    parts.headers.insert("authorization", header.parse().unwrap());
    scene.server.send_as(scene.peer.key(), http::Request::from_parts(parts, body)).ok();
    assert_eq!(scene.said(), ["good"]);
}

#[test]
fn a_denied_server_tells_nothing_in_passing() {
    let scene = denied();
    let since = next_batch(&scene.server.sync(&scene.alice, None, ""));
    let typing = json!({ "room_id": scene.room, "user_id": scene.eve, "typing": true });
    scene.peer.send(&scene.server, "e", &[], &[json!({ "edu_type": "m.typing", "content": typing })]).ok();
    assert_eq!(scene.server.sync(&scene.alice, Some(&since), "").get("rooms"), None);
}

#[test]
fn a_denied_server_is_neither_let_in_nor_out() {
    let scene = Scene::new();
    let (room, dan) = (escaped(&scene.room), scene.peer.user("dan"));
    let (_, join) = PeerRoom::make_join(&scene.peer, &scene.server, &scene.room, &dan);
    deny(&scene);
    get(&scene, format!("/_matrix/federation/v1/make_join/{room}/{dan}?ver=12")).is_error(403, "M_FORBIDDEN");
    get(&scene, format!("/_matrix/federation/v1/make_leave/{room}/{}", scene.eve)).is_error(403, "M_FORBIDDEN");
    get(&scene, format!("/_matrix/federation/v1/make_knock/{room}/{dan}?ver=12")).is_error(403, "M_FORBIDDEN");
    let path = format!("/_matrix/federation/v2/send_join/{room}/{}", escaped(join.event_id.as_str()));
    scene.peer.ask(&scene.server, "PUT", &path, value(&join)).is_error(403, "M_FORBIDDEN");
    assert_eq!(scene.server.membership(&scene.room, dan.as_str()), None);
}

#[test]
fn a_denied_server_reads_nothing() {
    let scene = denied();
    let said = scene.server.say(&scene.alice, &scene.room, "behind closed doors");
    let (room, said) = (escaped(&scene.room), escaped(&said));
    for path in [
        format!("event/{said}"),
        format!("state/{room}?event_id={said}"),
        format!("state_ids/{room}?event_id={said}"),
        format!("backfill/{room}?v={said}&limit=5"),
        format!("timestamp_to_event/{room}?ts=0&dir=f"),
    ] {
        get(&scene, format!("/_matrix/federation/v1/{path}")).is_error(403, "M_FORBIDDEN");
    }
    let body = json!({ "earliest_events": [], "latest_events": [], "limit": 5 });
    let path = format!("/_matrix/federation/v1/get_missing_events/{room}");
    scene.peer.ask(&scene.server, "POST", &path, body).is_error(403, "M_FORBIDDEN");
}

#[test]
fn a_denied_server_gets_no_invite_signed() {
    let mut scene = Scene::new();
    let bob = scene.server.register("bob");
    let invite = scene.event("m.room.member", Some(&bob.id), json!({ "membership": "invite" }));
    let path = format!("/_matrix/federation/v2/invite/{}/{}", escaped(&scene.room), escaped(invite.event_id.as_str()));
    let body = json!({ "room_version": "12", "event": value(&invite), "invite_room_state": [] });
    scene.peer.ask(&scene.server, "PUT", &path, body.clone()).ok();
    deny(&scene);
    scene.peer.ask(&scene.server, "PUT", &path, body).is_error(403, "M_FORBIDDEN");
}

#[test]
fn a_denied_key_is_denied_by_all_its_names() {
    let mut scene = denied();
    let said = scene.message("it is not me");
    let alias = scene.peer.key().server_name("other.example").unwrap();
    let body = json!({ "origin": alias, "origin_server_ts": 1, "pdus": [value(&said)], "edus": [] });
    let path = "/_matrix/federation/v1/send/1";
    let request = scene.peer.request_as(&alias, scene.server.server_name(), "PUT", path, &body);
    let answer = scene.server.send_as(scene.peer.key(), request).ok();
    let error = answer["pdus"][said.event_id.as_str()]["error"].as_str().unwrap();
    assert!(error.contains("denied"), "{error}");
    assert!(scene.said().is_empty());
}

#[test]
fn a_list_that_cannot_be_read_allows_nobody() {
    let mut scene = Scene::new();
    scene.server.set_state(&scene.alice, &scene.room, "m.room.server_acl", "", json!({ "allow": "everybody" }));
    let said = scene.message("anybody there?");
    assert!(scene.send(&said).unwrap().contains("denied"));
    scene.server.say(&scene.alice, &scene.room, "only we");
    assert_eq!(scene.said(), ["only we"]);
}

#[test]
fn many_names_of_one_key_leave_nothing_behind() {
    let mut scene = Scene::new();
    let said = scene.message("known to everybody");
    assert_eq!(scene.send(&said), None);
    let before = scene.server.disk.bytes_stored();
    for n in 0..20 {
        let name = scene.peer.key().server_name(&format!("name{n}.example")).unwrap();
        let body = json!({ "origin": name, "origin_server_ts": 1, "pdus": [value(&said)], "edus": [] });
        let path = format!("/_matrix/federation/v1/send/{}", next_txn());
        let request = scene.peer.request_as(&name, scene.server.server_name(), "PUT", &path, &body);
        scene.server.send_as(scene.peer.key(), request).ok();
    }
    assert_eq!(scene.server.disk.bytes_stored(), before);
}

#[test]
fn one_member_does_not_take_all_the_room_there_is_for_what_waits() {
    let mut scene = Scene::new();
    let other = scene.network.peer();
    let ivy = other.user("ivy");
    let mut ivys = PeerRoom::join(&other, &scene.server, &scene.room, &ivy);
    for n in 0..ingest::STAGED_PDUS_PER_SERVER_MAX + 5 {
        scene.known.heads = vec![format!("$unknown{n}").try_into().unwrap()];
        let event = scene.message("waiting for Godot");
        assert_eq!(scene.send(&event).is_none(), n < ingest::STAGED_PDUS_PER_SERVER_MAX, "{n}");
    }
    let first = ivys.say(&other, &ivy, "first");
    let second = ivys.say(&other, &ivy, "second");
    assert_eq!(other.send_pdu(&scene.server, &second), None);
    assert_eq!(scene.staged(), ingest::STAGED_PDUS_PER_SERVER_MAX + 1);
    assert_eq!(other.send_pdu(&scene.server, &first), None);
    assert_eq!(scene.said(), ["first", "second"]);
}

#[test]
fn receipts_for_events_of_other_rooms_are_not_taken() {
    let scene = Scene::new();
    let elsewhere = scene.server.public_room(&scene.alice);
    let said = scene.server.say(&scene.alice, &elsewhere, "elsewhere");
    let since = next_batch(&scene.server.sync(&scene.alice, None, ""));
    let data = json!({ "data": { "ts": 1 }, "event_ids": [said] });
    let content = json!({ &scene.room: { "m.read": { scene.eve.as_str(): data } } });
    scene.peer.send(&scene.server, "r", &[], &[json!({ "edu_type": "m.receipt", "content": content })]).ok();
    assert_eq!(scene.server.sync(&scene.alice, Some(&since), "").get("rooms"), None);
}

#[test]
fn somebody_elses_user_is_not_joined() {
    let scene = Scene::new();
    let (other, dan) = (scene.network.peer(), scene.peer.user("dan"));
    let (_, join) = PeerRoom::make_join(&scene.peer, &scene.server, &scene.room, &dan);
    let path = format!("/_matrix/federation/v2/send_join/{}/{}", escaped(&scene.room), escaped(join.event_id.as_str()));
    other.ask(&scene.server, "PUT", &path, value(&join)).is_error(403, "M_FORBIDDEN");
    assert_eq!(scene.server.membership(&scene.room, dan.as_str()), None);
}

#[test]
fn a_join_for_somebody_else_than_its_sender_is_none() {
    let scene = Scene::new();
    let (dan, vic) = (scene.peer.user("dan"), scene.peer.user("vic"));
    let (_, join) = PeerRoom::make_join(&scene.peer, &scene.server, &scene.room, &dan);
    let mut event = object(value(&join));
    event.insert("state_key".to_owned(), vic.as_str().into());
    let forged = seal_template(event, &scene.peer.identity, &scene.known.rules).unwrap();
    let path =
        format!("/_matrix/federation/v2/send_join/{}/{}", escaped(&scene.room), escaped(forged.event_id.as_str()));
    let answer = scene.peer.ask(&scene.server, "PUT", &path, value(&forged));
    answer.is_error(400, "M_INVALID_PARAM");
    assert!(answer_says(&scene.peer.ask(&scene.server, "PUT", &path, value(&forged)), "somebody else"));
}

fn answer_says(answer: &Answer, text: &str) -> bool {
    answer.body["error"].as_str().is_some_and(|error| error.contains(text))
}

#[test]
fn nobody_says_who_else_is_there() {
    let scene = Scene::new();
    let other = scene.network.peer();
    let ivy = other.user("ivy");
    PeerRoom::join(&other, &scene.server, &scene.room, &ivy);
    let say = |peer: &crate::federation_peer::Peer| {
        let update = json!({ "user_id": ivy, "presence": "online", "last_active_ago": 5, "currently_active": true });
        let edu = json!({ "edu_type": "m.presence", "content": { "push": [update] } });
        peer.send(&scene.server, &next_txn().to_string(), &[], &[edu]).ok();
        let path = format!("/_matrix/client/v3/presence/{ivy}/status");
        scene.server.get(&path, &scene.alice.token).ok()["presence"].clone()
    };
    assert_eq!(say(&scene.peer), "offline");
    assert_eq!(say(&other), "online");
}

#[test]
fn nobody_is_invited_past_the_room_to_a_room_we_are_in() {
    let mut scene = Scene::of(RoomVersionId::V11);
    let bob = scene.server.register("bob");
    let invite = scene.event("m.room.member", Some(&bob.id), json!({ "membership": "invite" }));
    let path = format!("/_matrix/federation/v2/invite/{}/{}", escaped(&scene.room), escaped(invite.event_id.as_str()));
    let body = json!({ "room_version": "11", "event": value(&invite), "invite_room_state": [] });
    scene.peer.ask(&scene.server, "PUT", &path, body).ok();
    // The room itself did not hear of it.
    assert_eq!(scene.server.sync(&bob, None, "").get("rooms"), None);
}

/// Asks what the event rests on, by Eve's server.
fn rests_on(scene: &Scene, event_id: &str) -> Vec<Value> {
    let path = format!("/_matrix/federation/v1/event_auth/{}/{}", escaped(&scene.room), escaped(event_id));
    get(scene, path).ok()["auth_chain"].as_array().unwrap().clone()
}

#[test]
fn citing_what_one_may_not_see_does_not_show_it() {
    let mut scene = Scene::new();
    let hidden = json!({ "history_visibility": "joined" });
    scene.server.set_state(&scene.alice, &scene.room, "m.room.history_visibility", "", hidden);
    scene.server.act(&scene.alice, &scene.room, "kick", scene.eve.as_str()).ok();
    let secret = scene.server.say(&scene.alice, &scene.room, "among ourselves");
    scene.known = PeerRoom::join(&scene.peer, &scene.server, &scene.room, &scene.eve);
    let draft = scene.known.draft(&scene.eve, "m.room.message", None, json!({ "body": "as you know" }));
    let mut position = scene.known.position(&draft);
    position.auth_events.push(secret.as_str().try_into().unwrap());
    let curious = scene.known.seal(&scene.peer, draft, position);
    assert!(scene.send(&curious).unwrap().contains("rejected"));
    let told = rests_on(&scene, curious.event_id.as_str());
    let messages: Vec<_> = told.iter().filter(|event| event["type"] == "m.room.message").collect();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["content"], json!({}), "it is told without what it says");
}

#[test]
fn what_has_no_place_in_the_room_is_no_message_for_anybody() {
    let mut scene = Scene::new();
    let other = scene.network.peer();
    let ivy = other.user("ivy");
    let mut ivys = PeerRoom::join(&other, &scene.server, &scene.room, &ivy);
    let unsent = ivys.make(&other, &ivy, "m.room.message", None, json!({ "body": "only for who asks me" }));
    other.says(
        "GET",
        "/event/",
        200,
        json!({ "pdus": [value(&unsent)], "origin": other.name(), "origin_server_ts": 1 }),
    );
    let draft = scene.known.draft(&scene.eve, "m.room.message", None, json!({ "body": "as ivy says" }));
    let mut position = scene.known.position(&draft);
    position.auth_events.push(unsent.event_id.clone());
    let curious = scene.known.seal(&scene.peer, draft, position);
    assert!(scene.send(&curious).unwrap().contains("rejected"));
    assert!(scene.server.inspected_event(unsent.event_id.as_str()).is_some(), "it was fetched to judge what cites it");
    // Redacted, others can judge what cites it.
    let told = get(&scene, format!("/_matrix/federation/v1/event/{}", escaped(unsent.event_id.as_str()))).ok();
    assert_eq!(told["pdus"][0]["content"], json!({}));
    let told = rests_on(&scene, curious.event_id.as_str());
    assert!(!json!(told).to_string().contains("only for who asks me"));
}

#[test]
fn a_denied_server_is_denied_with_a_dot_at_its_end() {
    let scene = Scene::new();
    let dotted = scene.network.peer_named("evil.example.");
    let mallory = dotted.user("mallory");
    let path =
        format!("/_matrix/federation/v1/make_join/{}/{}?ver=12", escaped(&scene.room), escaped(mallory.as_str()));
    publishes(&scene.network, &dotted);
    dotted.ask(&scene.server, "GET", &path, Value::Null).ok();
    for acl in [json!({ "allow": ["*"], "deny": ["evil.example"] }), json!({ "allow": ["*"], "deny": ["*.example"] })] {
        scene.server.set_state(&scene.alice, &scene.room, "m.room.server_acl", "", acl);
        dotted.ask(&scene.server, "GET", &path, Value::Null).is_error(403, "M_FORBIDDEN");
    }
}

#[test]
fn a_name_that_is_the_port_of_another_has_seen_nothing_of_what_that_one_saw() {
    let scene = Scene::new();
    let hidden = json!({ "history_visibility": "joined" });
    scene.server.set_state(&scene.alice, &scene.room, "m.room.history_visibility", "", hidden);
    let [ported, port] = ["host.example:8448", "8448"].map(|name| {
        let peer = scene.network.peer_named(name);
        publishes(&scene.network, &peer);
        peer
    });
    PeerRoom::join(&ported, &scene.server, &scene.room, &ported.user("olga"));
    let secret = scene.server.say(&scene.alice, &scene.room, "for olga");
    PeerRoom::join(&port, &scene.server, &scene.room, &port.user("pat"));
    let path = format!("/_matrix/federation/v1/event/{}", escaped(&secret));
    let told = |peer: &Peer| peer.ask(&scene.server, "GET", &path, Value::Null).ok()["pdus"][0]["content"].clone();
    assert_eq!(told(&ported)["body"], "for olga");
    assert_eq!(told(&port), json!({}));
}
