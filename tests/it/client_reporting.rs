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
    rows.iter().map(|(_, row)| serde_json::to_value(row).unwrap()).collect()
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

const EVENT_REPORTS: &str = "/_synapse/admin/v1/event_reports";
const USER_REPORTS: &str = "/_synapse/admin/v1/user_reports";
const ROOM_REPORTS: &str = "/_matrix/client/unstable/warren/room_reports";

#[test]
fn administrators_read_what_was_reported_and_dismiss_it() {
    let server = TestServer::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let room = server.create_room(&alice, json!({ "preset": "public_chat", "name": "Kitchen" }));
    server.join(&bob, &room);
    let (first, second) = (server.say(&alice, &room, "boo"), server.say(&bob, &room, "bah"));
    let reason = json!({ "reason": "rude" });
    report(&server, &bob, &format!("rooms/{}/report/{}", escaped(&room), escaped(&first)), reason.clone()).ok();
    report(&server, &alice, &format!("rooms/{}/report/{}", escaped(&room), escaped(&second)), json!({})).ok();
    report(&server, &bob, &format!("rooms/{}/report", escaped(&room)), reason.clone()).ok();
    report(&server, &bob, &format!("users/{}/report", alice.id), reason).ok();
    let get = |path: &str| server.get(path, &alice.token).ok();
    let mut events = get(EVENT_REPORTS);
    let newest = events["event_reports"][0].take();
    let expected = json!({
        "id": newest["id"], "received_ts": newest["received_ts"], "user_id": alice.id, "reason": "", "event_id": second,
        "sender": bob.id, "score": null, "room_id": room, "name": "Kitchen", "canonical_alias": null,
    });
    assert_eq!((newest.clone(), &events["total"], events.get("next_token")), (expected, &json!(2), None));
    let oldest = get(&format!("{EVENT_REPORTS}?dir=f&limit=1"));
    assert_eq!((&oldest["event_reports"][0]["event_id"], &oldest["next_token"]), (&json!(first), &json!(1)));
    let rest = get(&format!("{EVENT_REPORTS}?dir=f&limit=1&from=1"));
    assert_eq!((&rest["event_reports"][0]["event_id"], rest.get("next_token")), (&json!(second), None));
    for (query, total) in [
        (format!("user_id={}", bob.id), 1),
        ("user_id=carol".to_owned(), 0),
        (format!("event_sender_user_id={}", bob.id), 1),
        ("room_id=!elsewhere".to_owned(), 0),
    ] {
        assert_eq!(get(&format!("{EVENT_REPORTS}?{query}"))["total"], total, "{query}");
    }
    let one = format!("{EVENT_REPORTS}/{}", newest["id"]);
    assert_eq!(get(&one)["event_json"]["content"]["body"], "bah");
    let users = get(USER_REPORTS);
    assert_eq!((&users["total"], &users["user_reports"][0]["target_user_id"]), (&json!(1), &json!(alice.id)));
    let rooms = get(ROOM_REPORTS);
    assert_eq!((&rooms["total"], &rooms["room_reports"][0]["room_id"]), (&json!(1), &json!(room)));

    let user = format!("{USER_REPORTS}/{}", users["user_reports"][0]["id"]);
    let of_room = format!("{ROOM_REPORTS}/{}", rooms["room_reports"][0]["id"]);
    assert_eq!(get(&user)["reason"], "rude");
    for path in [&one, &user, &of_room] {
        server.delete(path, &bob.token).is_error(403, "M_FORBIDDEN");
        assert_eq!(server.delete(path, &alice.token).ok(), json!({}));
        server.delete(path, &alice.token).is_error(404, "M_NOT_FOUND");
    }
    assert_eq!(kept(&TestServer::on(server.disk.clone())).len(), 1);
}

#[test]
fn reports_are_for_administrators_and_named_by_numbers() {
    let server = TestServer::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    for list in [EVENT_REPORTS, USER_REPORTS, ROOM_REPORTS] {
        server.get(list, &bob.token).is_error(403, "M_FORBIDDEN");
        server.request("GET", list, None, Value::Null).is_error(401, "M_MISSING_TOKEN");
        for query in ["from=-1", "limit=x", "dir=x"] {
            server.get(&format!("{list}?{query}"), &alice.token).is_error(400, "M_INVALID_PARAM");
        }
        server.delete(&format!("{list}/x"), &alice.token).is_error(400, "M_INVALID_PARAM");
        server.delete(&format!("{list}/7"), &alice.token).is_error(404, "M_NOT_FOUND");
    }
    for list in [EVENT_REPORTS, USER_REPORTS] {
        server.get(&format!("{list}/7"), &bob.token).is_error(403, "M_FORBIDDEN");
        server.get(&format!("{list}/7"), &alice.token).is_error(404, "M_NOT_FOUND");
    }
}
