//! Servers of the web: what one may say through a gateway, and what becomes of those that nobody here can reach.
use ruma::{ServerName, serde::Base64, signatures::sign_json};
use serde_json::{Value, json};
use warren::{
    domain::identity::{Identity, PublicKey},
    homeserver::Options,
    ports::Clock,
    storage::memory::MemoryDisk,
};

use crate::{
    federation_network::Network,
    federation_peer::{Peer, object},
    harness::{TestServer, request},
    talk::escaped,
};

const SEND: &str = "/_matrix/federation/v1/send/1";

/// The key of a gateway, which is nobody's here.
fn gateway() -> PublicKey {
    Identity::from_seed([77; 32], "tabs.example.org").unwrap().public_key()
}

/// From now on the peer publishes its keys, good for a day.
fn publishes(network: &Network, peer: &Peer) {
    let key = Base64::<ruma::serde::base64::Standard, _>::new(peer.key().0.to_vec()).encode();
    let mut keys = object(json!({
        "server_name": peer.name(),
        "verify_keys": { "ed25519:self": { "key": key } },
        "old_verify_keys": {},
        "valid_until_ts": network.surroundings.clock.now_ms() + 24 * 60 * 60 * 1000,
    }));
    sign_json(peer.name().as_str(), peer.identity.key_pair(), &mut keys).unwrap();
    peer.says("GET", "/_matrix/key/v2/server", 200, serde_json::to_value(keys).unwrap());
}

fn transaction(origin: &ServerName) -> Value {
    json!({ "origin": origin, "origin_server_ts": 1, "pdus": [], "edus": [] })
}

#[test]
fn a_gateway_hands_on_what_a_server_signed_and_speaks_for_nobody() {
    let network = Network::new();
    let (server, tab, web) = (network.server(), network.peer(), network.peer_named("example.org"));
    publishes(&network, &web);
    let body = transaction(web.name());
    let signed = || web.request(server.server_name(), "PUT", SEND, &body);
    server.send_through(gateway(), signed()).ok();
    // Servers whose names hold their keys may come this way, too.
    let from_tab = tab.request(server.server_name(), "PUT", SEND, &transaction(tab.name()));
    server.send_through(gateway(), from_tab).ok();

    // Made up: in the name of a server, a peer, the homeserver itself, with a key that is another's.
    let liar = network.peer();
    for claimed in [web.name(), tab.name(), server.server_name(), <&ServerName>::try_from("nowhere.example").unwrap()] {
        let forged = liar.request_as(claimed, server.server_name(), "PUT", SEND, &transaction(claimed));
        server.send_through(gateway(), forged).is_error(401, "M_UNAUTHORIZED");
    }
    let altered = signed().map(|_| transaction(tab.name()).to_string().into());
    server.send_through(gateway(), altered).is_error(401, "M_UNAUTHORIZED");
    let unsigned = request("PUT", SEND, None, body.to_string());
    server.send_through(gateway(), unsigned).is_error(401, "M_UNAUTHORIZED");
    let (mut parts, body) = signed().into_parts();
    parts.uri = "/_matrix/federation/v1/send/2".parse().unwrap();
    server.send_through(gateway(), http::Request::from_parts(parts, body)).is_error(401, "M_UNAUTHORIZED");
    let replayed_elsewhere = network.server().send_through(gateway(), signed());
    replayed_elsewhere.is_error(401, "M_UNAUTHORIZED");
    // What clients ask is no business of a gateway's.
    let client = request("GET", "/_matrix/client/v3/account/whoami", None, "");
    server.send_through(gateway(), client).is_error(404, "M_UNRECOGNIZED");
}

#[test]
fn a_gateway_is_held_back_and_so_is_each_server_behind_it() {
    let network = Network::new();
    let options = Options { limit_rates: true, ..Options::default() };
    let server = network.server_with(MemoryDisk::default(), options);
    let version = || request("GET", "/_matrix/federation/v1/version", None, "");
    let answered =
        |gateway: PublicKey| (0..9_000).take_while(|_| server.send_through(gateway, version()).status != 429).count();
    assert_eq!(answered(gateway()), 3_000);
    let other = Identity::from_seed([78; 32], "tabs.example.org").unwrap().public_key();
    server.send_through(other, version()).ok();

    // Each server has its own allowance, which nobody can spend in its name.
    let (one, another) = (network.peer(), network.peer());
    let gateways: Vec<_> = (0..4).map(|seed| Identity::from_seed([seed; 32], "alt").unwrap().public_key()).collect();
    let ask = |origin: &Peer, by: &Peer, turn: usize| {
        let request = by.request_as(origin.name(), server.server_name(), "PUT", SEND, &transaction(origin.name()));
        server.send_through(gateways[turn % gateways.len()], request)
    };
    (0..1_200).for_each(|turn| ask(&one, &another, turn).is_error(401, "M_UNAUTHORIZED"));
    let answered = (0..1_200).take_while(|turn| ask(&one, &one, *turn).status != 429).count();
    assert_eq!(answered, 1_000);
    ask(&another, &another, 0).ok();
    // What costs more takes more of it.
    let dear = network.peer();
    let state = "/_matrix/federation/v1/state/!nowhere?event_id=$nothing";
    let ask_for_state = |turn: usize| {
        let request = dear.request(server.server_name(), "GET", state, &json!(null));
        server.send_through(gateways[turn % gateways.len()], request).status
    };
    assert_eq!((0..100).take_while(|turn| ask_for_state(*turn) == 404).count(), 1_000 / 20);
}

#[test]
fn a_peer_with_an_ordinary_name_is_believed_that_has_the_key_it_is_known_by() {
    let network = Network::new();
    let (server, web, liar) = (network.server(), network.peer_named("example.org"), network.peer());
    let body = transaction(web.name());
    let signed = || web.request(server.server_name(), "PUT", SEND, &body);
    // Nobody who is trusted says what its keys are.
    server.send_as(web.key(), signed()).is_error(401, "M_UNAUTHORIZED");
    publishes(&network, &web);
    network.advance(60_000);
    server.send_as(web.key(), signed()).ok();
    // Rightly signed, and handed over by somebody else; in its name with a key of one's own.
    server.send_as(liar.key(), signed()).is_error(401, "M_UNAUTHORIZED");
    let forged = liar.request_as(web.name(), server.server_name(), "PUT", SEND, &body);
    server.send_as(liar.key(), forged).is_error(401, "M_UNAUTHORIZED");
}

/// A homeserver among peers alone, with a user who has a room.
fn among_peers() -> (Network, TestServer, crate::harness::TestUser, String) {
    let network = Network::new();
    network.web_is_elsewhere();
    let server = network.server();
    let alice = server.register("alice");
    let room = server.create_room(&alice, json!({ "preset": "public_chat" }));
    (network, server, alice, room)
}

#[test]
fn who_is_among_peers_alone_is_told_that_the_web_is_out_of_reach() {
    let (network, server, alice, room) = among_peers();
    let web = network.peer_named("example.org");
    let refused = |what: &str, answer: crate::harness::Answer| {
        let says = answer.body["error"].as_str().is_some_and(|error| error.contains("the web is elsewhere"));
        assert!(says && answer.body["org.warren.apart"] == true, "{what}: {}", answer.body);
        answer.is_error(403, "M_FORBIDDEN");
    };
    refused("an invite", server.act(&alice, &room, "invite", web.user("bob").as_str()));
    refused("a join", server.join_via(&alice, "!room:example.org", web.name()));
    let post = |path: &str| server.post(&format!("/_matrix/client/v3/{path}"), &alice.token, json!({}));
    let (there, alias) = (escaped("!room:example.org"), escaped("#room:example.org"));
    refused("a join by the name in the id", post(&format!("rooms/{there}/join")));
    refused("a join by alias", post(&format!("join/{alias}")));
    refused("a join by alias and server", post(&format!("join/{alias}?via=example.org")));
    refused("a knock", post(&format!("knock/{there}?via=example.org")));
    refused("a knock by alias", post(&format!("knock/{alias}")));
    let get = |path: &str| server.get(&format!("/_matrix/client/{path}"), &alice.token);
    refused("an alias", get(&format!("v3/directory/room/{alias}")));
    refused("a directory", get("v3/publicRooms?server=example.org"));
    // No room is made with whom nobody can ever invite.
    let joined = || get("v3/joined_rooms").body["joined_rooms"].as_array().unwrap().len();
    let before = joined();
    let create = json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [web.user("bob")] });
    refused("a room", server.post("/_matrix/client/v3/createRoom", &alice.token, create));
    assert_eq!(joined(), before);
    assert!(web.take_heard().is_empty(), "nobody was asked");
    // Where there is also a server that can be reached, that one is asked.
    let peer = network.peer();
    let path = format!("/_matrix/client/v3/join/{}?via=example.org&via={}", escaped("!room:example.org"), peer.name());
    server.post(&path, &alice.token, json!({})).is_error(404, "M_NOT_FOUND");
    assert!(!peer.take_heard().is_empty());
}

#[test]
fn servers_that_will_never_meet_are_not_let_into_one_room() {
    let (network, server, _alice, room) = among_peers();
    // A server of the web asks by way of somebody who reaches both.
    let web = network.peer_named("example.org");
    publishes(&network, &web);
    let path = format!("/_matrix/federation/v1/make_join/{}/{}?ver=12", escaped(&room), web.user("bob"));
    let asked = web.request(server.server_name(), "GET", &path, &Value::Null);
    let refused = server.send_through(gateway(), asked);
    let sentence = refused.body["error"].as_str().unwrap();
    assert!(sentence.contains(server.server_name().as_str()) && sentence.contains("example.org"), "{sentence}");
    assert_eq!(refused.body["org.warren.apart"], true);
    refused.is_error(403, "M_FORBIDDEN");
    // Peers meet.
    let peer = network.peer();
    let path = format!("/_matrix/federation/v1/make_join/{}/{}?ver=12", escaped(&room), peer.user("carol"));
    peer.ask(&server, "GET", &path, Value::Null).ok();
}

#[test]
fn who_is_told_by_another_server_that_a_room_is_out_of_reach_is_told_so() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let alice = server.register("alice");
    let make_join = |mark: Value| {
        let error = "these two cannot reach each other";
        peer.unlearn();
        peer.says(
            "GET",
            "/make_join/",
            403,
            json!({ "errcode": "M_FORBIDDEN", "error": error, "org.warren.apart": mark }),
        );
        let refused = server.join_via(&alice, &format!("!room:{}", peer.name()), peer.name());
        assert!(refused.body["error"].as_str().unwrap().contains(error), "{}", refused.body);
        let told = refused.body["org.warren.apart"].clone();
        refused.is_error(403, "M_FORBIDDEN");
        told
    };
    assert_eq!(make_join(json!(true)), true);
    for none in [json!(false), json!("true"), json!([true]), Value::Null] {
        assert_eq!(make_join(none), Value::Null);
    }
}
