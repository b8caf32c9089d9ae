//! Uploading filters and getting them back.
use serde_json::{Value, json};

use crate::harness::{Answer, TestServer, TestUser};

fn create(server: &TestServer, user: &TestUser, filter: Value) -> Answer {
    server.post(&format!("/_matrix/client/v3/user/{}/filter", user.id), &user.token, filter)
}

fn get(server: &TestServer, of: &TestUser, by: &TestUser, filter_id: &str) -> Answer {
    server.get(&format!("/_matrix/client/v3/user/{}/filter/{filter_id}", of.id), &by.token)
}

#[test]
fn a_filter_comes_back_as_it_was_sent() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let filter = json!({
        "event_fields": ["type", "content"],
        "presence": { "types": [] },
        "room": {
            "include_leave": true,
            "timeline": { "limit": 10, "not_types": ["m.room.*"], "senders": ["@a:example.org"] },
            "state": { "lazy_load_members": true, "types": [] },
        },
    });
    let filter_id = create(&server, &alice, filter.clone()).ok()["filter_id"].as_str().unwrap().to_owned();
    assert!(!filter_id.starts_with('{'));
    assert_eq!(get(&server, &alice, &alice, &filter_id).ok(), filter);
    assert_eq!(create(&server, &alice, filter).ok()["filter_id"], filter_id, "the same filter is one filter");
    assert_ne!(create(&server, &alice, json!({})).ok()["filter_id"], filter_id);
}

#[test]
fn filters_are_checked() {
    let server = TestServer::new();
    let alice = server.register("alice");
    for filter in [
        json!({ "room": 5 }),
        json!({ "room": { "timeline": { "limit": -1 } } }),
        json!({ "room": { "timeline": { "limit": "ten" } } }),
        json!({ "presence": { "senders": ["nobody"] } }),
        json!({ "room": { "rooms": ["#alias:example.org"] } }),
        json!({ "event_fields": "type" }),
        json!({ "room": { "state": { "lazy_load_members": "yes" } } }),
    ] {
        create(&server, &alice, filter).is_error(400, "M_BAD_JSON");
    }
    create(&server, &alice, json!({ "event_fields": ["x".repeat(65_536)] })).is_error(413, "M_TOO_LARGE");
}

#[test]
fn filters_belong_to_their_user() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let filter_id = create(&server, &alice, json!({})).ok()["filter_id"].as_str().unwrap().to_owned();
    get(&server, &alice, &bob, &filter_id).is_error(403, "M_FORBIDDEN");
    get(&server, &bob, &bob, &filter_id).is_error(404, "M_NOT_FOUND");
    get(&server, &alice, &alice, "nothing").is_error(404, "M_NOT_FOUND");
    let path = format!("/_matrix/client/v3/user/{}/filter", alice.id);
    server.post(&path, &bob.token, json!({})).is_error(403, "M_FORBIDDEN");
}
