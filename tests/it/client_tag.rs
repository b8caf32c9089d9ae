//! Tags of rooms.
use serde_json::json;

use crate::harness::{TestServer, TestUser};

fn tags(user: &TestUser, tag: &str) -> String {
    format!("/_matrix/client/v3/user/{}/rooms/!r:example.org/tags{tag}", user.id)
}

#[test]
fn tags_are_set_listed_and_removed() {
    let server = TestServer::new();
    let alice = server.register("alice");
    assert_eq!(server.get(&tags(&alice, ""), &alice.token).ok(), json!({ "tags": {} }));
    server.put(&tags(&alice, "/m.favourite"), &alice.token, json!({ "order": 0.25 })).ok();
    server.put(&tags(&alice, "/u.w%C3%B6rk"), &alice.token, json!({})).ok();
    server.put(&tags(&alice, "/m.favourite"), &alice.token, json!({ "order": 1 })).ok();
    let listed = json!({ "tags": { "m.favourite": { "order": 1.0 }, "u.wörk": {} } });
    assert_eq!(server.get(&tags(&alice, ""), &alice.token).ok(), listed);

    let account_data = format!("/_matrix/client/v3/user/{}/rooms/!r:example.org/account_data/m.tag", alice.id);
    assert_eq!(server.get(&account_data, &alice.token).ok(), listed, "tags are account data");

    assert_eq!(server.delete(&tags(&alice, "/m.favourite"), &alice.token).ok(), json!({}));
    server.delete(&tags(&alice, "/m.favourite"), &alice.token).ok();
    assert_eq!(server.get(&tags(&alice, ""), &alice.token).ok(), json!({ "tags": { "u.wörk": {} } }));
}

#[test]
fn malformed_tags_are_refused() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    for order in [json!(-0.1), json!(1.5)] {
        let answer = server.put(&tags(&alice, "/m.favourite"), &alice.token, json!({ "order": order }));
        answer.is_error(400, "M_INVALID_PARAM");
    }
    server.put(&tags(&alice, "/m.favourite"), &alice.token, json!({ "order": "0.5" })).is_error(400, "M_BAD_JSON");
    server
        .put(&tags(&alice, &format!("/u.{}", "x".repeat(254))), &alice.token, json!({}))
        .is_error(400, "M_INVALID_PARAM");
    server.put(&tags(&alice, "/m.favourite"), &bob.token, json!({})).is_error(403, "M_FORBIDDEN");
    server.get(&tags(&alice, ""), &bob.token).is_error(403, "M_FORBIDDEN");
    server.delete(&tags(&alice, "/m.favourite"), &bob.token).is_error(403, "M_FORBIDDEN");
    for n in 0..100 {
        server.put(&tags(&alice, &format!("/u.{n}")), &alice.token, json!({})).ok();
    }
    server.put(&tags(&alice, "/u.100"), &alice.token, json!({})).is_error(413, "M_TOO_LARGE");
    server.put(&tags(&alice, "/u.99"), &alice.token, json!({ "order": 0 })).ok();
}

#[test]
fn nonsense_written_as_account_data_harms_nobody() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let account_data = format!("/_matrix/client/v3/user/{}/rooms/!r:example.org/account_data/m.tag", alice.id);
    for content in [json!({ "tags": [] }), json!({}), json!({ "tags": { "u.a": 7, "u.b": { "order": "x" } } })] {
        server.put(&account_data, &alice.token, content).ok();
        server.get(&tags(&alice, ""), &alice.token).ok();
    }
    server.put(&tags(&alice, "/u.c"), &alice.token, json!({})).ok();
    let listed = server.get(&tags(&alice, ""), &alice.token).ok();
    assert_eq!(listed["tags"].as_object().unwrap().len(), 3);
}
