//! Receipts, read markers, and what is unread.
use serde_json::{Value, json};

use crate::{
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, filter, list, next_batch},
};

fn alice_and_bob() -> (TestServer, TestUser, TestUser, String) {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    // Of more than two, so that not every message is one to one.
    server.join(&server.register("carol"), &room);
    (server, alice, bob, room)
}

/// The contents of the receipts told.
fn receipts(answer: &Value, room: &str) -> Vec<Value> {
    let events = list(&answer["rooms"]["join"][room]["ephemeral"]["events"]).iter();
    events.filter(|event| event["type"] == "m.receipt").map(|event| event["content"].clone()).collect()
}

/// Notifications and highlights of a room.
fn unread(server: &TestServer, user: &TestUser, room: &str) -> (u64, u64) {
    let counts = &server.sync(user, None, "")["rooms"]["join"][room]["unread_notifications"];
    (counts["notification_count"].as_u64().unwrap(), counts["highlight_count"].as_u64().unwrap())
}

#[test]
fn a_receipt_is_told_to_everybody_a_private_one_to_its_owner() {
    let (server, alice, bob, room) = alice_and_bob();
    let said = server.say(&alice, &room, "read me");
    let since = next_batch(&server.sync(&bob, None, ""));
    server.read(&bob, &room, "m.read", &said, json!({})).ok();
    server.read(&bob, &room, "m.read.private", &said, json!({})).ok();
    let (own, others) = (server.sync(&bob, Some(&since), ""), server.sync(&alice, Some(&since), ""));
    let ts = json!({ "ts": 1_700_000_000_000_u64 });
    let public = json!({ (bob.id.clone()): ts });
    assert_eq!(receipts(&others, &room), [json!({ (said.clone()): { "m.read": public } })]);
    assert_eq!(receipts(&own, &room), [json!({ (said.clone()): { "m.read": public, "m.read.private": public } })]);
    assert_eq!(server.sync(&alice, Some(&next_batch(&others)), "").get("rooms"), None, "told once");
    assert_eq!(receipts(&server.sync(&alice, None, ""), &room).len(), 1, "and to those who begin anew");
    let none = filter(json!({ "room": { "ephemeral": { "types": [] } } }));
    assert_eq!(server.sync(&alice, Some(&since), &none).get("rooms"), None);
}

#[test]
fn receipts_go_forward_only() {
    let (server, alice, bob, room) = alice_and_bob();
    let (first, second) = (server.say(&alice, &room, "1"), server.say(&alice, &room, "2"));
    let since = next_batch(&server.sync(&alice, None, ""));
    for event in [&first, &second, &first, &second] {
        server.read(&bob, &room, "m.read", event, json!({})).ok();
    }
    let told = receipts(&server.sync(&alice, Some(&since), ""), &room);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].as_object().unwrap().keys().collect::<Vec<_>>(), [&second]);
}

#[test]
fn receipts_of_threads_stand_beside_each_other() {
    let (server, alice, bob, room) = alice_and_bob();
    let root = server.say(&alice, &room, "root");
    let since = next_batch(&server.sync(&alice, None, ""));
    for thread in [json!({}), json!({ "thread_id": "main" }), json!({ "thread_id": root })] {
        server.read(&bob, &room, "m.read", &root, thread).ok();
    }
    let told = receipts(&server.sync(&alice, Some(&since), ""), &room);
    let mut threads: Vec<Value> =
        told.iter().map(|content| content[&root]["m.read"][&bob.id]["thread_id"].clone()).collect();
    threads.sort_by_key(Value::to_string);
    assert_eq!(threads, [json!(root), json!("main"), Value::Null]);
}

#[test]
fn receipts_that_make_no_sense_are_refused() {
    let (server, alice, bob, room) = alice_and_bob();
    let said = server.say(&alice, &room, "x");
    let dave = server.register("dave");
    server.read(&dave, &room, "m.read", &said, json!({})).is_error(403, "M_FORBIDDEN");
    server.read(&bob, &room, "m.read", "$nothing", json!({})).is_error(400, "M_INVALID_PARAM");
    server.read(&bob, &room, "m.liked", &said, json!({})).is_error(400, "M_INVALID_PARAM");
    server.read(&bob, &room, "m.read", &said, json!({ "thread_id": "elsewhere" })).is_error(400, "M_INVALID_PARAM");
    let other = server.public_room(&bob);
    let elsewhere = server.say(&bob, &other, "elsewhere");
    server.read(&bob, &room, "m.read", &elsewhere, json!({})).is_error(400, "M_INVALID_PARAM");
    let in_thread = json!({ "thread_id": "main" });
    server.read(&bob, &room, "m.fully_read", &said, in_thread).is_error(400, "M_INVALID_PARAM");
}

#[test]
fn read_markers_are_account_data() {
    let (server, alice, bob, room) = alice_and_bob();
    let (first, second) = (server.say(&alice, &room, "1"), server.say(&alice, &room, "2"));
    let since = next_batch(&server.sync(&bob, None, ""));
    let path = format!("/_matrix/client/v3/rooms/{}/read_markers", escaped(&room));
    let body = json!({ "m.fully_read": first, "m.read": second, "m.read.private": second });
    server.post(&path, &bob.token, body).ok();
    let answer = server.sync(&bob, Some(&since), "");
    let marker = json!([{ "type": "m.fully_read", "content": { "event_id": first } }]);
    assert_eq!(answer["rooms"]["join"][&room]["account_data"]["events"], marker);
    assert_eq!(receipts(&answer, &room)[0][&second].as_object().unwrap().len(), 2);
    assert_eq!(answer["rooms"]["join"][&room]["unread_notifications"]["notification_count"], 0);
    assert_eq!(server.sync(&alice, Some(&since), "")["rooms"]["join"][&room].get("account_data"), None);
    server.read(&bob, &room, "m.fully_read", &second, json!({})).ok();
    let answer = server.sync(&bob, Some(&next_batch(&answer)), "");
    assert_eq!(answer["rooms"]["join"][&room]["account_data"]["events"][0]["content"]["event_id"], json!(second));
    server.post(&path, &bob.token, json!({ "m.fully_read": "$nothing" })).is_error(400, "M_INVALID_PARAM");
    server.post(&path, &server.register("dave").token, json!({ "m.read": first })).is_error(403, "M_FORBIDDEN");
}

#[test]
fn messages_are_unread_until_a_receipt_or_an_answer() {
    let (server, alice, bob, room) = alice_and_bob();
    assert_eq!(unread(&server, &bob, &room), (0, 0));
    let said: Vec<String> = (0..4).map(|n| server.say(&alice, &room, &n.to_string())).collect();
    assert_eq!(unread(&server, &bob, &room), (4, 0));
    assert_eq!(unread(&server, &alice, &room), (0, 0), "one's own are read");
    let since = next_batch(&server.sync(&bob, None, ""));
    server.read(&bob, &room, "m.read", &said[1], json!({})).ok();
    assert_eq!(unread(&server, &bob, &room), (2, 0));
    let answer = server.sync(&bob, Some(&since), "");
    assert_eq!(
        answer["rooms"]["join"][&room]["unread_notifications"]["notification_count"], 2,
        "told with the receipt"
    );
    server.read(&bob, &room, "m.read.private", &said[2], json!({})).ok();
    assert_eq!(unread(&server, &bob, &room), (1, 0), "a private receipt reads as well");
    server.read(&bob, &room, "m.read", &said[0], json!({})).ok();
    assert_eq!(unread(&server, &bob, &room), (1, 0), "what was read stays read");
    server.say(&bob, &room, "an answer");
    assert_eq!(unread(&server, &bob, &room), (0, 0));
    server.set_state(&alice, &room, "m.room.topic", "", json!({ "topic": "no noise" }));
    server.send_event(&alice, &room, "m.reaction", json!({}));
    assert_eq!(unread(&server, &bob, &room), (0, 0), "push rules notify of neither");
    let (homeserver, disk) = (server.homeserver.clone(), server.disk.clone());
    server.say(&alice, &room, "before the restart");
    drop((homeserver, server));
    let server = TestServer::on(disk);
    server.say(&alice, &room, "after it");
    assert_eq!(unread(&server, &bob, &room), (2, 0));
}

#[test]
fn mentions_are_highlights() {
    let (server, alice, bob, room) = alice_and_bob();
    let message = |body: &str, mentions: Value| json!({ "msgtype": "m.text", "body": body, "m.mentions": mentions });
    server.send_event(&alice, &room, "m.room.message", message("hey", json!({ "user_ids": [bob.id] })));
    assert_eq!(unread(&server, &bob, &room), (1, 1));
    server.send_event(&alice, &room, "m.room.message", message("hey all", json!({ "room": true })));
    assert_eq!(unread(&server, &bob, &room), (2, 2), "Alice has the power to call all");
    let carol = server.sync(&alice, None, "")["rooms"]["join"][&room]["summary"]["m.joined_member_count"].clone();
    assert_eq!(carol, 3);
    server.read(&bob, &room, "m.read", &server.say(&alice, &room, "x"), json!({})).ok();
    assert_eq!(unread(&server, &bob, &room), (0, 0));
    server.send_event(&bob, &room, "m.room.message", message("hey all", json!({ "room": true })));
    assert_eq!(unread(&server, &alice, &room), (1, 0), "Bob has not");
    // A rule of one's own.
    let rule = "/_matrix/client/v3/pushrules/global/content/lunch";
    server
        .put(rule, &bob.token, json!({ "pattern": "lunch", "actions": ["notify", { "set_tweak": "highlight" }] }))
        .ok();
    server.say(&alice, &room, "who is for lunch?");
    assert_eq!(unread(&server, &bob, &room), (1, 1));
    let mute = format!("/_matrix/client/v3/pushrules/global/room/{}", escaped(&room));
    server.put(&mute, &bob.token, json!({ "actions": [] })).ok();
    server.say(&alice, &room, "nothing to hear");
    assert_eq!(unread(&server, &bob, &room), (1, 1), "a muted room");
}

#[test]
fn a_room_is_mentioned_by_who_has_the_level_it_asks_for() {
    let (server, alice, bob, room) = alice_and_bob();
    let dora = server.register("dora");
    server.join(&dora, &room);
    let call = || {
        let content = json!({ "msgtype": "m.text", "body": "all of you", "m.mentions": { "room": true } });
        server.send_event(&dora, &room, "m.room.message", content);
        unread(&server, &bob, &room).1
    };
    assert_eq!(call(), 0, "fifty, if the room does not say");
    server.set_state(&alice, &room, "m.room.power_levels", "", json!({ "notifications": { "room": 0 } }));
    assert_eq!(call(), 1);
}

#[test]
fn threads_are_counted_apart_if_asked() {
    let (server, alice, bob, room) = alice_and_bob();
    let root = server.say(&alice, &room, "root");
    let in_thread = |text: &str| {
        json!({
            "msgtype": "m.text", "body": text,
            "m.relates_to": { "rel_type": "m.thread", "event_id": root },
        })
    };
    let reply = server.send_event(&alice, &room, "m.room.message", in_thread("1"));
    server.send_event(&alice, &room, "m.room.message", in_thread("2"));
    let apart = filter(json!({ "room": { "timeline": { "unread_thread_notifications": true } } }));
    let counts = |query: &str| {
        let room = server.sync(&bob, None, query)["rooms"]["join"][&room].clone();
        let main = room["unread_notifications"]["notification_count"].as_u64().unwrap();
        (main, room["unread_thread_notifications"][&root]["notification_count"].as_u64())
    };
    assert_eq!(counts(&apart), (1, Some(2)));
    assert_eq!(counts(""), (3, None));
    server.read(&bob, &room, "m.read", &reply, json!({ "thread_id": root })).ok();
    assert_eq!(counts(&apart), (1, Some(1)), "read in the thread only");
    server.read(&bob, &room, "m.read", &root, json!({ "thread_id": "main" })).ok();
    assert_eq!(counts(&apart), (0, Some(1)));
    server.send_event(&bob, &room, "m.room.message", in_thread("3"));
    assert_eq!(counts(&apart), (0, None), "who answers has read");
}

#[test]
fn who_leaves_has_nothing_unread() {
    let (server, alice, bob, room) = alice_and_bob();
    server.say(&alice, &room, "1");
    server.leave(&bob, &room);
    server.say(&alice, &room, "2");
    server.join(&bob, &room);
    assert_eq!(unread(&server, &bob, &room), (0, 0));
}

#[test]
fn a_receipt_that_could_not_be_written_was_not_left() {
    let (server, alice, bob, room) = alice_and_bob();
    let said = server.say(&alice, &room, "x");
    server.set_fault(Some(warren::ports::StoreError::QuotaExceeded));
    let answer: Answer = server.read(&bob, &room, "m.read", &said, json!({}));
    answer.is_error(507, "M_UNKNOWN");
    server.set_fault(None);
    assert_eq!(unread(&server, &bob, &room), (1, 0));
    assert_eq!(receipts(&server.sync(&alice, None, ""), &room), [Value::Null; 0]);
    server.read(&bob, &room, "m.read", &said, json!({})).ok();
    assert_eq!(unread(&server, &bob, &room), (0, 0));
}

#[test]
fn what_was_taken_back_is_not_unread() {
    let (server, alice, bob, room) = alice_and_bob();
    let said = server.say(&alice, &room, "1");
    server.say(&alice, &room, "2");
    assert_eq!(unread(&server, &bob, &room), (2, 0));
    server.redact(&alice, &room, &said);
    assert_eq!(unread(&server, &bob, &room), (1, 0));
    let disk = server.disk.clone();
    drop(server);
    assert_eq!(unread(&TestServer::on(disk), &bob, &room), (1, 0));
}

#[test]
fn receipts_of_a_thread_name_events_of_it() {
    let (server, alice, bob, room) = alice_and_bob();
    let root = server.say(&alice, &room, "root");
    let answer = server.relate(&alice, &room, "m.thread", &root, "in the thread");
    let edit = server.edit(&alice, &room, &answer, "in it too");
    let like = json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": edit, "key": "+1" } });
    let like = server.send_event(&alice, &room, "m.reaction", like);
    let of_root = server.edit(&alice, &room, &root, "of the root");
    let elsewhere = server.say(&alice, &room, "elsewhere");
    let read = |event: &str, thread: &str| server.read(&bob, &room, "m.read", event, json!({ "thread_id": thread }));
    for event in [&root, &of_root, &elsewhere] {
        read(event, "main").ok();
    }
    for event in [&answer, &edit, &like] {
        read(event, "main").is_error(400, "M_INVALID_PARAM");
        read(event, &root).ok();
    }
    read(&root, &root).ok();
    read(&of_root, &root).ok();
    read(&elsewhere, &root).is_error(400, "M_INVALID_PARAM");
    read(&answer, &elsewhere).is_error(400, "M_INVALID_PARAM");
    read(&answer, "").is_error(400, "M_INVALID_PARAM");
    let malformed = server.read(&bob, &room, "m.read", &answer, json!({ "thread_id": 7 }));
    assert_eq!(malformed.status, 400);
}

#[test]
fn what_relates_to_an_event_of_a_thread_counts_in_it() {
    let (server, alice, bob, room) = alice_and_bob();
    let root = server.say(&alice, &room, "root");
    let answer = server.relate(&alice, &room, "m.thread", &root, "one");
    let about = server.relate(&alice, &room, "m.reference", &answer, "two");
    server.relate(&alice, &room, "m.reference", &root, "in the main timeline");
    let threads = filter(json!({ "room": { "timeline": { "unread_thread_notifications": true } } }));
    let counts = || {
        let told = server.sync(&bob, None, &threads)["rooms"]["join"][&room].clone();
        (
            told["unread_notifications"]["notification_count"].as_u64().unwrap(),
            told["unread_thread_notifications"][&root]["notification_count"].as_u64(),
        )
    };
    assert_eq!(counts(), (2, Some(2)));
    server.read(&bob, &room, "m.read", &answer, json!({ "thread_id": root })).ok();
    assert_eq!(counts(), (2, Some(1)));
    server.read(&bob, &room, "m.read.private", &about, json!({ "thread_id": root })).ok();
    assert_eq!(counts().1.unwrap_or_default(), 0);
    assert_eq!(counts().0, 2, "the main timeline is another");
    server.read(&bob, &room, "m.read", &about, json!({})).ok();
    assert_eq!(counts().0, 1, "one came after");
}
