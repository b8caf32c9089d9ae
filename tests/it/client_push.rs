//! Push rules.
use serde_json::{Value, json};

use crate::harness::{Answer, TestServer, TestUser, request};

fn path(rule: &str) -> String {
    format!("/_matrix/client/v3/pushrules/global/{rule}")
}

fn put(server: &TestServer, user: &TestUser, rule: &str, body: Value) -> Answer {
    server.put(&path(rule), &user.token, body)
}

/// The ids of the rules of a kind, in order.
fn ids(server: &TestServer, user: &TestUser, kind: &str) -> Vec<String> {
    let rules = server.get("/_matrix/client/v3/pushrules/", &user.token).ok();
    let rules = rules["global"][kind].as_array().cloned().unwrap_or_default();
    rules.iter().map(|rule| rule["rule_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_new_user_has_the_predefined_rules() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let all = server.get("/_matrix/client/v3/pushrules/", &alice.token).ok();
    assert_eq!(all["global"], server.get("/_matrix/client/v3/pushrules/global/", &alice.token).ok());
    let overrides = ids(&server, &alice, "override");
    for expected in [".m.rule.master", ".m.rule.is_user_mention", ".m.rule.suppress_notices", ".m.rule.invite_for_me"] {
        assert!(overrides.iter().any(|id| id == expected), "{expected}");
    }
    assert!(ids(&server, &alice, "underride").contains(&".m.rule.message".to_owned()));
    let mention = server.get(&path("override/.m.rule.is_user_mention"), &alice.token).ok();
    assert_eq!(mention["conditions"][0]["value"], alice.id);
    assert_eq!((&mention["default"], &mention["enabled"]), (&json!(true), &json!(true)));
}

#[test]
fn rules_are_added_changed_and_removed() {
    let server = TestServer::new();
    let alice = server.register("alice");
    put(&server, &alice, "content/cake", json!({ "pattern": "cake", "actions": ["notify"] })).ok();
    put(&server, &alice, "room/!r:example.org", json!({ "actions": [] })).ok();
    put(&server, &alice, "sender/@b:example.org", json!({ "actions": [] })).ok();
    let conditions = json!([{ "kind": "event_match", "key": "type", "pattern": "m.*" }]);
    put(&server, &alice, "override/mine", json!({ "conditions": conditions, "actions": [] })).ok();

    let cake = server.get(&path("content/cake"), &alice.token).ok();
    assert_eq!(
        cake,
        json!({ "rule_id": "cake", "default": false, "enabled": true, "pattern": "cake", "actions": ["notify"] })
    );
    assert_eq!(ids(&server, &alice, "override")[..2], [".m.rule.master", "mine"]);

    server.put(&path("content/cake/enabled"), &alice.token, json!({ "enabled": false })).ok();
    assert_eq!(server.get(&path("content/cake/enabled"), &alice.token).ok(), json!({ "enabled": false }));
    let actions = json!({ "actions": ["notify", { "set_tweak": "sound", "value": "bing" }] });
    server.put(&path("content/cake/actions"), &alice.token, actions.clone()).ok();
    assert_eq!(server.get(&path("content/cake/actions"), &alice.token).ok(), actions);
    server.put(&path("override/.m.rule.master/enabled"), &alice.token, json!({ "enabled": true })).ok();

    let after = TestServer::on(server.disk.clone());
    assert_eq!(after.get(&path("content/cake"), &alice.token).ok()["enabled"], false);
    assert_eq!(after.get(&path("override/.m.rule.master"), &alice.token).ok()["enabled"], true);
    assert_eq!(after.delete(&path("content/cake"), &alice.token).ok(), json!({}));
    after.delete(&path("content/cake"), &alice.token).is_error(404, "M_NOT_FOUND");
    after.get(&path("content/cake"), &alice.token).is_error(404, "M_NOT_FOUND");
    put(&after, &alice, "content/cake", json!({ "pattern": "cake", "actions": [], "enabled": false })).ok();
    assert_eq!(after.get(&path("content/cake"), &alice.token).ok()["enabled"], true, "a new rule is on");
}

#[test]
fn rules_go_where_they_are_told() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let body = json!({ "pattern": "x", "actions": [] });
    for rule in ["content/a", "content/b", "content/c?after=a", "content/d?before=c"] {
        put(&server, &alice, rule, body.clone()).ok();
    }
    assert_eq!(ids(&server, &alice, "content"), ["b", "a", "d", "c"]);
    put(&server, &alice, "content/e?after=nothing", body.clone()).is_error(400, "M_INVALID_PARAM");
    put(&server, &alice, "content/e?before=.m.rule.master", body).is_error(400, "M_INVALID_PARAM");
}

#[test]
fn a_rule_that_is_there_moves_to_where_it_is_told() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let body = json!({ "pattern": "x", "actions": [] });
    for rule in ["a", "b", "c"] {
        put(&server, &alice, &format!("content/{rule}"), body.clone()).ok();
    }
    for (request, order) in [
        ("c?after=a", ["b", "a", "c"]),
        ("b?after=a", ["a", "b", "c"]),
        ("a?before=c", ["b", "a", "c"]),
        ("c?before=b", ["c", "b", "a"]),
        ("a?after=c&before=b", ["c", "a", "b"]),
        ("a", ["c", "a", "b"]),
    ] {
        put(&server, &alice, &format!("content/{request}"), body.clone()).ok();
        assert_eq!(ids(&server, &alice, "content"), order, "{request}");
    }
    for request in ["a?after=a", "a?before=a", "c?after=b&before=a"] {
        put(&server, &alice, &format!("content/{request}"), body.clone()).is_error(400, "M_INVALID_PARAM");
    }
    assert_eq!(ids(&server, &alice, "content"), ["c", "a", "b"]);
    let conditional = json!({ "conditions": [], "actions": [] });
    for request in ["override/x", "override/y?before=x", "override/x?before=y", "underride/z"] {
        put(&server, &alice, request, conditional.clone()).ok();
    }
    assert_eq!(ids(&server, &alice, "override")[..4], [".m.rule.master", "x", "y", ".m.rule.suppress_notices"]);
    assert_eq!(ids(&server, &alice, "underride")[..2], ["z", ".m.rule.call"]);
}

#[test]
fn between_two_rules_the_one_before_decides() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let body = json!({ "pattern": "x", "actions": [] });
    for rule in ["low", "middle", "high", "new?after=high&before=low"] {
        put(&server, &alice, &format!("content/{rule}"), body.clone()).ok();
    }
    assert_eq!(ids(&server, &alice, "content"), ["high", "middle", "new", "low"]);
}

#[test]
fn a_rule_applies_where_all_of_its_conditions_hold() {
    let server = TestServer::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| server.register(name));
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    server.join(&carol, &room);
    let matches = |key: &str, pattern: &str| json!({ "kind": "event_match", "key": key, "pattern": pattern });
    let conditions = [matches("content.body", "*soup*"), matches("sender", &alice.id), matches("room_id", &room)];
    let actions = json!(["notify", { "set_tweak": "highlight" }]);
    put(&server, &bob, "override/soup", json!({ "conditions": conditions, "actions": actions })).ok();
    let highlights = || {
        let answer = server.sync(&bob, None, "");
        answer["rooms"]["join"][&room]["unread_notifications"]["highlight_count"].as_u64().unwrap()
    };
    server.say(&carol, &room, "soup from another");
    server.say(&alice, &room, "bread");
    assert_eq!(highlights(), 0);
    server.say(&alice, &room, "soup is ready");
    assert_eq!(highlights(), 1);
}

#[test]
fn what_is_not_there_is_not_found() {
    let server = TestServer::new();
    let alice = server.register("alice");
    for rule in ["content/cake", "override/cake", "nonsense/.m.rule.master", "sender/.m.rule.master"] {
        for part in ["", "/enabled", "/actions"] {
            server.get(&path(&format!("{rule}{part}")), &alice.token).is_error(404, "M_NOT_FOUND");
        }
        put(&server, &alice, &format!("{rule}/enabled"), json!({ "enabled": true })).is_error(404, "M_NOT_FOUND");
        put(&server, &alice, &format!("{rule}/actions"), json!({ "actions": [] })).is_error(404, "M_NOT_FOUND");
        server.delete(&path(rule), &alice.token).is_error(404, "M_NOT_FOUND");
    }
    server.send(request("GET", "/_matrix/client/v3/pushrules/", None, "")).is_error(401, "M_MISSING_TOKEN");
}

#[test]
fn malformed_rules_are_refused() {
    let server = TestServer::new();
    let alice = server.register("alice");
    put(&server, &alice, "content/a", json!({ "actions": [] })).is_error(400, "M_MISSING_PARAM");
    put(&server, &alice, "content/a", json!({ "pattern": 1, "actions": [] })).is_error(400, "M_BAD_JSON");
    put(&server, &alice, "override/a", json!({ "conditions": {}, "actions": [] })).is_error(400, "M_BAD_JSON");
    put(&server, &alice, "override/a", json!({ "conditions": [], "actions": [7] })).is_error(400, "M_BAD_JSON");
    put(&server, &alice, "nonsense/a", json!({ "actions": [] })).is_error(400, "M_INVALID_PARAM");
    put(&server, &alice, "sender/nobody", json!({ "actions": [] })).is_error(400, "M_INVALID_PARAM");
    let body = json!({ "pattern": "x", "actions": [] });
    put(&server, &alice, "content/.m.mine", body.clone()).is_error(400, "M_INVALID_PARAM");
    put(&server, &alice, "content/a%5Cb", body.clone()).is_error(400, "M_INVALID_PARAM");
    put(&server, &alice, &format!("content/{}", "x".repeat(256)), body).is_error(400, "M_INVALID_PARAM");
    let long = "?".repeat(513);
    put(&server, &alice, "content/long", json!({ "pattern": long, "actions": [] })).is_error(400, "M_INVALID_PARAM");
    let conditions = json!([{ "kind": "event_match", "key": "content.body", "pattern": long }]);
    let body = json!({ "conditions": conditions, "actions": [] });
    put(&server, &alice, "override/long", body).is_error(400, "M_INVALID_PARAM");
    server.delete(&path("override/.m.rule.master"), &alice.token).is_error(400, "M_INVALID_PARAM");
    let master = path("override/.m.rule.master/enabled");
    server.put(&master, &alice.token, json!({ "enabled": "no" })).is_error(400, "M_BAD_JSON");
    server.put(&master, &alice.token, json!({})).is_error(400, "M_MISSING_PARAM");
}

#[test]
fn each_user_has_rules_of_their_own() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    put(&server, &alice, "content/cake", json!({ "pattern": "cake", "actions": [] })).ok();
    server.get(&path("content/cake"), &bob.token).is_error(404, "M_NOT_FOUND");
}
