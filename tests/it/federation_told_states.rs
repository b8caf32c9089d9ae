//! States that are told because what came before cannot be had: no server's word is taken alone, nor held against an event.
use std::{collections::BTreeMap, rc::Rc};

use ruma::{OwnedEventId, OwnedUserId};
use serde_json::{Value, json};
use warren::domain::event::Pdu;

use crate::{
    federation_network::Link,
    federation_peer::{Peer, PeerRoom, value},
    federation_scene::Scene,
};

const MISSING: &str = "/get_missing_events/";

/// Hal has said two things, each on a server that is but a key. Eve's server hands on the second; the first is yet to be had.
struct Relayed {
    scene: Scene,
    hal: Rc<Peer>,
    user: OwnedUserId,
    known: PeerRoom,
    first: Rc<Pdu>,
    second: Rc<Pdu>,
}

impl Relayed {
    fn new() -> Self {
        let scene = Scene::new();
        let hal = scene.network.peer();
        let user = hal.user("hal");
        let mut known = PeerRoom::join(&hal, &scene.server, &scene.room, &user);
        let said = known.clone();
        let first = known.say(&hal, &user, "first");
        let second = known.say(&hal, &user, "second");
        Self { scene, hal, user, known: said, first, second }
    }

    /// The state before both, and that without Hal.
    fn states(&self) -> [Vec<OwnedEventId>; 2] {
        let hal = ("m.room.member".to_owned(), self.user.to_string());
        let without = self.known.state.iter().filter(|(key, _)| **key != hal).map(|(_, id)| id.clone()).collect();
        [self.known.state.values().cloned().collect(), without]
    }

    /// Another server in the room.
    fn further(&self, name: &str) -> Rc<Peer> {
        let peer = self.scene.network.peer();
        PeerRoom::join(&peer, &self.scene.server, &self.scene.room, &peer.user(name));
        peer
    }

    fn state_before_second(&self) -> BTreeMap<(String, String), OwnedEventId> {
        let event = self.scene.server.inspected_event(self.second.event_id.as_str()).expect("it is here");
        event.state_before.expect("it has its place")
    }
}

fn tells(peer: &Peer, state: &[OwnedEventId]) {
    peer.says("GET", "/state_ids/", 200, json!({ "pdu_ids": state, "auth_chain_ids": state }));
}

#[test]
fn what_one_leaves_out_of_a_state_another_knows_of() {
    let relayed = Relayed::new();
    let [whole, without] = relayed.states();
    tells(&relayed.scene.peer, &without);
    tells(&relayed.hal, &whole);
    assert_eq!(relayed.scene.send(&relayed.second), None);
    assert_eq!(relayed.scene.said(), ["second"]);
    assert_eq!(relayed.state_before_second(), relayed.known.state);
}

#[test]
fn what_most_say_of_a_state_holds() {
    let mut relayed = Relayed::new();
    let ivy = relayed.further("ivy");
    let [whole, _] = relayed.states();
    let (eve, peer) = (relayed.scene.eve.clone(), relayed.scene.peer.clone());
    let joined = json!({ "membership": "join", "displayname": "somebody else" });
    let tale = relayed.known.make(&peer, &eve, "m.room.member", Some(eve.as_str()), joined);
    let place = ("m.room.member".to_owned(), eve.to_string());
    let other = |id: &OwnedEventId| if *id == relayed.known.state[&place] { &tale.event_id } else { id }.clone();
    tells(&peer, &whole.iter().map(other).collect::<Vec<_>>());
    let event = json!({ "origin": peer.name(), "origin_server_ts": 1, "pdus": [value(&tale)] });
    peer.says("GET", "/event/", 200, event);
    tells(&relayed.hal, &whole);
    tells(&ivy, &whole);
    assert_eq!(relayed.scene.send(&relayed.second), None);
    assert_eq!(relayed.scene.said(), ["second"]);
    assert_eq!(relayed.state_before_second(), relayed.known.state);
}

#[test]
fn who_does_not_answer_is_asked_for_one_state_and_no_other() {
    let mut relayed = Relayed::new();
    let [whole, _] = relayed.states();
    let (peer, eve) = (relayed.scene.peer.clone(), relayed.scene.eve.clone());
    tells(&peer, &whole);
    let silent = Link::For("/state_ids/", Box::new(Link::Down));
    relayed.scene.network.link(relayed.scene.server.server_name(), relayed.hal.name(), silent);
    // Two branches, of each of which the beginning is nowhere to be had.
    let ends: Vec<_> = (0..2)
        .map(|n| {
            let mut branch = relayed.known.clone();
            branch.heads = vec![format!("$nowhere{n}").try_into().unwrap()];
            branch.make(&peer, &eve, "m.room.message", None, json!({ "body": n }))
        })
        .collect();
    let events: Vec<_> = ends.iter().map(|end| value(end)).collect();
    peer.says("POST", MISSING, 200, json!({ "events": events }));
    relayed.known.heads = ends.iter().map(|end| end.event_id.clone()).collect();
    let last = relayed.known.say(&peer, &eve, "at last");
    relayed.scene.network.take_carried();
    assert_eq!(relayed.scene.send(&last), None);
    assert_eq!(relayed.scene.said().last().map(String::as_str), Some("at last"));
    let carried = relayed.scene.network.take_carried();
    let asked = carried.iter().filter(|request| request.path.contains("/state_ids/")).count();
    assert_eq!(asked, 3, "Eve's server twice, Hal's once");
}

#[test]
fn who_tells_no_state_of_the_room_has_no_say() {
    let relayed = Relayed::new();
    let ivy = relayed.further("ivy");
    let [whole, _] = relayed.states();
    tells(&relayed.scene.peer, &[]);
    tells(&ivy, &[]);
    tells(&relayed.hal, &whole);
    assert_eq!(relayed.scene.send(&relayed.second), None);
    assert_eq!(relayed.scene.said(), ["second"]);
}

#[test]
fn a_told_state_condemns_no_event() {
    let relayed = Relayed::new();
    let (server, hal) = (&relayed.scene.server, &relayed.hal);
    let [_, without] = relayed.states();
    tells(&relayed.scene.peer, &without);
    relayed.scene.network.link(server.server_name(), hal.name(), Link::Down);
    assert_eq!(relayed.scene.send(&relayed.second), None);
    assert_eq!((relayed.scene.said().len(), relayed.scene.staged()), (0, 1));
    relayed.scene.network.link(server.server_name(), hal.name(), Link::Up);
    hal.says("POST", MISSING, 200, json!({ "events": [value(&relayed.first)] }));
    server.homeserver.peer_connected(hal.name().to_owned());
    server.settle();
    assert_eq!(relayed.scene.said(), ["first", "second"]);
    assert_eq!(relayed.scene.staged(), 0);
}

#[test]
fn who_gives_little_at_a_time_keeps_us_from_nobody() {
    let Relayed { scene, hal, user, mut known, .. } = Relayed::new();
    let chain: Vec<Rc<Pdu>> = (0..40).map(|n| known.say(&hal, &user, &format!("{n}"))).collect();
    let before: BTreeMap<String, Value> =
        chain.windows(2).map(|pair| (pair[1].event_id.to_string(), value(&pair[0]))).collect();
    scene.peer.on("POST", MISSING, move |request| {
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        let latest = body["latest_events"].as_array().unwrap();
        let events: Vec<_> = latest.iter().filter_map(|id| before.get(id.as_str().unwrap())).collect();
        (200, json!({ "events": events }))
    });
    let all: Vec<Value> = chain[..39].iter().map(|event| value(event)).collect();
    hal.says("POST", MISSING, 200, json!({ "events": all }));
    assert_eq!(scene.send(&chain[39]), None);
    assert_eq!(scene.said().len(), 40);
}
