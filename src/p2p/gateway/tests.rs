//! What is carried, and what nobody gets carried.
use ruma::{api::auth_scheme::AuthScheme as _, serde::Base64};

use super::*;
use crate::domain::identity::Identity;

const ZONE: &str = "tabs.example.org";

fn zone() -> Zone {
    Zone::parse(ZONE).unwrap()
}

fn identity(seed: u8) -> Identity {
    Identity::from_seed([seed; 32], ZONE).unwrap()
}

/// A request of `identity` to `destination`, signed for `signed_for`.
fn signed(identity: &Identity, path: &str, host: &str, signed_for: &str, body: &str) -> Request<Bytes> {
    let mut request = Request::put(path).header(header::HOST, host).body(Bytes::from(body.to_owned())).unwrap();
    let input = ruma::api::federation::authentication::XMatrixSigningInput::new(
        identity.server_name().to_owned(),
        ServerName::parse(signed_for).unwrap(),
        identity.key_pair(),
    );
    ServerSignatures::add_authentication(&mut request, input).unwrap();
    request
}

const SEND: &str = "/_matrix/federation/v1/send/1?x=%20y";

#[test]
fn what_a_homeserver_of_the_zone_signed_goes_where_it_says() {
    let asker = identity(1);
    let request = signed(&asker, SEND, "example.org:8448", "example.org:8448", r#"{"pdus":[]}"#);
    let destination = destination(&request, &asker.public_key(), &zone()).unwrap();
    assert_eq!(destination, "example.org:8448");
    let carried = carried_request(request.clone(), &destination).unwrap();
    assert_eq!((carried.method(), carried.uri(), carried.body()), (request.method(), request.uri(), request.body()));
    assert_eq!(carried.headers()[header::AUTHORIZATION], request.headers()[header::AUTHORIZATION]);
}

#[test]
fn nothing_else_is_carried_out() {
    let (asker, other) = (identity(1), identity(2));
    let alt = Identity::from_seed([1; 32], "alt").unwrap();
    let refused = |request: &Request<Bytes>| destination(request, &asker.public_key(), &zone()).unwrap_err().status;
    let send = |path: &str| signed(&asker, path, "example.org", "example.org", "{}");
    for path in
        ["/_matrix/client/v3/sync", "/_matrix/key/v2/server", "/_matrix/federation", "/", "/_synapse/admin/v1/users"]
    {
        assert_eq!(refused(&send(path)), StatusCode::NOT_FOUND, "{path}");
    }
    let unauthorized = [
        ("another of the zone", signed(&other, SEND, "example.org", "example.org", "{}")),
        ("another name of the same key", signed(&alt, SEND, "example.org", "example.org", "{}")),
        ("signed for another server", signed(&asker, SEND, "example.org", "victim.example", "{}")),
    ];
    for (what, request) in unauthorized {
        assert_eq!(refused(&request), StatusCode::UNAUTHORIZED, "{what}");
    }
    let mut altered = send(SEND);
    *altered.body_mut() = Bytes::from_static(b"{\"pdus\":[1]}");
    assert_eq!(refused(&altered), StatusCode::UNAUTHORIZED, "altered");
    let mut unsigned = send(SEND);
    unsigned.headers_mut().remove(header::AUTHORIZATION);
    assert_eq!(refused(&unsigned), StatusCode::UNAUTHORIZED, "unsigned");
    let mut twice = send(SEND);
    let first = twice.headers()[header::AUTHORIZATION].clone();
    twice.headers_mut().append(header::AUTHORIZATION, first);
    assert_eq!(refused(&twice), StatusCode::UNAUTHORIZED, "signed twice");
    let mut nowhere = send(SEND);
    nowhere.headers_mut().insert(header::HOST, HeaderValue::from_static("exa mple"));
    assert_eq!(refused(&nowhere), StatusCode::BAD_REQUEST);
    let peer = signed(&asker, SEND, other.server_name().as_str(), other.server_name().as_str(), "{}");
    assert_eq!(refused(&peer), StatusCode::FORBIDDEN, "peers are asked without a gateway");
    let garbage = Base64::<ruma::serde::base64::Standard, _>::new(vec![0; 64]).encode();
    let name = asker.server_name();
    let forged = format!(r#"X-Matrix origin="{name}",destination="example.org",key="ed25519:self",sig="{garbage}""#);
    let mut request = send(SEND);
    request.headers_mut().insert(header::AUTHORIZATION, forged.parse().unwrap());
    assert_eq!(refused(&request), StatusCode::UNAUTHORIZED, "forged");
}

#[test]
fn no_path_climbs_out_of_what_is_carried() {
    let asker = identity(1);
    for path in [
        "/_matrix/federation/../client/v3/sync",
        "/_matrix/federation/v1/%2e%2E/%2e%2e/client/versions",
        "/_matrix/federation/v1/..%2f..%2fclient/versions",
        "/_matrix/federation/v1/..%5c..%5cclient",
        "/_matrix/federation/./v1/version",
    ] {
        let request = signed(&asker, path, "example.org", "example.org", "{}");
        let refusal = destination(&request, &asker.public_key(), &zone()).unwrap_err();
        assert_eq!(refusal.status, StatusCode::NOT_FOUND, "{path}");
        assert!(check_incoming(&request).is_err(), "{path}");
    }
}

#[test]
fn the_web_finds_homeservers_by_name_and_with_a_port() {
    let identity = identity(1);
    let name = identity.server_name().as_str();
    for host in [name.to_owned(), format!("{name}:8448"), format!("{name}:443"), name.to_uppercase()] {
        assert_eq!(addressee(&host, &zone()).unwrap(), identity.public_key(), "{host}");
    }
    let label = name.split('.').next().unwrap();
    for host in
        [ZONE, "example.org", "", "[::1]", "a b", &format!("{label}.alt"), &format!("x.{name}"), &format!("{label}.")]
    {
        assert_eq!(addressee(host, &zone()).unwrap_err().status, StatusCode::NOT_FOUND, "{host}");
    }
}

#[test]
fn the_web_asks_for_federation_and_keys_alone() {
    let request = |path: &str| Request::get(path).body(()).unwrap();
    for path in ["/_matrix/federation/v1/version", "/_matrix/key/v2/server", "/_matrix/federation/v1/event/%24a%2Fb"] {
        assert_eq!(check_incoming(&request(path)), Ok(()), "{path}");
    }
    for path in ["/", "/_matrix/client/versions", "/_matrix/keys", "/_matrix/key/../client/versions", "/config.json"] {
        assert!(check_incoming(&request(path)).is_err(), "{path}");
    }
}

#[test]
fn of_an_answer_little_but_the_body_is_carried() {
    let response = Response::builder()
        .status(429)
        .header("Retry-After", "7")
        .header("Content-Type", "application/json")
        .header("Set-Cookie", "a=b")
        .header("Connection", "close")
        .header("Content-Length", "99")
        .body(Bytes::from_static(b"{}"))
        .unwrap();
    let carried = carried_answer(response);
    let names: Vec<_> = carried.headers().keys().map(ToString::to_string).collect();
    assert_eq!((carried.status().as_u16(), names), (429, vec!["content-type".to_owned(), "retry-after".to_owned()]));
}
