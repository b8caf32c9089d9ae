//! Lists of users' devices between servers: what is told of ours, what is believed of others', and what a gap leads to.
use std::collections::BTreeSet;

use ruma::{OwnedUserId, UserId, serde::Base64, signatures::Ed25519KeyPair};
use serde_json::{Map, Value, json};
use warren::{
    domain::device_list::DEVICE_KEYS_MAX_BYTES,
    homeserver::{
        Options,
        device_lists::{
            self, COPIES_PER_SERVER_MAX_BYTES, LISTED_DEVICES_MAX, List, outgoing::TOLD_ONE_BY_ONE_MAX,
            resync::ASKED_AGAIN_AFTER_MS, signing_keys,
        },
    },
    storage::memory::MemoryDisk,
};

use crate::{
    client_keys::{encrypt, ids, now, told},
    client_to_device::login,
    federation_network::{Carried, Link, Network},
    federation_peer::{Peer, PeerRoom},
    federation_scene::Scene,
    harness::TestServer,
    talk::next_txn,
};

const PASSWORD: &str = "correct horse";

fn devices_path(user: &str) -> String {
    format!("/_matrix/federation/v1/user/devices/{user}")
}

fn edu(kind: &str, content: Value) -> Value {
    json!({ "edu_type": kind, "content": content })
}

fn update(user: &UserId, device: &str, stream_id: u64, prev_id: &[u64]) -> Value {
    let content = json!({ "user_id": user, "device_id": device, "stream_id": stream_id, "prev_id": prev_id });
    edu("m.device_list_update", content)
}

fn keys_of(user: &UserId, device: &str) -> Value {
    json!({ "user_id": user, "device_id": device, "algorithms": [], "keys": {}, "signatures": {} })
}

/// The answer of a server that lists these devices.
fn listing(user: &UserId, stream_id: u64, devices: &[&str]) -> Value {
    let device = |id: &&str| json!({ "device_id": id, "keys": keys_of(user, id) });
    json!({ "user_id": user, "stream_id": stream_id, "devices": devices.iter().map(device).collect::<Vec<_>>() })
}

fn deliver(peer: &Peer, server: &TestServer, edus: &[Value]) {
    peer.send(server, &next_txn().to_string(), &[], edus).ok();
}

/// The updates of devices in what a server was sent, as `(device, stream_id, prev_id, name, deleted)`.
fn updates(bodies: impl IntoIterator<Item = Value>) -> Vec<(String, u64, Vec<u64>, Value, bool)> {
    let mut updates = Vec::new();
    for body in bodies {
        for edu in body["edus"].as_array().into_iter().flatten() {
            if edu["edu_type"] != "m.device_list_update" {
                continue;
            }
            let content = &edu["content"];
            let prev = content["prev_id"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
            updates.push((
                content["device_id"].as_str().unwrap().to_owned(),
                content["stream_id"].as_u64().unwrap(),
                prev,
                content["device_display_name"].clone(),
                content["deleted"] == true,
            ));
        }
    }
    updates
}

fn heard_by(peer: &Peer) -> Vec<(String, u64, Vec<u64>, Value, bool)> {
    updates(peer.take_heard().into_iter().map(|(_, body)| body))
}

/// A scene whose room is encrypted.
fn secret_scene() -> Scene {
    let scene = Scene::new();
    encrypt(&scene.server, &scene.alice, &scene.room);
    scene.network.settle();
    scene.peer.take_heard();
    scene
}

/// How often the peer was asked for a list since the last time.
fn asked(peer: &Peer) -> usize {
    peer.take_heard().iter().filter(|(path, _)| path.contains("/user/devices/")).count()
}

/// The devices of a user elsewhere, from our copy if there is one.
fn known(server: &TestServer, user: &UserId) -> Option<List> {
    server.run(device_lists::of_user(&server.homeserver, user)).unwrap().ok()
}

fn listed(server: &TestServer, user: &UserId) -> Vec<String> {
    known(server, user).map(|list| list.devices.into_keys().map(|id| id.to_string()).collect()).unwrap_or_default()
}

/// Has the server make a copy of Eve's list, which has these devices as of `stream_id`.
fn copy(scene: &Scene, stream_id: u64, devices: &[&str]) {
    scene.peer.says("GET", devices_path(scene.eve.as_str()), 200, listing(&scene.eve, stream_id, devices));
    assert_eq!(listed(&scene.server, &scene.eve), devices);
    assert_eq!(asked(&scene.peer), 1);
    assert_eq!(listed(&scene.server, &scene.eve), devices);
    assert_eq!(asked(&scene.peer), 0, "a copy needs no asking");
}

#[test]
fn every_change_of_devices_is_told_to_the_servers_in_the_users_rooms() {
    let network = Network::new();
    let (server, peer, stranger) = (network.server(), network.peer(), network.peer());
    let alice = server.register_with_password("alice", PASSWORD);
    let room = server.public_room(&alice);
    PeerRoom::join(&peer, &server, &room, &peer.user("eve"));
    peer.take_heard();
    let devices = |peer: &Peer| peer.ask(&server, "GET", &devices_path(&alice.id), Value::Null).ok();
    assert_eq!(devices(&peer), json!({ "user_id": alice.id, "stream_id": 1, "devices": [] }));
    let second = login(&server, "alice", PASSWORD);
    network.settle();
    assert_eq!(heard_by(&peer), [(second.device.clone(), 2, vec![1], Value::Null, false)]);
    let path = format!("/_matrix/client/v3/devices/{}", second.device);
    server.put(&path, &alice.token, json!({ "display_name": "phone" })).ok();
    network.settle();
    assert_eq!(heard_by(&peer), [(second.device.clone(), 3, vec![2], Value::Null, false)], "and not what it is called");
    // The same name again, and a login with the same device, change nothing.
    server.put(&path, &alice.token, json!({ "display_name": "phone" })).ok();
    let body = json!({
        "type": "m.login.password", "identifier": { "type": "m.id.user", "user": "alice" },
        "password": PASSWORD, "device_id": second.device,
    });
    let token = server.request("POST", "/_matrix/client/v3/login", None, body).ok()["access_token"].clone();
    network.settle();
    assert_eq!(heard_by(&peer), []);
    // The numbers go on after a restart.
    let server = network.restart(server);
    server.post("/_matrix/client/v3/logout", token.as_str().unwrap(), json!({})).ok();
    network.settle();
    assert_eq!(heard_by(&peer), [(second.device, 4, vec![3], Value::Null, true)]);
    let answer = peer.ask(&server, "GET", &devices_path(&alice.id), Value::Null).ok();
    assert_eq!(answer["stream_id"], 4);
    assert_eq!(heard_by(&stranger), []);
}

#[test]
fn many_changes_at_once_are_not_told_one_by_one() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let alice = server.register_with_password("alice", PASSWORD);
    (0..TOLD_ONE_BY_ONE_MAX + 5).for_each(|_| drop(login(&server, "alice", PASSWORD)));
    let room = server.public_room(&alice);
    PeerRoom::join(&peer, &server, &room, &peer.user("eve"));
    peer.take_heard();
    server.post("/_matrix/client/v3/logout/all", &alice.token, json!({})).ok();
    network.settle();
    let heard = heard_by(&peer);
    assert_eq!(heard.len(), TOLD_ONE_BY_ONE_MAX);
    // Each follows the one before, the first one that nobody heard.
    let last = 2 * (TOLD_ONE_BY_ONE_MAX as u64 + 6);
    let numbers: Vec<_> = heard.iter().map(|(_, id, prev, ..)| (*id, prev.clone())).collect();
    let expected: Vec<_> = (last - TOLD_ONE_BY_ONE_MAX as u64 + 1..=last).map(|id| (id, vec![id - 1])).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn a_server_that_was_away_is_told_what_it_missed() {
    let network = Network::new();
    let (a, b) = (network.server(), network.server());
    let (alice, bob) = (a.register_with_password("alice", PASSWORD), b.register("bob"));
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    network.settle();
    let since = now(&b, &bob);
    network.cut(&a, &b);
    let devices: Vec<_> = (0..3).map(|_| login(&a, "alice", PASSWORD).device).collect();
    network.settle();
    assert_eq!(told(&b, &bob, &since), (ids([]), ids([])));
    let a = network.restart(a);
    network.take_carried();
    network.reconnect(&a, &b);
    let sent = updates(network.take_carried().into_iter().map(|Carried { body, .. }| body));
    let sent: Vec<_> = sent.into_iter().map(|(device, id, prev, ..)| (device, id, prev)).collect();
    let expected: Vec<_> = devices.into_iter().zip(2_u64..).map(|(device, id)| (device, id, vec![id - 1])).collect();
    assert_eq!(sent, expected);
    assert_eq!(told(&b, &bob, &since), (ids([&alice]), ids([])));
}

#[test]
fn who_joins_is_announced_to_servers_that_hear_of_it_first() {
    let network = Network::new();
    let (a, b) = (network.server(), network.server());
    let (alice, bob) = (a.register("alice"), b.register("bob"));
    let (one, two) = (a.public_room(&alice), a.public_room(&alice));
    let since = now(&a, &alice);
    let announced = || updates(network.take_carried().into_iter().map(|carried| carried.body));
    b.join_via(&bob, &one, a.server_name()).ok();
    network.settle();
    assert_eq!(announced(), [(bob.device.clone(), 1, vec![], Value::Null, false)]);
    assert_eq!(told(&a, &alice, &since), (ids([&bob]), ids([])));
    b.join_via(&bob, &two, a.server_name()).ok();
    network.settle();
    assert_eq!(announced(), [], "it hears of Bob already");
    let since = now(&a, &alice);
    b.leave(&bob, &one);
    b.leave(&bob, &two);
    network.settle();
    assert_eq!(told(&a, &alice, &since), (ids([]), ids([&bob])));
    // Who shares no room any more is told nothing.
    network.take_carried();
    b.put(&format!("/_matrix/client/v3/devices/{}", bob.device), &bob.token, json!({ "display_name": "x" })).ok();
    network.settle();
    assert_eq!(announced(), []);
}

#[test]
fn what_devices_are_called_is_told_to_other_servers_only_where_that_is_wanted() {
    for shares_device_names in [false, true] {
        let network = Network::new();
        let options = Options { shares_device_names, ..Options::default() };
        let (server, peer) = (network.server_with(MemoryDisk::default(), options), network.peer());
        let alice = server.register("alice");
        let room = server.public_room(&alice);
        PeerRoom::join(&peer, &server, &room, &peer.user("eve"));
        peer.take_heard();
        let path = format!("/_matrix/client/v3/devices/{}", alice.device);
        server.put(&path, &alice.token, json!({ "display_name": "Alice's phone, Galaxy S99" })).ok();
        network.settle();
        let names: Vec<_> = heard_by(&peer).into_iter().map(|(.., name, _)| name).collect();
        assert_eq!(names, [json!(shares_device_names.then_some("Alice's phone, Galaxy S99"))]);
        // To its user it is called so either way.
        assert_eq!(server.get(&path, &alice.token).ok()["display_name"], "Alice's phone, Galaxy S99");
    }
}

#[test]
fn updates_in_order_go_into_the_copy_and_a_gap_has_the_list_asked_for() {
    let scene = secret_scene();
    let Scene { network, server, peer, eve, alice, .. } = &scene;
    let eve_is_told = BTreeSet::from([eve.to_string()]);
    copy(&scene, 5, &["A"]);
    let since = now(server, alice);
    let mut next = update(eve, "B", 6, &[5]);
    next["content"]["device_display_name"] = json!("Bee");
    next["content"]["keys"] = keys_of(eve, "B");
    deliver(peer, server, std::slice::from_ref(&next));
    let list = known(server, eve).unwrap();
    assert_eq!(listed(server, eve), ["A", "B"]);
    let b = &list.devices[<&ruma::DeviceId>::from("B")];
    assert_eq!((b.display_name.as_deref(), b.keys.is_some()), (Some("Bee"), true));
    assert_eq!(told(server, alice, &since), (eve_is_told.clone(), ids([])));
    // Once more, it is the same.
    let since = now(server, alice);
    deliver(peer, server, &[next]);
    assert_eq!(told(server, alice, &since), (ids([]), ids([])));
    let mut gone = update(eve, "A", 7, &[6]);
    gone["content"]["deleted"] = json!(true);
    deliver(peer, server, &[gone, update(eve, "C", 8, &[7])]);
    assert_eq!(listed(server, eve), ["B", "C"]);
    assert_eq!(asked(peer), 0, "nothing was missing");
    // 9 is lost.
    peer.says("GET", devices_path(eve.as_str()), 200, listing(eve, 11, &["B", "D"]));
    let since = now(server, alice);
    deliver(peer, server, &[update(eve, "D", 10, &[9]), update(eve, "E", 11, &[10])]);
    network.advance(ASKED_AGAIN_AFTER_MS);
    assert_eq!(asked(peer), 1, "both lead to one question");
    assert_eq!(listed(server, eve), ["B", "D"]);
    assert_eq!(told(server, alice, &since), (eve_is_told, ids([])));
    deliver(peer, server, &[update(eve, "F", 12, &[11])]);
    assert_eq!((listed(server, eve), asked(peer)), (["B", "D", "F"].map(str::to_owned).to_vec(), 0));
}

#[test]
fn a_list_is_asked_for_until_its_server_answers_also_after_a_restart() {
    let scene = secret_scene();
    copy(&scene, 5, &["A"]);
    let Scene { network, server, peer, eve, .. } = scene;
    peer.says("GET", devices_path(eve.as_str()), 503, json!({ "errcode": "M_UNKNOWN", "error": "busy" }));
    deliver(&peer, &server, &[update(&eve, "B", 7, &[6])]);
    network.advance(60_000);
    let times = asked(&peer);
    assert!((1..=10).contains(&times), "with pauses: {times}");
    network.advance(24 * 3_600_000);
    asked(&peer);
    let server = network.restart(server);
    network.settle();
    assert_eq!(asked(&peer), 1, "a restart asks");
    peer.says("GET", devices_path(eve.as_str()), 200, listing(&eve, 7, &["A", "B"]));
    // Its return ends the wait for the server, not the pause between two questions for one list.
    network.advance(ASKED_AGAIN_AFTER_MS);
    server.homeserver.peer_connected(peer.name().to_owned());
    network.settle();
    assert_eq!(asked(&peer), 1);
    assert_eq!((listed(&server, &eve), asked(&peer)), (["A", "B"].map(str::to_owned).to_vec(), 0));
}

#[test]
fn what_changes_while_a_list_is_asked_for_has_it_asked_for_again() {
    let scene = secret_scene();
    let Scene { network, server, peer, eve, .. } = &scene;
    copy(&scene, 5, &["A"]);
    network.link(server.server_name(), peer.name(), Link::For("/user/devices/", Box::new(Link::Slow(1_000))));
    peer.says("GET", devices_path(eve.as_str()), 200, listing(eve, 7, &["A", "B"]));
    deliver(peer, server, &[update(eve, "B", 7, &[6])]);
    // The next update overtakes the answer.
    peer.says("GET", devices_path(eve.as_str()), 200, listing(eve, 8, &["A", "B", "C"]));
    deliver(peer, server, &[update(eve, "C", 8, &[7])]);
    network.advance(1_000);
    assert_eq!(asked(peer), 1);
    network.advance(ASKED_AGAIN_AFTER_MS);
    assert_eq!(asked(peer), 1);
    network.advance(1_000);
    assert_eq!((listed(server, eve), asked(peer)), (["A", "B", "C"].map(str::to_owned).to_vec(), 0));
}

#[test]
fn who_leaves_the_last_room_is_forgotten_and_known_anew_when_back() {
    let mut scene = secret_scene();
    copy(&scene, 5, &["A"]);
    let leave = scene.event("m.room.member", Some(scene.eve.clone().as_str()), json!({ "membership": "leave" }));
    assert_eq!(scene.send(&leave), None);
    scene.network.settle();
    let Scene { server, peer, eve, room, alice, .. } = &scene;
    peer.take_heard();
    // Without a room in common no copy is kept, and no update is taken.
    peer.says("GET", devices_path(eve.as_str()), 200, listing(eve, 9, &["Z"]));
    assert_eq!(
        (listed(server, eve), listed(server, eve), asked(peer)),
        (vec!["Z".to_owned()], vec!["Z".to_owned()], 2)
    );
    let since = now(server, alice);
    PeerRoom::join(peer, server, room, eve);
    assert_eq!(told(server, alice, &since), ([eve.to_string()].into(), ids([])));
    peer.take_heard();
    copy(&scene, 9, &["Z"]);
    // When nobody of ours is in the room any more it is forgotten as well.
    scene.server.leave(&scene.alice, &scene.room);
    scene.network.settle();
    scene.peer.take_heard();
    assert_eq!((listed(&scene.server, &scene.eve), asked(&scene.peer)), (vec!["Z".to_owned()], 1));
}

#[test]
fn without_an_encrypted_room_a_change_is_told_and_nobody_is_asked() {
    let scene = Scene::new();
    let Scene { network, server, peer, eve, alice, .. } = &scene;
    let since = now(server, alice);
    deliver(peer, server, &[update(eve, "B", 7, &[6])]);
    assert_eq!(told(server, alice, &since), ([eve.to_string()].into(), ids([])));
    network.advance(3_600_000);
    assert_eq!(asked(peer), 0);
}

/// A key pair with the object that publishes its public half.
struct Key {
    pair: Ed25519KeyPair,
    id: String,
}

impl Key {
    fn new(seed: u8) -> Self {
        let mut der =
            vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        der.extend([seed; 32]);
        let pair = Ed25519KeyPair::from_der(&der, "x".to_owned()).unwrap();
        let id = Base64::<ruma::serde::base64::Standard, _>::new(pair.public_key().to_vec()).encode();
        Self { pair, id }
    }

    fn object(&self, user: &UserId, usage: &str) -> Map<String, Value> {
        let object = json!({ "user_id": user, "usage": [usage], "keys": { format!("ed25519:{}", self.id): self.id } });
        object.as_object().unwrap().clone()
    }

    fn signs(&self, user: &UserId, object: Map<String, Value>) -> Map<String, Value> {
        let mut canonical = ruma::canonical_json::try_from_json_map(object).unwrap();
        let text = ruma::signatures::to_canonical_json_string_for_signing(&canonical).unwrap();
        let signature = ruma::signatures::KeyPair::sign(&self.pair, text.as_bytes());
        let signature = Base64::<ruma::serde::base64::Standard, _>::new(signature.as_bytes().to_vec()).encode();
        let signatures = json!({ user.as_str(): { format!("ed25519:{}", self.id): signature } });
        canonical.insert("signatures".to_owned(), signatures.try_into().unwrap());
        serde_json::to_value(canonical).unwrap().as_object().unwrap().clone()
    }
}

fn signing_edu(user: &UserId, master: Option<Map<String, Value>>, own: Option<Map<String, Value>>) -> Value {
    let mut content = json!({ "user_id": user });
    if let Some(master) = master {
        content["master_key"] = json!(master);
    }
    if let Some(own) = own {
        content["self_signing_key"] = json!(own);
    }
    edu("m.signing_key_update", content)
}

#[test]
fn signing_keys_are_kept_that_hold_and_told_of() {
    let scene = secret_scene();
    let Scene { network, server, peer, eve, alice, .. } = &scene;
    copy(&scene, 5, &["A"]);
    let (master, own) = (Key::new(1), Key::new(2));
    let since = now(server, alice);
    let (master_key, own_key) = (master.object(eve, "master"), master.signs(eve, own.object(eve, "self_signing")));
    deliver(peer, server, &[signing_edu(eve, Some(master_key.clone()), Some(own_key.clone()))]);
    assert_eq!(told(server, alice, &since), ([eve.to_string()].into(), ids([])));
    let keys = known(server, eve).unwrap().keys;
    assert_eq!((keys.master.as_ref(), keys.self_signing.as_ref()), (Some(&master_key), Some(&own_key)));
    // The same once more is no change; a new master key takes the other's word away.
    let since = now(server, alice);
    deliver(peer, server, &[signing_edu(eve, Some(master_key), None)]);
    assert_eq!(told(server, alice, &since), (ids([]), ids([])));
    let other = Key::new(3).object(eve, "master");
    deliver(peer, server, &[signing_edu(eve, Some(other.clone()), None)]);
    let keys = known(server, eve).unwrap().keys;
    assert_eq!((keys.master, keys.self_signing), (Some(other), None));
    assert_eq!(told(server, alice, &since), ([eve.to_string()].into(), ids([])));
    // With a list they come too, as far as they hold.
    let mut answer = listing(eve, 9, &["A"]);
    answer["master_key"] = json!(master.object(eve, "master"));
    answer["self_signing_key"] = json!(own.object(eve, "self_signing"));
    peer.says("GET", devices_path(eve.as_str()), 200, answer);
    deliver(peer, server, &[update(eve, "A", 9, &[8])]);
    network.advance(ASKED_AGAIN_AFTER_MS);
    let keys = known(server, eve).unwrap().keys;
    assert_eq!((keys.master, keys.self_signing), (Some(master.object(eve, "master")), None));
}

#[test]
fn a_users_own_signing_keys_are_told_to_servers_and_answered_with() {
    let scene = Scene::new();
    let Scene { network, server, peer, alice, .. } = &scene;
    let user: OwnedUserId = alice.id.as_str().try_into().unwrap();
    let (master, own) = (Key::new(4), Key::new(5));
    let (master_key, own_key) =
        (master.object(&user, "master"), master.signs(&user, own.object(&user, "self_signing")));
    let since = now(server, alice);
    let set = |master: Option<&Map<String, Value>>, own: Option<&Map<String, Value>>| {
        server.run(signing_keys::set(&server.homeserver, &user, master.cloned(), own.cloned()))
    };
    assert!(set(None, Some(&own_key)).is_err(), "there is no master key yet");
    set(Some(&master_key), Some(&own_key)).unwrap();
    set(Some(&master_key), None).unwrap();
    network.settle();
    let heard: Vec<Value> = peer.take_heard().into_iter().map(|(_, body)| body["edus"].clone()).collect();
    assert_eq!(heard, [json!([signing_edu(&user, Some(master_key.clone()), Some(own_key.clone()))])]);
    assert_eq!(told(server, alice, &since), (ids([alice]), ids([])));
    let devices = peer.ask(server, "GET", &devices_path(&alice.id), Value::Null).ok();
    let expected = json!({
        "user_id": alice.id, "stream_id": 1, "devices": [], "master_key": master_key, "self_signing_key": own_key,
    });
    assert_eq!(devices, expected);
    let body = json!({ "device_keys": { &alice.id: [] } });
    let expected = json!({
        "device_keys": { &alice.id: {} }, "master_keys": { &alice.id: master_key },
        "self_signing_keys": { &alice.id: own_key },
    });
    assert_eq!(peer.ask(server, "POST", "/_matrix/federation/v1/user/keys/query", body).ok(), expected);
}

#[test]
fn nobody_speaks_of_another_servers_users_devices() {
    let scene = secret_scene();
    let Scene { server, peer, eve, alice, network, .. } = &scene;
    let other = network.peer();
    copy(&scene, 5, &["A"]);
    let since = now(server, alice);
    deliver(&other, server, &[update(eve, "B", 6, &[5])]);
    deliver(peer, server, &[update(alice.id.as_str().try_into().unwrap(), "B", 2, &[1])]);
    assert_eq!((listed(server, eve), asked(peer)), (vec!["A".to_owned()], 0));
    assert_eq!(told(server, alice, &since), (ids([]), ids([])));
}

#[test]
fn an_answer_about_another_user_is_no_list() {
    let scene = secret_scene();
    let Scene { server, peer, eve, alice, network, .. } = &scene;
    copy(&scene, 5, &["A"]);
    let mut answer = listing(eve, 9, &["X"]);
    answer["user_id"] = json!(alice.id);
    peer.says("GET", devices_path(eve.as_str()), 200, answer);
    deliver(peer, server, &[update(eve, "B", 9, &[8])]);
    network.advance(ASKED_AGAIN_AFTER_MS);
    assert_eq!(known(server, eve), None);
}

#[test]
fn what_is_said_of_users_whom_nobody_here_meets_leaves_nothing_behind() {
    let scene = secret_scene();
    let Scene { server, peer, network, .. } = &scene;
    let before = server.disk.bytes_stored();
    let edus: Vec<_> = (0..50).map(|n| update(&peer.user(&format!("u{n}")), "D", 1, &[])).collect();
    deliver(peer, server, &edus);
    network.advance(ASKED_AGAIN_AFTER_MS);
    assert_eq!((server.disk.bytes_stored(), asked(peer)), (before, 0));
}

#[test]
fn a_flood_of_updates_has_a_list_asked_for_now_and_then() {
    let scene = secret_scene();
    let Scene { server, peer, eve, network, .. } = &scene;
    copy(&scene, 5, &["A"]);
    for round in 0..10 {
        let flood: Vec<_> = (0..100).map(|n| update(eve, "B", 1_000 * (100 * round + n), &[7])).collect();
        deliver(peer, server, &flood);
        network.advance(ASKED_AGAIN_AFTER_MS / 10);
    }
    let times = asked(peer);
    assert!((1..=2).contains(&times), "{times}");
}

#[test]
fn an_update_that_points_anywhere_is_not_put_into_the_copy() {
    let scene = secret_scene();
    let Scene { server, peer, eve, network, .. } = &scene;
    copy(&scene, 5, &["A"]);
    for (stream_id, prev_id) in [(6, &[] as &[u64]), (7, &[7]), (8, &[5, 6]), (3, &[5]), (9, &[1_000])] {
        deliver(peer, server, &[update(eve, "X", stream_id, prev_id)]);
        network.advance(ASKED_AGAIN_AFTER_MS);
        assert_eq!((listed(server, eve), asked(peer)), (vec!["A".to_owned()], 1), "{stream_id} {prev_id:?}");
    }
}

#[test]
fn a_list_that_is_too_long_is_not_kept() {
    let scene = secret_scene();
    let Scene { server, peer, eve, network, .. } = &scene;
    let names: Vec<String> = (0..=LISTED_DEVICES_MAX).map(|n| format!("D{n:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    peer.says("GET", devices_path(eve.as_str()), 200, listing(eve, 5, &names));
    deliver(peer, server, &[update(eve, "B", 5, &[4])]);
    network.settle();
    assert_eq!((known(server, eve), asked(peer)), (None, 2), "asked for each time, never kept");
    // Nor does it grow too long.
    copy(&scene, 5, &names[..LISTED_DEVICES_MAX]);
    deliver(peer, server, &[update(eve, "ONE-MORE", 6, &[5])]);
    assert_eq!((listed(server, eve).len(), asked(peer)), (LISTED_DEVICES_MAX, 1), "there is no copy any more");
}

#[test]
fn what_is_kept_of_one_servers_lists_is_bounded_in_bytes() {
    let scene = secret_scene();
    let Scene { server, peer, eve, .. } = &scene;
    copy(&scene, 0, &[]);
    let size = DEVICE_KEYS_MAX_BYTES as u64 - 1_000;
    let fits = COPIES_PER_SERVER_MAX_BYTES / (size + 400) - 1;
    let large = |n: u64| {
        let device = format!("D{n:04}");
        let mut edu = update(eve, &device, n, &[n - 1]);
        edu["content"]["keys"] = keys_of(eve, &device);
        edu["content"]["keys"]["padding"] = json!("x".repeat(size as usize));
        edu
    };
    let edus: Vec<_> = (1..=fits).map(large).collect();
    edus.chunks(50).for_each(|edus| deliver(peer, server, edus));
    assert_eq!((listed(server, eve).len() as u64, asked(peer)), (fits, 0));
    let edus: Vec<_> = (fits + 1..fits + 20).map(large).collect();
    deliver(peer, server, &edus);
    assert_eq!((listed(server, eve), asked(peer) > 0), (Vec::new(), true), "none of it is kept any more");
}

#[test]
fn a_device_with_anothers_keys_is_none() {
    let scene = secret_scene();
    let Scene { server, peer, eve, alice, network, .. } = &scene;
    let mut answer = listing(eve, 5, &["A", "B", "C"]);
    answer["devices"][1]["keys"] = keys_of(alice.id.as_str().try_into().unwrap(), "B");
    answer["devices"][2]["keys"] = keys_of(eve, "A");
    peer.says("GET", devices_path(eve.as_str()), 200, answer);
    deliver(peer, server, &[update(eve, "B", 5, &[4])]);
    network.settle();
    assert_eq!((listed(server, eve), asked(peer)), (vec!["A".to_owned()], 1));
    let mut wrong = update(eve, "D", 6, &[5]);
    wrong["content"]["keys"] = keys_of(eve, "A");
    deliver(peer, server, &[wrong]);
    assert_eq!(listed(server, eve), ["A"]);
}

#[test]
fn nobody_speaks_of_the_keys_of_another_servers_users() {
    let scene = secret_scene();
    let Scene { server, peer, eve, alice, network, .. } = &scene;
    let other = network.peer();
    copy(&scene, 5, &["A"]);
    let since = now(server, alice);
    let user: OwnedUserId = alice.id.as_str().try_into().unwrap();
    deliver(&other, server, &[signing_edu(eve, Some(Key::new(9).object(eve, "master")), None)]);
    deliver(peer, server, &[signing_edu(&user, Some(Key::new(9).object(&user, "master")), None)]);
    assert_eq!(known(server, eve).unwrap().keys, Default::default());
    assert_eq!(told(server, alice, &since), (ids([]), ids([])));
}

#[test]
fn signing_keys_that_do_not_hold_are_not_kept() {
    let scene = secret_scene();
    let Scene { server, peer, eve, alice, .. } = &scene;
    copy(&scene, 5, &["A"]);
    let (master, own, wrong) = (Key::new(6), Key::new(7), Key::new(8));
    let good = || Some(master.object(eve, "master"));
    let change = |field: &str, value: Value| {
        let mut key = master.object(eve, "master");
        key.insert(field.to_owned(), value);
        Some(key)
    };
    let since = now(server, alice);
    // By the name of the master key, but not by it.
    let mut forged = wrong.signs(eve, own.object(eve, "self_signing"));
    let signature = forged["signatures"][eve.as_str()][format!("ed25519:{}", wrong.id)].clone();
    forged["signatures"] = json!({ eve.as_str(): { format!("ed25519:{}", master.id): signature } });
    let bad = [
        // Of another, for something else, or no key.
        signing_edu(eve, change("user_id", json!(alice.id)), None),
        signing_edu(eve, Some(master.object(eve, "self_signing")), None),
        signing_edu(eve, change("usage", json!("master")), None),
        signing_edu(eve, change("keys", json!({})), None),
        signing_edu(eve, change("keys", json!({ "ed25519:a": "b" })), None),
        signing_edu(eve, change("keys", json!({ format!("ed25519:{}", own.id): master.id })), None),
        signing_edu(eve, change("padding", json!("x".repeat(20 << 10))), None),
        // Not signed, signed by another, or with no master key to sign it.
        signing_edu(eve, good(), Some(own.object(eve, "self_signing"))),
        signing_edu(eve, good(), Some(wrong.signs(eve, own.object(eve, "self_signing")))),
        signing_edu(eve, good(), Some(forged)),
        signing_edu(eve, None, Some(master.signs(eve, own.object(eve, "self_signing")))),
        edu("m.signing_key_update", json!({ "user_id": eve, "master_key": "none" })),
        edu("m.signing_key_update", json!({ "user_id": 7 })),
        edu("m.signing_key_update", json!([])),
    ];
    deliver(peer, server, &bad);
    deliver(
        peer,
        server,
        &[signing_edu(&peer.user("nobody"), Some(master.object(&peer.user("nobody"), "master")), None)],
    );
    assert_eq!(known(server, eve).unwrap().keys, Default::default());
    assert_eq!(told(server, alice, &since), (ids([]), ids([])));
}
