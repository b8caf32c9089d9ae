//! What other servers may ask that is answered in a few words: what an event rests on, memberships as of old, keys and files
//! that nobody has.
use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    federation_peer::{PeerRoom, value},
    federation_scene::Scene,
    talk::escaped,
};

#[test]
fn what_an_event_rests_on_is_told_to_servers_of_the_room() {
    let scene = Scene::new();
    let (server, room) = (&scene.server, escaped(&scene.room));
    let said = server.say(&scene.alice, &scene.room, "hello");
    let path = |room: &str, event: &str| format!("/_matrix/federation/v1/event_auth/{room}/{}", escaped(event));
    let answer = scene.peer.ask(server, "GET", &path(&room, &said), Value::Null).ok();
    let kinds: BTreeSet<_> =
        answer["auth_chain"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert!(kinds.is_superset(&["m.room.create", "m.room.member", "m.room.power_levels"].into()), "{kinds:?}");
    assert!(!kinds.contains("m.room.message"), "it is not part of what it rests on");
    // The create event rests on nothing.
    let create = server.state_of(&scene.room)[&("m.room.create".to_owned(), String::new())].clone();
    assert_eq!(scene.peer.ask(server, "GET", &path(&room, &create), Value::Null).ok(), json!({ "auth_chain": [] }));
    scene.peer.ask(server, "GET", &path(&room, "$nothing"), Value::Null).is_error(404, "M_NOT_FOUND");
    scene.peer.ask(server, "GET", &path("!nowhere:a.example", &said), Value::Null).is_error(404, "M_NOT_FOUND");
    scene.peer.ask(server, "GET", &path("nonsense", &said), Value::Null).is_error(400, "M_INVALID_PARAM");
    scene.peer.ask(server, "GET", &path(&room, "nonsense"), Value::Null).is_error(400, "M_INVALID_PARAM");
    let other_room = server.public_room(&scene.alice);
    let elsewhere = server.say(&scene.alice, &other_room, "elsewhere");
    scene.peer.ask(server, "GET", &path(&room, &elsewhere), Value::Null).is_error(404, "M_NOT_FOUND");
    let outsider = scene.network.peer();
    outsider.ask(server, "GET", &path(&room, &said), Value::Null).is_error(403, "M_FORBIDDEN");
    server.set_state(
        &scene.alice,
        &scene.room,
        "m.room.server_acl",
        "",
        json!({ "allow": ["*"], "deny": [scene.peer.name()] }),
    );
    scene.peer.ask(server, "GET", &path(&room, &said), Value::Null).is_error(403, "M_FORBIDDEN");
}

#[test]
fn joins_and_leaves_as_of_old_are_answered_as_of_old() {
    let scene = Scene::new();
    let (server, peer, room) = (&scene.server, &scene.peer, &scene.room);
    let fay = peer.user("fay");
    let path = |what: &str, event: &str| format!("/_matrix/federation/v1/{what}/{}/{}", escaped(room), escaped(event));
    let (_, join) = PeerRoom::make_join(peer, server, room, &fay);
    let join_path = path("send_join", join.event_id.as_str());
    peer.ask(server, "PUT", &join_path, json!({})).is_error(400, "M_INVALID_PARAM");
    peer.ask(server, "PUT", &join_path, json!([])).is_error(400, "M_BAD_JSON");
    peer.ask(server, "PUT", &path("send_join", "$another"), value(&join)).is_error(400, "M_INVALID_PARAM");
    let answer = peer.ask(server, "PUT", &join_path, value(&join)).ok();
    assert_eq!(answer[0], 200);
    assert!(
        !answer[1]["state"].as_array().unwrap().is_empty() && !answer[1]["auth_chain"].as_array().unwrap().is_empty()
    );
    assert_eq!(answer[1]["event"], value(&join));
    assert_eq!(server.membership(room, fay.as_str()).as_deref(), Some("join"));

    let template = format!("/_matrix/federation/v1/make_leave/{}/{fay}", escaped(room));
    let template = peer.ask(server, "GET", &template, Value::Null).ok();
    let rules =
        warren::domain::room_version::rules(&template["room_version"].as_str().unwrap().try_into().unwrap()).unwrap();
    let event = crate::federation_peer::object(template["event"].clone());
    let leave = warren::domain::event::draft::seal_template(event, &peer.identity, &rules).unwrap();
    peer.ask(server, "PUT", &path("send_leave", join.event_id.as_str()), value(&join)).is_error(400, "M_INVALID_PARAM");
    let answer = peer.ask(server, "PUT", &path("send_leave", leave.event_id.as_str()), value(&leave)).ok();
    assert_eq!(answer, json!([200, {}]));
    assert_eq!(server.membership(room, fay.as_str()).as_deref(), Some("leave"));
}

#[test]
fn nobody_has_keys_and_nobody_is_said_to() {
    let scene = Scene::new();
    let (server, peer, alice) = (&scene.server, &scene.peer, &scene.alice.id);
    let ask =
        |what: &str, body: Value| peer.ask(server, "POST", &format!("/_matrix/federation/v1/user/keys/{what}"), body);
    let nobody = format!("@nobody:{}", server.server_name());
    let users = json!({ alice: [], &nobody: [], scene.eve.as_str(): [] });
    assert_eq!(ask("query", json!({ "device_keys": users })).ok(), json!({ "device_keys": { alice: {} } }));
    let devices = json!({ alice: { &scene.alice.device: "signed_curve25519" }, &nobody: { "D": "signed_curve25519" } });
    assert_eq!(ask("claim", json!({ "one_time_keys": devices })).ok(), json!({ "one_time_keys": {} }));
    let devices =
        |user: &str| peer.ask(server, "GET", &format!("/_matrix/federation/v1/user/devices/{user}"), Value::Null);
    assert_eq!(devices(alice).ok(), json!({ "user_id": alice, "stream_id": 1, "devices": [] }));
    devices(&nobody).is_error(404, "M_NOT_FOUND");
    devices(scene.eve.as_str()).is_error(404, "M_NOT_FOUND");
    devices("alice").is_error(400, "M_INVALID_PARAM");
    for what in ["query", "claim"] {
        ask(what, json!({})).is_error(400, "M_MISSING_PARAM");
        ask(what, json!({ "device_keys": null, "one_time_keys": null })).is_error(400, "M_BAD_JSON");
        ask(what, json!({ "device_keys": { "alice": [] }, "one_time_keys": { "alice": {} } }))
            .is_error(400, "M_BAD_JSON");
        ask(what, json!({ "device_keys": { alice: "all" }, "one_time_keys": { alice: "all" } }))
            .is_error(400, "M_BAD_JSON");
        let many: serde_json::Map<_, _> = (0..=1_000).map(|n| (format!("@u{n}:a.example"), json!([]))).collect();
        let many_claims: serde_json::Map<_, _> = (0..=1_000).map(|n| (format!("@u{n}:a.example"), json!({}))).collect();
        ask(what, json!({ "device_keys": many, "one_time_keys": many_claims })).is_error(413, "M_TOO_LARGE");
    }
}

#[test]
fn there_are_no_files_yet() {
    let scene = Scene::new();
    let ask =
        |path: &str| scene.peer.ask(&scene.server, "GET", &format!("/_matrix/federation/v1/media/{path}"), Value::Null);
    ask("download/abc").is_error(404, "M_NOT_FOUND");
    ask("download/abc?timeout_ms=1").is_error(404, "M_NOT_FOUND");
    ask("thumbnail/abc?width=32&height=32&method=crop&animated=true").is_error(404, "M_NOT_FOUND");
    ask("download/a%2Fb").is_error(400, "M_INVALID_PARAM");
    ask("download/abc?timeout_ms=soon").is_error(400, "M_INVALID_PARAM");
    ask("thumbnail/abc").is_error(400, "M_MISSING_PARAM");
    ask("thumbnail/abc?width=0&height=1").is_error(400, "M_INVALID_PARAM");
    ask("thumbnail/abc?width=-1&height=1").is_error(400, "M_INVALID_PARAM");
}

#[test]
fn what_is_not_offered_is_said_to_be() {
    let scene = Scene::new();
    let ask = |method: &str, path: &str, body: Value| scene.peer.ask(&scene.server, method, path, body);
    // No policy server, and no queries but those that are specified.
    ask("POST", "/_matrix/policy/v1/sign", json!({})).is_error(404, "M_UNRECOGNIZED");
    ask("GET", "/_matrix/federation/v1/query/anything", Value::Null).is_error(404, "M_UNRECOGNIZED");
}
