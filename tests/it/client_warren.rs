//! Warren's own endpoints, and the answer about TURN servers.
use serde_json::json;
use warren::domain::identity::PublicKey;

use crate::harness::{TestServer, request};

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
