//! Who is believed to be who: X-Matrix signatures, and what is refused before anything else is looked at.
use bytes::Bytes;
use ruma::ServerName;
use serde_json::{Value, json};

use crate::{
    federation_network::Network,
    federation_peer::{Peer, PeerRoom},
    harness::{Answer, TestServer, request},
};

/// A request with this `Authorization` header that came by `peer`'s connection.
fn ask_with(server: &TestServer, peer: &Peer, header: &str, body: &Value) -> Answer {
    let mut request = request("PUT", "/_matrix/federation/v1/send/1", None, body.to_string());
    request.headers_mut().insert("authorization", header.parse().unwrap());
    server.send_as(peer.key(), request)
}

fn transaction(origin: &ServerName) -> Value {
    json!({ "origin": origin, "origin_server_ts": 1, "pdus": [], "edus": [] })
}

#[test]
fn only_the_connected_peer_speaks_for_its_name() {
    let network = Network::new();
    let (server, peer, other) = (network.server(), network.peer(), network.peer());
    let body = transaction(peer.name());
    let path = "/_matrix/federation/v1/send/1";
    peer.ask(&server, "PUT", path, body.clone()).ok();

    // Rightly signed by its bearer, and handed over by somebody else.
    let stolen = peer.request(server.server_name(), "PUT", path, &body);
    server.send_as(other.key(), stolen).is_error(401, "M_UNAUTHORIZED");
    // The name of another, signed with one's own key.
    let forged = other.request_as(peer.name(), server.server_name(), "PUT", path, &body);
    server.send_as(other.key(), forged).is_error(401, "M_UNAUTHORIZED");
    // A name that no key certifies.
    let dns = ServerName::parse("example.org").unwrap();
    let foreign = other.request_as(&dns, server.server_name(), "PUT", path, &transaction(&dns));
    server.send_as(other.key(), foreign).is_error(401, "M_UNAUTHORIZED");
    // A transaction that names another origin than its signature.
    peer.ask(&server, "PUT", path, transaction(other.name())).is_error(403, "M_FORBIDDEN");
}

#[test]
fn a_signature_is_for_one_server_one_request_and_one_body() {
    let network = Network::new();
    let (server, elsewhere, peer) = (network.server(), network.server(), network.peer());
    let body = transaction(peer.name());
    let path = "/_matrix/federation/v1/send/1";
    let meant_for_another = peer.request(elsewhere.server_name(), "PUT", path, &body);
    server.send_as(peer.key(), meant_for_another).is_error(401, "M_UNAUTHORIZED");

    let signed = peer.request(server.server_name(), "PUT", path, &body);
    let (parts, _) = signed.into_parts();
    for changed in [json!({}), transaction(server.server_name()), Value::Null] {
        let changed = http::Request::from_parts(parts.clone(), Bytes::from(changed.to_string()));
        server.send_as(peer.key(), changed).is_error(401, "M_UNAUTHORIZED");
    }
    let mut another_path = parts;
    another_path.uri = "/_matrix/federation/v1/send/2".parse().unwrap();
    let moved = http::Request::from_parts(another_path, Bytes::from(body.to_string()));
    server.send_as(peer.key(), moved).is_error(401, "M_UNAUTHORIZED");
}

#[test]
fn a_query_in_which_there_is_nothing_is_part_of_what_is_signed() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let (bare, empty) = ("/_matrix/federation/v1/publicRooms", "/_matrix/federation/v1/publicRooms?");
    for path in [bare, empty] {
        peer.ask(&server, "GET", path, Value::Null).ok();
    }
    for (signed, sent) in [(bare, empty), (empty, bare)] {
        let mut moved = peer.request(server.server_name(), "GET", signed, &Value::Null);
        *moved.uri_mut() = sent.parse().unwrap();
        server.send_as(peer.key(), moved).is_error(401, "M_UNAUTHORIZED");
    }
}

#[test]
fn a_header_that_is_no_signature_is_refused_and_said_to_be() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let body = transaction(peer.name());
    let unsigned = request("PUT", "/_matrix/federation/v1/send/1", None, body.to_string());
    server.send_as(peer.key(), unsigned).is_error(401, "M_UNAUTHORIZED");
    let (name, to) = (peer.name(), server.server_name());
    let good = {
        let request = request("PUT", "/_matrix/federation/v1/send/1", None, body.to_string());
        peer.x_matrix(name, to, &request)
    };
    ask_with(&server, &peer, &good, &body).ok();
    let without_destination = good.replace(&format!(r#"destination="{to}","#), "");
    let other_key = good.replace("ed25519:self", "ed25519:other");
    let cut_short = good[..good.len() - 10].to_owned() + "\"";
    let empty_signature = format!(r#"X-Matrix origin="{name}",destination="{to}",key="ed25519:self",sig="""#);
    let huge =
        format!(r#"X-Matrix origin="{name}",destination="{to}",key="ed25519:self",sig="{}""#, "A".repeat(60_000));
    for header in ["", "X-Matrix", "Bearer abc", "X-Matrix origin=,,,", "X-Matrix \u{1}".trim_end_matches('\u{1}')]
        .into_iter()
        .chain([&*without_destination, &other_key, &cut_short, &empty_signature, &huge])
    {
        ask_with(&server, &peer, header, &body).is_error(401, "M_UNAUTHORIZED");
    }
}

#[test]
fn bodies_that_are_no_requests_are_refused_with_the_reason() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let path = "/_matrix/federation/v1/send/1";
    let raw = |body: &[u8]| {
        let request = request("PUT", path, None, body.to_vec());
        // What is no JSON cannot be signed as one: the signature of something else stands in.
        let stand_in = crate::harness::request("PUT", path, None, "{}");
        let header = peer.x_matrix(peer.name(), server.server_name(), &stand_in);
        let (mut parts, body) = request.into_parts();
        parts.headers.insert("authorization", header.parse().unwrap());
        server.send_as(peer.key(), http::Request::from_parts(parts, body))
    };
    for body in [&b"{"[..], b"\xff\xfe", b"nonsense"] {
        raw(body).is_error(400, "M_NOT_JSON");
    }
    raw(b"{\"a\": 1.5}").is_error(401, "M_UNAUTHORIZED");
    let ask = |body: Value| peer.ask(&server, "PUT", path, body);
    ask(json!([])).is_error(400, "M_BAD_JSON");
    ask(json!({})).is_error(400, "M_MISSING_PARAM");
    ask(json!({ "origin": peer.name(), "origin_server_ts": "now", "pdus": [] })).is_error(400, "M_BAD_JSON");
    ask(json!({ "origin": peer.name(), "origin_server_ts": 1, "pdus": {} })).is_error(400, "M_BAD_JSON");
    let too_large = json!({ "origin": peer.name(), "padding": "x".repeat(8 << 20) });
    ask(too_large).is_error(413, "M_TOO_LARGE");
    peer.ask(&server, "GET", "/_matrix/federation/v1/state_ids/!a:b", Value::Null).is_error(400, "M_MISSING_PARAM");
    peer.ask(&server, "GET", "/_matrix/federation/v1/event/nonsense", Value::Null).is_error(400, "M_INVALID_PARAM");
    peer.ask(&server, "GET", "/_matrix/federation/v1/nothing", Value::Null).is_error(404, "M_UNRECOGNIZED");
    peer.ask(&server, "POST", "/_matrix/federation/v1/version", json!({})).is_error(405, "M_UNRECOGNIZED");
}

#[test]
fn what_this_server_is_may_be_asked_by_anybody() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let answer = server.send_as(peer.key(), request("GET", "/_matrix/federation/v1/version", None, "")).ok();
    assert_eq!(answer["server"]["name"], "Warren");
}

#[test]
fn profiles_are_told_to_other_servers() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let alice = server.register("alice");
    let path = format!("/_matrix/client/v3/profile/{}/displayname", alice.id);
    server.put(&path, &alice.token, json!({ "displayname": "Alice" })).ok();
    let query =
        |query: &str| peer.ask(&server, "GET", &format!("/_matrix/federation/v1/query/profile?{query}"), Value::Null);
    assert_eq!(query(&format!("user_id={}", alice.id)).ok(), json!({ "displayname": "Alice" }));
    assert_eq!(query(&format!("user_id={}&field=avatar_url", alice.id)).ok(), json!({}));
    query(&format!("user_id=@nobody:{}", server.server_name())).is_error(404, "M_NOT_FOUND");
    query("user_id=alice").is_error(400, "M_INVALID_PARAM");
    query("").is_error(400, "M_MISSING_PARAM");
}

#[test]
fn rooms_one_is_not_in_are_none_of_ones_business() {
    let network = Network::new();
    let (server, insider, outsider) = (network.server(), network.peer(), network.peer());
    let alice = server.register("alice");
    let room = server.public_room(&alice);
    let said = server.say(&alice, &room, "between us");
    PeerRoom::join(&insider, &server, &room, &insider.user("ivy"));
    let requests = [
        ("GET", format!("/_matrix/federation/v1/event/{said}"), Value::Null),
        ("GET", format!("/_matrix/federation/v1/state/{room}?event_id={said}"), Value::Null),
        ("GET", format!("/_matrix/federation/v1/state_ids/{room}?event_id={said}"), Value::Null),
        ("GET", format!("/_matrix/federation/v1/backfill/{room}?v={said}&limit=10"), Value::Null),
        (
            "POST",
            format!("/_matrix/federation/v1/get_missing_events/{room}"),
            json!({ "earliest_events": [], "latest_events": [said] }),
        ),
    ];
    for (method, path, body) in &requests {
        insider.ask(&server, method, path, body.clone()).ok();
        outsider.ask(&server, method, path, body.clone()).is_error(403, "M_FORBIDDEN");
        let nowhere = path.replace(&room, "!nowhere").replace(&said, "$nothing");
        insider.ask(&server, method, &nowhere, body.clone()).is_error(404, "M_NOT_FOUND");
    }
    // Of a room it is in one may not ask about events of another room.
    let other_room = server.public_room(&alice);
    let other_said = server.say(&alice, &other_room, "elsewhere");
    let state = |event: &str| format!("/_matrix/federation/v1/state_ids/{room}?event_id={event}");
    insider.ask(&server, "GET", &state(&other_said), Value::Null).is_error(404, "M_NOT_FOUND");
    let backfill = format!("/_matrix/federation/v1/backfill/{room}?v={other_said}&limit=10");
    assert_eq!(insider.ask(&server, "GET", &backfill, Value::Null).ok()["pdus"], json!([]));
    let event = format!("/_matrix/federation/v1/event/{other_said}");
    insider.ask(&server, "GET", &event, Value::Null).is_error(403, "M_FORBIDDEN");
    // Who left may not ask any more.
    server.act(&alice, &room, "kick", insider.user("ivy").as_str()).ok();
    for (method, path, body) in requests {
        insider.ask(&server, method, &path, body).is_error(403, "M_FORBIDDEN");
    }
}
