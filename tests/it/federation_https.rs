//! Requests of homeservers that come by HTTPS, where nothing but the signature says who asks.
use ruma::ServerName;
use serde_json::json;
use warren::{
    api::Origin,
    homeserver::{Options, key_ring::FETCH_AGAIN_MS},
    ports::Clock,
    storage::memory::MemoryDisk,
};

use crate::{
    federation_keys::{publishes, publishes_until},
    federation_network::Network,
    federation_peer::{Peer, PeerRoom},
    harness::{TestServer, request},
};

const SEND: &str = "/_matrix/federation/v1/send/1";

#[test]
fn the_signature_alone_says_who_asks() {
    let network = Network::new();
    let (server, peer, other) = (network.server(), network.peer(), network.peer());
    let to = server.server_name();
    let transaction = |origin: &ServerName| json!({ "origin": origin, "origin_server_ts": 1, "pdus": [], "edus": [] });
    let body = transaction(peer.name());
    server.send_by(Origin::Https, peer.request(to, "PUT", SEND, &body)).ok();

    let forged = other.request_as(peer.name(), to, "PUT", SEND, &body);
    server.send_by(Origin::Https, forged).is_error(401, "M_UNAUTHORIZED");
    let for_another = peer.request(other.name(), "PUT", SEND, &body);
    server.send_by(Origin::Https, for_another).is_error(401, "M_UNAUTHORIZED");
    let as_ourselves = other.request_as(to, to, "PUT", SEND, &transaction(to));
    server.send_by(Origin::Https, as_ourselves).is_error(401, "M_UNAUTHORIZED");
    let unsigned = request("PUT", SEND, None, body.to_string());
    server.send_by(Origin::Https, unsigned).is_error(401, "M_UNAUTHORIZED");
    let nobody = ServerName::parse("nobody.example").unwrap();
    let unknown = other.request_as(&nobody, to, "PUT", SEND, &transaction(&nobody));
    server.send_by(Origin::Https, unknown).is_error(401, "M_UNAUTHORIZED");
    let elsewhere = request("GET", "/_matrix/client/versions", None, "");
    server.send_by(Origin::Https, elsewhere).is_error(404, "M_UNRECOGNIZED");
}

#[test]
fn where_a_homeserver_is_reached_is_said_if_it_is_elsewhere() {
    let ask = || request("GET", "/.well-known/matrix/server", None, "");
    TestServer::new().send_by(Origin::Https, ask()).is_error(404, "M_NOT_FOUND");
    let reached_by = Some(ServerName::parse("matrix.example.org:443").unwrap());
    let server = TestServer::with(MemoryDisk::default(), Options { reached_by, ..Options::default() });
    assert_eq!(server.send_by(Origin::Https, ask()).ok(), json!({ "m.server": "matrix.example.org:443" }));
}

#[test]
fn who_asks_without_end_is_held_back_before_anything_is_verified() {
    let options = Options { limit_rates: true, ..Options::default() };
    let server = TestServer::with(MemoryDisk::default(), options);
    let ask = || {
        let mut request = request("PUT", SEND, None, "{}");
        request.extensions_mut().insert(warren::api::ClientAddress("192.0.2.7".parse().unwrap()));
        server.send_by(Origin::Https, request)
    };
    let refused = std::iter::repeat_with(ask).position(|answer| answer.status == 429).unwrap();
    assert!((1_000..20_000).contains(&refused), "{refused}");
}

fn key_requests(peer: &Peer) -> usize {
    peer.take_heard().iter().filter(|(path, _)| path == "/_matrix/key/v2/server").count()
}

#[test]
fn a_server_of_the_web_signs_with_the_keys_it_publishes_while_they_are_good() {
    let network = Network::new();
    let (server, other, example) = (network.server(), network.peer(), network.peer_named("example.org"));
    let ask = || example.ask(&server, "GET", "/_matrix/federation/v1/query/directory?room_alias=%23a%3Ab", json!(null));
    // One that publishes nothing is asked once in a while, however often it comes.
    for _ in 0..5 {
        ask().is_error(401, "M_UNAUTHORIZED");
    }
    assert_eq!(key_requests(&example), 1);
    publishes_until(&example, server.clock.now_ms() - 1);
    server.advance(FETCH_AGAIN_MS);
    ask().is_error(401, "M_UNAUTHORIZED");
    server.advance(FETCH_AGAIN_MS);
    publishes(&network, &example);
    ask().is_error(404, "M_NOT_FOUND");
    ask().is_error(404, "M_NOT_FOUND");
    assert_eq!(key_requests(&example), 2, "what is known is not asked for again");

    let path = "/_matrix/federation/v1/query/directory?room_alias=%23a%3Ab";
    let forged = other.request_as(example.name(), server.server_name(), "GET", path, &json!(null));
    server.send_by(Origin::Https, forged).is_error(401, "M_UNAUTHORIZED");
    // By libp2p the name is that of the peer whose own key it publishes, and of nobody who hands on what it signed.
    let by_peer = || example.request(server.server_name(), "GET", path, &json!(null));
    server.send_as(other.key(), by_peer()).is_error(401, "M_UNAUTHORIZED");
    server.send_as(example.key(), by_peer()).is_error(404, "M_NOT_FOUND");
}

#[test]
fn events_of_a_server_of_the_web_take_its_signature() {
    let network = Network::new();
    let (server, other, example) = (network.server(), network.peer(), network.peer_named("example.org"));
    publishes(&network, &example);
    let alice = server.register("alice");
    let room = server.create_room(&alice, json!({ "preset": "public_chat" }));
    let bob = example.user("bob");
    let mut known = PeerRoom::join(&example, &server, &room, &bob);
    let said = known.say(&example, &bob, "by HTTPS");
    assert_eq!(example.send_pdu(&server, &said), None);
    let forged = known.make(&other, &bob, "m.room.message", None, json!({ "msgtype": "m.text", "body": "never said" }));
    assert!(example.send_pdu(&server, &forged).unwrap().contains("signature"), "signed with another's key");
    assert_eq!(server.said_in(&alice, &room), ["by HTTPS"]);

    // Somebody else may bring what it said, whose keys are then asked for.
    let fresh = network.server();
    let carol = fresh.register("carol");
    fresh.join_via(&carol, &room, server.server_name()).ok();
    assert_eq!(fresh.state_of(&room), server.state_of(&room));
}
