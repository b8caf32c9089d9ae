//! Who is there, as those who share a room are told.
use serde_json::{Value, json};
use warren::{homeserver::Options, storage::memory::MemoryDisk};

use crate::{
    harness::{Answer, TestServer, TestUser, request},
    talk::{filter, list, next_batch, sync_path},
};

fn path(user: &str) -> String {
    format!("/_matrix/client/v3/presence/{user}/status")
}

fn set(server: &TestServer, user: &TestUser, body: Value) -> Answer {
    server.put(&path(&user.id), &user.token, body)
}

fn get(server: &TestServer, viewer: &TestUser, user: &TestUser) -> Value {
    server.get(&path(&user.id), &viewer.token).ok()
}

fn alice_and_bob() -> (TestServer, TestUser, TestUser, String) {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    (server, alice, bob, room)
}

/// Of each user a sync tells of: who, and how.
fn told(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let events = list(&answer["presence"]["events"]).iter();
    events.map(|event| (text(&event["sender"]), text(&event["content"]["presence"]))).collect()
}

#[test]
fn what_is_set_is_got_by_those_who_share_a_room_and_no_others() {
    let (server, alice, bob, _) = alice_and_bob();
    let carol = server.register("carol");
    assert_eq!(get(&server, &alice, &alice), json!({ "presence": "offline", "currently_active": false }));
    assert_eq!(set(&server, &alice, json!({ "presence": "online", "status_msg": "here" })).ok(), json!({}));
    server.advance(5_000);
    let online =
        json!({ "presence": "online", "status_msg": "here", "last_active_ago": 5_000, "currently_active": true });
    assert_eq!(get(&server, &bob, &alice), online);
    server.get(&path(&alice.id), &carol.token).is_error(403, "M_FORBIDDEN");
    server.get(&path("@nobody:example.org"), &carol.token).is_error(403, "M_FORBIDDEN");
    set(&server, &alice, json!({ "presence": "unavailable" })).ok();
    let away = get(&server, &bob, &alice);
    assert_eq!((&away["presence"], away.get("status_msg")), (&json!("unavailable"), None));
    set(&server, &alice, json!({ "presence": "offline", "status_msg": "gone" })).ok();
    assert_eq!(get(&server, &bob, &alice)["presence"], "offline");
    let after = TestServer::on(server.disk.clone());
    let status = get(&after, &bob, &alice);
    assert_eq!((&status["presence"], &status["status_msg"]), (&json!("offline"), &json!("gone")), "it is kept");
}

#[test]
fn nonsense_is_refused() {
    let (server, alice, bob, _) = alice_and_bob();
    set(&server, &alice, json!({ "presence": "asleep" })).is_error(400, "M_INVALID_PARAM");
    set(&server, &alice, json!({ "presence": 1 })).is_error(400, "M_BAD_JSON");
    set(&server, &alice, json!({})).is_error(400, "M_MISSING_PARAM");
    set(&server, &alice, json!({ "presence": "online", "status_msg": [] })).is_error(400, "M_BAD_JSON");
    let long = json!({ "presence": "online", "status_msg": "x".repeat(1_025) });
    set(&server, &alice, long).is_error(413, "M_TOO_LARGE");
    server.put(&path(&alice.id), &bob.token, json!({ "presence": "online" })).is_error(403, "M_FORBIDDEN");
    server.get(&path("alice"), &bob.token).is_error(400, "M_INVALID_PARAM");
    server.send(request("GET", &path(&alice.id), None, "")).is_error(401, "M_MISSING_TOKEN");
    server.sync_answer(&alice, None, "&set_presence=asleep").is_error(400, "M_INVALID_PARAM");
}

#[test]
fn syncing_shows_and_its_end_is_noticed() {
    let (server, alice, bob, _) = alice_and_bob();
    let mut since = next_batch(&server.sync(&bob, None, "&set_presence=offline"));
    let mut news = |expected: &[&str]| {
        let answer = server.sync(&bob, Some(&since), "&set_presence=offline");
        since = next_batch(&answer);
        let expected: Vec<_> = expected.iter().map(|state| (alice.id.clone(), (*state).to_owned())).collect();
        assert_eq!(told(&answer), expected);
    };
    server.sync(&alice, None, "&set_presence=offline");
    news(&[]);
    let waiting = server.start("GET", &sync_path(Some("s1"), 30_000, ""), Some(&alice.token));
    news(&["online"]);
    drop(waiting);
    server.advance(59_999);
    news(&[]);
    server.advance(1);
    news(&["offline"]);
    server.sync(&alice, None, "&set_presence=unavailable");
    news(&["unavailable"]);
    assert_eq!(server.clock.next_due_ms(), Some(1_700_000_000_000 + 90_000));
    server.advance(30_000);
    news(&["offline"]);
    server.advance(3_600_000);
    assert_eq!(server.clock.next_due_ms(), None, "nothing goes on for those who are not there");
}

#[test]
fn whoever_is_idle_is_so_until_saying_something() {
    let (server, alice, bob, room) = alice_and_bob();
    let quiet = "&set_presence=offline";
    server.sync(&alice, None, "");
    let since = next_batch(&server.sync(&bob, None, quiet));
    for _ in 0..11 {
        server.advance(29_000);
        server.sync(&alice, None, "");
    }
    assert_eq!(get(&server, &bob, &alice)["presence"], "unavailable");
    let since = next_batch(&server.sync(&bob, Some(&since), quiet));
    let waiting = server.start("GET", &sync_path(Some(&since), 30_000, quiet), Some(&bob.token));
    assert!(waiting.take().is_none());
    server.say(&alice, &room, "back");
    assert!(waiting.take().is_some());
    let answer = server.sync(&bob, Some(&since), quiet);
    assert_eq!(told(&answer), [(alice.id.clone(), "online".to_owned())]);
    let content = json!({ "presence": "online", "last_active_ago": 0, "currently_active": true });
    let event = json!({ "type": "m.presence", "sender": alice.id, "content": content });
    assert_eq!(answer["presence"]["events"], json!([event]));
}

#[test]
fn a_sync_tells_of_others_whom_the_filter_lets_through() {
    let (server, alice, bob, _) = alice_and_bob();
    let carol = server.register("carol");
    server.sync(&alice, None, "");
    let answer = server.sync(&bob, None, "");
    assert_eq!(told(&answer), [(alice.id.clone(), "online".to_owned())], "and not of oneself");
    for unwanted in [
        json!({ "not_types": ["m.presence"] }),
        json!({ "types": [] }),
        json!({ "senders": [] }),
        json!({ "not_senders": [alice.id] }),
    ] {
        let answer = server.sync(&bob, None, &filter(json!({ "presence": unwanted })));
        assert!(told(&answer).is_empty(), "{answer}");
    }
    let answer = server.sync(&carol, None, "");
    assert!(told(&answer).is_empty(), "who shares no room is told nothing");
    let other = server.public_room(&carol);
    let since = next_batch(&server.sync(&bob, None, ""));
    server.join(&bob, &other);
    assert_eq!(told(&server.sync(&carol, Some(&next_batch(&answer)), "")), [(bob.id.clone(), "online".to_owned())]);
    let answer = server.sync(&bob, Some(&since), "");
    assert!(told(&answer).contains(&(carol.id, "online".to_owned())), "{answer}");
    let ignored = format!("/_matrix/client/v3/user/{}/account_data/m.ignored_user_list", bob.id);
    server.put(&ignored, &bob.token, json!({ "ignored_users": { (alice.id.clone()): {} } })).ok();
    assert!(told(&server.sync(&bob, None, "")).iter().all(|(user, _)| *user != alice.id));
}

#[test]
fn of_many_as_many_as_wanted_are_told_those_first_who_changed_last() {
    let (server, alice, bob, room) = alice_and_bob();
    let [carol, dora] = ["carol", "dora"].map(|name| server.register(name));
    server.join(&carol, &room);
    server.join(&dora, &room);
    let first = next_batch(&server.sync(&bob, None, ""));
    for user in [&carol, &alice, &dora] {
        server.sync(user, None, "");
    }
    let limited = |limit: usize| filter(json!({ "presence": { "limit": limit } }));
    for since in [None, Some(first.as_str())] {
        let told = |limit| -> Vec<String> {
            told(&server.sync(&bob, since, &limited(limit))).into_iter().map(|(user, _)| user).collect()
        };
        assert_eq!(told(2), [dora.id.clone(), alice.id.clone()]);
        assert_eq!((told(0).len(), told(10).len()), (0, 3));
    }
    let unwanted = json!({ "presence": { "limit": 1, "not_senders": [dora.id], "senders": [dora.id, carol.id] } });
    assert_eq!(told(&server.sync(&bob, None, &filter(unwanted)))[0].0, carol.id);
}

#[test]
fn where_it_is_turned_off_nobody_is_shown() {
    let options = Options { presence: false, ..Options::default() };
    let server = TestServer::with(MemoryDisk::default(), options);
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    set(&server, &alice, json!({ "presence": "online" })).is_error(403, "M_FORBIDDEN");
    server.get(&path(&alice.id), &alice.token).is_error(403, "M_FORBIDDEN");
    server.sync(&alice, None, "");
    assert!(told(&server.sync(&bob, None, "")).is_empty());
}
