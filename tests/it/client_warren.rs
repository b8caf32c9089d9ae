//! Warren's own endpoints, and the answer about TURN servers.
use serde_json::json;
use warren::{
    domain::identity::PublicKey,
    homeserver::{Options, turn::TurnServer},
};

use crate::{
    federation_network::{Network, address_of},
    harness::{TestServer, request},
};

const HINTS: &str = "/_matrix/client/unstable/warren/address_hints";
const ADDRESS: &str = "/ip4/192.0.2.1/tcp/443/wss";

fn somebody() -> String {
    PublicKey([9; 32]).server_name("alt").unwrap().to_string()
}

#[test]
fn hints_reach_the_transport() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let body = json!({ "servers": { somebody(): [ADDRESS] } });
    assert_eq!(server.post(HINTS, &alice.token, body).ok(), json!({}));
    let hints = server.transport.hints.borrow();
    assert_eq!(hints.iter().map(|(name, list)| (name.as_str(), list.len())).collect::<Vec<_>>(), [(&*somebody(), 1)]);
}

#[test]
fn addresses_are_there_again_after_a_restart() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let other = "/dns4/relay.example/tcp/443/wss";
    for addresses in [vec![ADDRESS], vec![other, ADDRESS]] {
        server.post(HINTS, &alice.token, json!({ "servers": { somebody(): addresses } })).ok();
    }
    let again = TestServer::on(server.disk.clone());
    let hints = again.transport.hints.borrow();
    assert_eq!(
        hints.iter().map(|(name, list)| (name.as_str(), list.clone())).collect::<Vec<_>>(),
        [(&*somebody(), vec![other.to_owned(), ADDRESS.to_owned()])]
    );
}

#[test]
fn where_a_server_of_our_rooms_was_met_is_known_after_a_restart() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    network.reconnect(&a, &b);
    let strangers = TestServer::on(b.disk.snapshot());
    assert!(strangers.transport.hints.borrow().is_empty(), "whoever shares no room is not remembered");
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    network.reconnect(&a, &b);
    let again = TestServer::on(network.stop(b));
    let hints = again.transport.hints.borrow();
    assert_eq!(hints.get(a.server_name()), Some(&vec![address_of(a.server_name())]));
}

#[test]
fn the_servers_heard_of_longest_ago_are_forgotten() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let name = |n: u32| {
        let mut key = [1; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        PublicKey(key).server_name("alt").unwrap().to_string()
    };
    for page in 0..33 {
        server.clock.advance(1_000);
        let servers = (0..32).map(|n| (name(32 * page + n), json!([ADDRESS]))).collect();
        server.post(HINTS, &alice.token, json!({ "servers": serde_json::Value::Object(servers) })).ok();
    }
    let again = TestServer::on(server.disk.clone());
    let hints = again.transport.hints.borrow();
    assert_eq!(hints.len(), 1_000);
    let has = |n: u32| hints.keys().any(|known| known.as_str() == name(n));
    assert!(has(32 * 33 - 1) && has(32 * 2) && !has(0));
}

#[test]
fn hints_are_checked_and_bounded() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let post = |servers| server.post(HINTS, &alice.token, json!({ "servers": servers }));
    server.post(HINTS, &alice.token, json!({})).is_error(400, "M_MISSING_PARAM");
    post(json!([])).is_error(400, "M_BAD_JSON");
    post(json!({ somebody(): ADDRESS })).is_error(400, "M_BAD_JSON");
    post(json!({ "not a server": [] })).is_error(400, "M_BAD_JSON");
    post(json!({ "example.org": [ADDRESS] })).is_error(400, "M_INVALID_PARAM");
    post(json!({ somebody(): ["https://example.org"] })).is_error(400, "M_INVALID_PARAM");
    post(json!({ somebody(): [format!("/dns4/{}/tcp/1", "x".repeat(600))] })).is_error(400, "M_INVALID_PARAM");
    post(json!({ somebody(): vec![ADDRESS; 17] })).is_error(413, "M_TOO_LARGE");
    let many = (0..33).map(|n| (PublicKey([n; 32]).server_name("alt").unwrap().to_string(), json!([]))).collect();
    post(serde_json::Value::Object(many)).is_error(413, "M_TOO_LARGE");
    server.send(request("POST", HINTS, None, "{}")).is_error(401, "M_MISSING_TOKEN");
    assert!(server.transport.hints.borrow().is_empty(), "a refused request leaves nothing behind");
}

#[test]
fn there_is_no_turn_server() {
    let server = TestServer::new();
    let alice = server.register("alice");
    assert_eq!(server.get("/_matrix/client/v3/voip/turnServer", &alice.token).ok(), json!({}));
}

#[test]
fn calls_use_what_the_program_was_told_of() {
    const TRANSPORTS: &str = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports";
    let server = TestServer::new();
    let alice = server.register("alice");
    assert_eq!(server.get(TRANSPORTS, &alice.token).ok(), json!({ "rtc_transports": [] }));
    server.get(TRANSPORTS, "nobody").is_error(401, "M_UNKNOWN_TOKEN");
    let transport = json!({ "type": "livekit", "livekit_service_url": "https://x.example" });
    let turn = TurnServer { uris: vec!["turn:x.example".to_owned()], shared_secret: "secret".to_owned(), ttl_s: 600 };
    let rtc_transports = vec![transport.as_object().unwrap().clone()];
    let options = Options { turn: Some(turn), rtc_transports, ..Options::default() };
    let server = TestServer::with(server.disk.clone(), options);
    assert_eq!(server.get(TRANSPORTS, &alice.token).ok(), json!({ "rtc_transports": [transport] }));
    let credential = server.get("/_matrix/client/v3/voip/turnServer", &alice.token).ok();
    assert_eq!(credential["uris"], json!(["turn:x.example"]));
    assert_eq!(credential["ttl"], 600);
    assert_eq!(credential["username"], format!("1700000600:{}", alice.id));
    assert_eq!(credential["password"].as_str().unwrap().len(), 28, "{credential}");
    server.get("/_matrix/client/v3/voip/turnServer", "nobody").is_error(401, "M_UNKNOWN_TOKEN");
}
