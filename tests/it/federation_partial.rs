//! Joins whose answer leaves out most members: given to who asks for it, and not taken from who was not asked.
use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    federation_network::Network,
    federation_peer::{Peer, PeerRoom, value},
    harness::TestServer,
    talk::escaped,
};

fn send_join(peer: &Peer, server: &TestServer, room: &str, query: &str) -> (PeerRoom, Value) {
    let known = PeerRoom::create(peer, &peer.user("eve"), &ruma::RoomVersionId::V12);
    let (_, join) = PeerRoom::make_join(peer, server, room, &peer.user("eve"));
    let path = format!("/_matrix/federation/v2/send_join/{}/{}", escaped(room), escaped(join.event_id.as_str()));
    let answer = peer.ask(server, "PUT", &format!("{path}{query}"), value(&join)).ok();
    (known, answer)
}

fn members(events: &Value) -> BTreeSet<String> {
    let events = events.as_array().unwrap().iter().filter(|event| event["type"] == "m.room.member");
    events.map(|event| event["state_key"].as_str().unwrap().to_owned()).collect()
}

/// Everything the events cite, by id.
fn cited(known: &PeerRoom, events: &[&Value]) -> BTreeSet<String> {
    let all = events.iter().flat_map(|event| known.parse(event).auth_events);
    all.map(|id| id.to_string()).collect()
}

#[test]
fn a_room_with_a_name_is_told_without_its_members() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let alice = server.register("alice");
    let room = server.create_room(&alice, json!({ "preset": "public_chat", "name": "Hall", "room_version": "12" }));
    let guests: Vec<_> = (0..8).map(|n| server.register(&format!("guest{n}"))).collect();
    guests.iter().for_each(|guest| server.join(guest, &room));
    let (known, whole) = send_join(&peer, &server, &room, "");
    assert_eq!(members(&whole["state"]).len(), 9);
    assert!(whole.get("servers_in_room").is_none() && whole.get("members_omitted").is_none());
    let (_, partial) = send_join(&peer, &server, &room, "?omit_members=true");
    assert_eq!(partial["members_omitted"], true);
    assert!(partial["servers_in_room"].as_array().unwrap().contains(&json!(server.server_name())));
    // Eve is in the room by now: it is she whom she has least use of.
    assert!(members(&partial["state"]).is_empty(), "{}", partial["state"]);
    // Nothing that is cited is missing, and nothing is told twice.
    let all: Vec<_> = ["state", "auth_chain"].iter().flat_map(|list| partial[*list].as_array().unwrap()).collect();
    let ids: Vec<_> = all.iter().map(|event| known.parse(event).event_id.to_string()).collect();
    let told: BTreeSet<_> = ids.iter().cloned().collect();
    assert_eq!(told.len(), ids.len());
    assert!(cited(&known, &all).is_subset(&told));
    let join = &partial["event"];
    assert!(cited(&known, &[join]).is_subset(&told), "what the join rests on is there");
}

#[test]
fn a_room_without_a_name_is_told_with_those_it_is_named_after() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let alice = server.register("alice");
    let room = server.create_room(&alice, json!({ "preset": "public_chat", "room_version": "12" }));
    let guests: Vec<_> = (0..8).map(|n| server.register(&format!("guest{n}"))).collect();
    guests.iter().for_each(|guest| server.join(guest, &room));
    let (_, partial) = send_join(&peer, &server, &room, "?omit_members=true");
    let told = members(&partial["state"]);
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told.contains(&alice.id));
}

#[test]
fn an_answer_without_members_that_was_not_asked_for_is_not_a_room() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let bob = server.register("bob");
    let eve = peer.user("eve");
    let mut known = PeerRoom::create(&peer, &eve, &ruma::RoomVersionId::V12);
    let join = known.draft(
        &bob.id.as_str().try_into().unwrap(),
        "m.room.member",
        Some(&bob.id),
        json!({ "membership": "join" }),
    );
    let position = known.position(&join);
    let template = value(&known.seal(&peer, join, position));
    peer.says("GET", "/make_join/", 200, json!({ "room_version": "12", "event": template }));
    let answer = json!({ "state": known.state_events(), "auth_chain": known.auth_chain(), "members_omitted": true, "servers_in_room": [peer.name()] });
    let partial = answer.clone();
    peer.on("PUT", "/v2/send_join/", move |request| {
        let mut answer = partial.clone();
        answer["event"] = serde_json::from_slice(request.body()).unwrap();
        (200, answer)
    });
    server.join_via(&bob, &known.id, peer.name()).is_error(502, "M_UNKNOWN");
    assert!(!server.is_resident(&known.id), "nothing of it is kept");
    let asked: Vec<_> =
        peer.take_heard().into_iter().map(|(path, _)| path).filter(|path| path.contains("send_join")).collect();
    assert!(asked.iter().all(|path| !path.contains("omit_members=true")), "{asked:?}");
    let mut whole = answer;
    whole["members_omitted"] = json!(false);
    peer.on("PUT", "/v2/send_join/", move |request| {
        let mut answer = whole.clone();
        answer["event"] = serde_json::from_slice(request.body()).unwrap();
        (200, answer)
    });
    server.join_via(&bob, &known.id, peer.name()).ok();
}
