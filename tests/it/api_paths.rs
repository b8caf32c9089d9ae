//! Every operation answers at every path it ever had, as older clients call it.
use std::collections::BTreeSet;

use serde_json::{Value, json};
use warren::api::{self, Operation};

use crate::{
    harness::{Answer, TestServer},
    talk::list,
};

/// Paths of `v3` that there were none of in `r0`: added to the specification later.
const NEW_IN_V3: [&str; 11] = [
    "keys/device_signing/upload",
    "keys/signatures/upload",
    "knock/{room_id_or_alias}",
    "login/sso/redirect/{idp_id}",
    "profile/{user_id}/{field}",
    "refresh",
    "room_keys/keys",
    "room_keys/version",
    "room_keys/version/{version}",
    "rooms/{room_id}/report",
    "users/{user_id}/report",
];

fn client_operations() -> Vec<Operation> {
    let of_clients = |operation: &Operation| operation.path.starts_with("/_matrix/client/");
    api::operations().into_iter().filter(of_clients).collect()
}

/// The path with something in the place of each variable.
fn filled(path: &str) -> String {
    let segments = path.split('/').map(|segment| if segment.starts_with('{') { "x" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

fn ask(server: &TestServer, method: &str, path: &str) -> Answer {
    server.request(method, path, None, json!({}))
}

/// Whether somebody answered, if only that nothing is offered there.
fn is_routed(answer: &Answer) -> bool {
    answer.status != 405 && answer.body["error"] != "This server has no such endpoint."
}

#[test]
fn every_path_of_every_operation_is_answered() {
    let server = TestServer::new();
    assert!(!is_routed(&ask(&server, "GET", "/_matrix/client/v3/nothing")), "else this test shows nothing");
    let mut asked = 0;
    for operation in client_operations() {
        for path in &operation.paths {
            let answer = ask(&server, &operation.method, &filled(path));
            assert!(is_routed(&answer), "{} {path}: {}", operation.method, answer.body);
            asked += 1;
        }
    }
    assert!(asked > 150, "{asked}");
}

#[test]
fn what_is_served_now_is_served_as_it_was_before() {
    let server = TestServer::new();
    let mut new = BTreeSet::new();
    for operation in client_operations() {
        for path in operation.paths.iter().filter_map(|path| path.strip_prefix("/_matrix/client/v3/")) {
            if !operation.paths.contains(&format!("/_matrix/client/r0/{path}").as_str()) {
                new.insert(path);
                continue;
            }
            let oldest = ask(&server, &operation.method, &filled(&format!("/_matrix/client/api/v1/{path}")));
            assert!(is_routed(&oldest), "{} {path}: {}", operation.method, oldest.body);
        }
    }
    let unknown: Vec<_> = new.difference(&BTreeSet::from(NEW_IN_V3)).copied().collect();
    assert_eq!(unknown, [""; 0], "older clients call these under r0, or NEW_IN_V3 has to name them");
}

#[test]
fn an_older_client_gets_by() {
    let server = TestServer::new();
    let alice = server.register("alice");
    for prefix in ["r0", "api/v1"] {
        let path = |rest: &str| format!("/_matrix/client/{prefix}/{rest}");
        let room = server.post(&path("createRoom"), &alice.token, json!({ "name": "Burrow" })).ok()["room_id"].clone();
        let room = room.as_str().unwrap();
        let message = json!({ "msgtype": "m.text", "body": "hello" });
        server.put(&path(&format!("rooms/{room}/send/m.room.message/t{}", prefix.len())), &alice.token, message).ok();
        let read = server.get(&path(&format!("rooms/{room}/messages?dir=b&limit=1")), &alice.token).ok();
        assert_eq!(list(&read["chunk"])[0]["content"]["body"], "hello");
        // Of before tokens were in a header.
        let token = format!("access_token={}", alice.token);
        server.request("GET", &path(&format!("sync?{token}")), None, Value::Null).ok();
        server.request("GET", &path(&format!("joined_rooms?{token}")), None, Value::Null).ok();
        ask(&server, "GET", &path("nothing")).is_error(404, "M_UNRECOGNIZED");
        ask(&server, "POST", &path("sync")).is_error(405, "M_UNRECOGNIZED");
    }
}
