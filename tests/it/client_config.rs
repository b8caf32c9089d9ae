//! Account data, global and of rooms.
use serde_json::{Value, json};

use crate::harness::{TestServer, TestUser, request};

fn global(user: &TestUser, kind: &str) -> String {
    format!("/_matrix/client/v3/user/{}/account_data/{kind}", user.id)
}

fn of_room(user: &TestUser, room: &str, kind: &str) -> String {
    format!("/_matrix/client/v3/user/{}/rooms/{room}/account_data/{kind}", user.id)
}

#[test]
fn what_was_put_is_got_and_survives_a_restart() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let (settings, of_room) =
        (global(&alice, "org.example.settings"), of_room(&alice, "!r:example.org", "org.example.settings"));
    let content = json!({ "dark": true, "zoom": 1.5, "names": ["ä", "\u{0}"], "none": null });
    assert_eq!(server.put(&settings, &alice.token, content.clone()).ok(), json!({}));
    server.get(&of_room, &alice.token).is_error(404, "M_NOT_FOUND");
    assert_eq!(server.put(&of_room, &alice.token, json!({ "mine": 1 })).ok(), json!({}));
    server.put(&of_room, &alice.token, json!({ "mine": 2 })).ok();

    let after = TestServer::on(server.disk.clone());
    assert_eq!(after.get(&settings, &alice.token).ok(), content);
    assert_eq!(after.get(&of_room, &alice.token).ok(), json!({ "mine": 2 }));
    after.get(&global(&alice, "org.example.other"), &alice.token).is_error(404, "M_NOT_FOUND");
}

#[test]
fn types_the_server_looks_after_cannot_be_set() {
    let server = TestServer::new();
    let alice = server.register("alice");
    for kind in ["m.fully_read", "m.push_rules"] {
        server.put(&global(&alice, kind), &alice.token, json!({})).is_error(405, "M_BAD_JSON");
        server.put(&of_room(&alice, "!r:example.org", kind), &alice.token, json!({})).is_error(405, "M_BAD_JSON");
    }
    let rules = server.get(&global(&alice, "m.push_rules"), &alice.token).ok();
    assert_eq!(rules["global"]["override"][0]["rule_id"], ".m.rule.master");
}

#[test]
fn nobody_gets_at_what_belongs_to_another() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    for path in [global(&alice, "t"), of_room(&alice, "!r:example.org", "t")] {
        server.put(&path, &alice.token, json!({})).ok();
        server.put(&path, &bob.token, json!({ "mine": 1 })).is_error(403, "M_FORBIDDEN");
        server.get(&path, &bob.token).is_error(403, "M_FORBIDDEN");
        assert_eq!(server.get(&path, &alice.token).ok(), json!({}));
        server.send(request("GET", &path, None, "")).is_error(401, "M_MISSING_TOKEN");
    }
}

#[test]
fn malformed_and_oversized_data_is_refused() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let path = global(&alice, "t");
    let put = |body: &str| server.send(request("PUT", &path, Some(&alice.token), body.to_owned()));
    for body in ["{", "no", "{\"a\":}", "{\"a\":1}}", "{\"a\":\"\u{1}\"}"] {
        put(body).is_error(400, "M_NOT_JSON");
    }
    let not_utf8 = request("PUT", &path, Some(&alice.token), b"{\"a\":\"\xff\"}".as_slice());
    server.send(not_utf8).is_error(400, "M_NOT_JSON");
    for body in ["[]", "null", "5", "\"text\"", "[{\"a\":1}]"] {
        put(body).is_error(400, "M_BAD_JSON");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(put(&deep).status, 400);
    put(&format!("{{\"a\":\"{}\"}}", "x".repeat(256 << 10))).is_error(413, "M_TOO_LARGE");
    put(&format!("{{\"a\":\"{}\"}}", "x".repeat(3 << 20))).is_error(413, "M_TOO_LARGE");
    server.get(&path, &alice.token).is_error(404, "M_NOT_FOUND");

    server.put(&global(&alice, &"t".repeat(256)), &alice.token, json!({})).is_error(400, "M_INVALID_PARAM");
    server.put(&of_room(&alice, "nowhere", "t"), &alice.token, json!({})).is_error(400, "M_INVALID_PARAM");
    server.get(&of_room(&alice, "nowhere", "t"), &alice.token).is_error(400, "M_INVALID_PARAM");
    server.get("/_matrix/client/v3/user/alice/account_data/t", &alice.token).is_error(400, "M_INVALID_PARAM");
}

#[test]
fn there_is_an_end_to_how_many_types_there_may_be() {
    let server = TestServer::new();
    let alice = server.register("alice");
    // Push rules are the first of the 500.
    for n in 1..500 {
        server.put(&global(&alice, &format!("t{n}")), &alice.token, Value::Object(Default::default())).ok();
    }
    server.put(&global(&alice, "t500"), &alice.token, json!({})).is_error(413, "M_TOO_LARGE");
    server.put(&global(&alice, "t499"), &alice.token, json!({ "again": 1 })).ok();
    server.put(&of_room(&alice, "!r:example.org", "t500"), &alice.token, json!({})).ok();
}

#[test]
fn path_segments_are_decoded() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let encoded = format!("/_matrix/client/v3/user/{}/account_data/a%2Fb%20%C3%A4", alice.id.replace('@', "%40"));
    server.put(&encoded, &alice.token, json!({ "x": 1 })).ok();
    assert_eq!(server.get(&global(&alice, "a%2fb%20%c3%a4"), &alice.token).ok(), json!({ "x": 1 }));
    server.get(&global(&alice, "%ff"), &alice.token).is_error(400, "M_INVALID_PARAM");
}
