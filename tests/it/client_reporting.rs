//! Reporting rooms, events and users: what is kept of it, for how many, and what is no report.
use serde_json::{Value, json};
use warren::homeserver::reports::{self, REASON_MAX_BYTES, REPORTS_PER_USER_MAX};

use crate::{
    harness::{TestServer, TestUser},
    talk::escaped,
};

fn report(server: &TestServer, user: &TestUser, what: &str, body: Value) -> crate::harness::Answer {
    server.post(&format!("/_matrix/client/v3/{what}"), &user.token, body)
}

/// Every report as JSON, the newest first.
fn kept(server: &TestServer) -> Vec<Value> {
    let rows = server.run(reports::all(&server.homeserver)).unwrap();
    rows.iter().map(|row| serde_json::to_value(row).unwrap()).collect()
}

#[test]
fn what_is_reported_is_kept_for_whoever_runs_the_server() {
    let server = TestServer::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let room = server.public_room(&alice);
    let event = server.say(&alice, &room, "boo");
    server.join(&bob, &room);
    let reason = json!({ "reason": "rude" });
    let of_event = format!("rooms/{}/report/{}", escaped(&room), escaped(&event));
    assert_eq!(report(&server, &bob, &of_event, reason.clone()).ok(), json!({}));
    assert_eq!(report(&server, &bob, &format!("rooms/{room}/report"), reason.clone()).ok(), json!({}));
    assert_eq!(report(&server, &bob, &format!("users/{}/report", alice.id), reason.clone()).ok(), json!({}));
    report(&server, &bob, "users/@far:elsewhere.example/report", json!({ "reason": "" })).ok();
    let server = TestServer::on(server.disk.clone());
    let kept = kept(&server);
    let about: Vec<&Value> = kept.iter().map(|row| &row["about"]).collect();
    let user = |id: &str| json!({ "kind": "user", "user_id": id });
    assert_eq!(
        about,
        [
            &user("@far:elsewhere.example"),
            &user(&alice.id),
            &json!({ "kind": "room", "room_id": room }),
            &json!({ "kind": "event", "room_id": room, "event_id": event }),
        ]
    );
    assert!(kept.iter().all(|row| row["reporter"] == bob.id.as_str()));
    assert_eq!((&kept[0]["reason"], &kept[1]["reason"]), (&json!(""), &json!("rude")));
}

#[test]
fn what_is_not_there_or_not_seen_is_not_reported() {
    let server = TestServer::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let room = server.public_room(&alice);
    let other = server.public_room(&bob);
    let event = server.say(&alice, &room, "boo");
    let reason = json!({ "reason": "rude" });
    let of_event = format!("rooms/{}/report/{}", escaped(&room), escaped(&event));
    report(&server, &bob, &of_event, reason.clone()).is_error(404, "M_NOT_FOUND");
    for absent in [
        format!("rooms/{}/report/{}", escaped(&other), escaped(&event)),
        format!("rooms/{}/report/$nothing", escaped(&other)),
        "rooms/!nowhere/report".to_owned(),
        format!("users/@nobody:{}/report", server.server_name()),
    ] {
        report(&server, &bob, &absent, reason.clone()).is_error(404, "M_NOT_FOUND");
    }
    // To see an event is not enough.
    let world = json!({ "history_visibility": "world_readable" });
    server.set_state(&alice, &room, "m.room.history_visibility", "", world);
    server.event(&bob, &room, &server.say(&alice, &room, "open"));
    let open = format!("rooms/{}/report/{}", escaped(&room), escaped(&server.say(&alice, &room, "open")));
    report(&server, &bob, &open, reason.clone()).is_error(404, "M_NOT_FOUND");
    server.join(&bob, &room);
    report(&server, &bob, "rooms/nowhere/report", reason.clone()).is_error(400, "M_INVALID_PARAM");
    report(&server, &bob, "users/nobody/report", reason.clone()).is_error(400, "M_INVALID_PARAM");
    report(&server, &bob, &format!("users/{}/report", alice.id), json!({})).is_error(400, "M_MISSING_PARAM");
    report(&server, &bob, &of_event, json!({ "reason": 5 })).is_error(400, "M_BAD_JSON");
    let long = json!({ "reason": "x".repeat(REASON_MAX_BYTES + 1) });
    report(&server, &bob, &of_event, long).is_error(413, "M_TOO_LARGE");
    server.request("POST", &format!("/_matrix/client/v3/{of_event}"), None, reason).is_error(401, "M_MISSING_TOKEN");
    assert!(kept(&server).is_empty());
}

#[test]
fn one_user_fills_a_part_of_the_list_only() {
    let server = TestServer::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let room = server.public_room(&alice);
    let path = format!("rooms/{room}/report");
    for _ in 0..REPORTS_PER_USER_MAX {
        report(&server, &bob, &path, json!({ "reason": "again" })).ok();
    }
    report(&server, &bob, &path, json!({ "reason": "again" })).is_error(429, "M_LIMIT_EXCEEDED");
    report(&server, &alice, &path, json!({ "reason": "too" })).ok();
    assert_eq!(kept(&server).len(), REPORTS_PER_USER_MAX + 1);
}
