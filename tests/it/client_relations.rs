//! Events that relate to others: what is bundled with the parent, and what `/relations` tells.
use std::rc::Rc;

use serde_json::{Value, json};
use warren::{
    ports::Batch,
    storage::{
        Database,
        memory::MemoryDisk,
        tables::{Related, Relations, RelationsIndex, Rooms, Threads},
    },
};

use crate::{
    federation_network::Network,
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, filter, ids, list, next_batch, next_txn},
};

/// Alice, Bob and a public room of Alice's that Bob is in.
fn alice_and_bob() -> (TestServer, TestUser, TestUser, String) {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.public_room(&alice);
    server.join(&bob, &room);
    (server, alice, bob, room)
}

fn relations(server: &TestServer, user: &TestUser, room: &str, rest: &str) -> Answer {
    server.get(&format!("/_matrix/client/v1/rooms/{}/relations/{rest}", escaped(room)), &user.token)
}

fn bundle(event: &Value) -> &Value {
    &event["unsigned"]["m.relations"]
}

fn try_send(server: &TestServer, user: &TestUser, room: &str, kind: &str, content: Value) -> Answer {
    server.put(&format!("/_matrix/client/v3/rooms/{}/send/{kind}/{}", escaped(room), next_txn()), &user.token, content)
}

fn reaction(event: &str, key: &str) -> Value {
    json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": event, "key": key } })
}

#[test]
fn an_event_is_shown_with_its_latest_edit() {
    let (server, alice, bob, room) = alice_and_bob();
    let event = server.say(&alice, &room, "hello");
    assert_eq!(bundle(&server.event(&bob, &room, &event)), &Value::Null);
    server.edit(&alice, &room, &event, "first");
    server.clock.advance(1_000);
    let second = server.edit(&alice, &room, &event, "second");
    let shown = server.event(&bob, &room, &event);
    assert_eq!(shown["content"]["body"], "hello", "the original stays as it is");
    let replace = &bundle(&shown)["m.replace"];
    assert_eq!(replace["event_id"], json!(second));
    assert_eq!(replace["content"]["m.new_content"]["body"], "second");
    assert_eq!(replace["room_id"], json!(room));
    // An edit that is taken back counts no more, and the one before it does again.
    server.redact(&alice, &room, &second);
    assert_eq!(bundle(&server.event(&bob, &room, &event))["m.replace"]["content"]["m.new_content"]["body"], "first");
    // An event that is taken back is shown with no edit.
    server.redact(&alice, &room, &event);
    assert_eq!(bundle(&server.event(&bob, &room, &event)), &Value::Null);
}

#[test]
fn edits_that_may_not_be_are_not_shown() {
    let (server, alice, bob, room) = alice_and_bob();
    let event = server.say(&alice, &room, "hello");
    let replaces = |event: &str| json!({ "rel_type": "m.replace", "event_id": event });
    server.edit(&bob, &room, &event, "by another");
    let new_content = json!({ "m.new_content": { "body": "x" }, "m.relates_to": replaces(&event) });
    server.send_event(&alice, &room, "m.sticker", new_content.clone());
    server.set_state(&alice, &room, "m.room.message", "key", new_content);
    server.send_event(&alice, &room, "m.room.message", json!({ "body": "*", "m.relates_to": replaces(&event) }));
    assert_eq!(bundle(&server.event(&alice, &room, &event)), &Value::Null);
    let edit = server.edit(&alice, &room, &event, "good");
    server.edit(&alice, &room, &edit, "an edit of an edit");
    assert_eq!(bundle(&server.event(&alice, &room, &event))["m.replace"]["event_id"], json!(edit));
    assert_eq!(bundle(&server.event(&alice, &room, &edit)), &Value::Null);
    // Many edits by others do not hide the good one.
    for n in 0..120 {
        server.edit(&bob, &room, &event, &n.to_string());
    }
    assert_eq!(bundle(&server.event(&alice, &room, &event))["m.replace"]["event_id"], json!(edit));
    // State has no bundle.
    let topic = server.set_state(&alice, &room, "m.room.topic", "", json!({ "topic": "x" }));
    server.relate(&alice, &room, "m.reference", &topic, "about it");
    assert_eq!(bundle(&server.event(&alice, &room, &topic)), &Value::Null);
}

#[test]
fn references_are_bundled_and_annotations_are_not() {
    let (server, alice, bob, room) = alice_and_bob();
    let event = server.say(&alice, &room, "hello");
    let references = [
        server.relate(&alice, &room, "m.reference", &event, "one"),
        server.relate(&bob, &room, "m.reference", &event, "two"),
    ];
    server.send_event(&bob, &room, "m.reaction", reaction(&event, "+1"));
    let shown = server.event(&alice, &room, &event);
    assert_eq!(
        bundle(&shown),
        &json!({ "m.reference": { "chunk": [
        { "event_id": references[0] }, { "event_id": references[1] },
    ] } })
    );
    server.redact(&alice, &room, &references[0]);
    let shown = server.event(&alice, &room, &event);
    assert_eq!(bundle(&shown), &json!({ "m.reference": { "chunk": [{ "event_id": references[1] }] } }));
    server.ignore(&alice, &bob);
    assert_eq!(bundle(&server.event(&alice, &room, &event)), &Value::Null);
}

#[test]
fn bundles_are_everywhere_the_specification_says() {
    let (server, alice, bob, room) = alice_and_bob();
    let event = server.say(&alice, &room, "hello");
    let edit = server.edit(&alice, &room, &event, "bye");
    let has = |event_shown: &Value| bundle(event_shown)["m.replace"]["event_id"] == json!(edit);
    let find = |events: &Value| list(events).iter().find(|shown| shown["event_id"] == json!(event)).cloned().unwrap();
    assert!(has(&find(&server.messages(&bob, &room, "dir=b")["chunk"])));
    let context = |event: &str| {
        let path = format!("/_matrix/client/v3/rooms/{}/context/{}", escaped(&room), escaped(event));
        server.get(&path, &bob.token).ok()
    };
    assert!(has(&context(&event)["event"]));
    assert!(has(&find(&context(&edit)["events_before"])));
    let limited = server.sync(&bob, None, &filter(json!({ "room": { "timeline": { "limit": 2 } } })));
    let timeline = &limited["rooms"]["join"][&room]["timeline"];
    assert_eq!(timeline["limited"], true);
    assert!(has(&find(&timeline["events"])));
    assert_eq!(find(&timeline["events"])["unsigned"]["m.relations"]["m.replace"].get("room_id"), None);
    // Of a reference to an event that is edited itself.
    let reference = server.relate(&alice, &room, "m.reference", &event, "about it");
    let edit = server.edit(&alice, &room, &reference, "about it, better");
    let answer = relations(&server, &bob, &room, &format!("{}/m.reference", escaped(&event))).ok();
    assert_eq!(bundle(&answer["chunk"][0])["m.replace"]["event_id"], json!(edit));
}

#[test]
fn children_are_told_by_relation_and_by_type() {
    let (server, alice, bob, room) = alice_and_bob();
    let event = server.say(&alice, &room, "hello");
    let edit = server.edit(&alice, &room, &event, "bye");
    let like = server.send_event(&bob, &room, "m.reaction", reaction(&event, "+1"));
    let reference = server.relate(&bob, &room, "m.reference", &event, "about it");
    let reply = json!({ "body": "x", "m.relates_to": { "m.in_reply_to": { "event_id": event } } });
    server.send_event(&bob, &room, "m.room.message", reply);
    let told = |rest: &str| {
        let answer = relations(&server, &alice, &room, &format!("{}{rest}", escaped(&event))).ok();
        assert_eq!(answer.get("recursion_depth"), None);
        ids(&answer["chunk"])
    };
    assert_eq!(told(""), [reference.clone(), like.clone(), edit.clone()]);
    assert_eq!(told("/m.annotation"), std::slice::from_ref(&like));
    assert_eq!(told("/m.annotation/m.reaction"), std::slice::from_ref(&like));
    assert!(told("/m.annotation/m.room.message").is_empty());
    assert!(told("/org.example.none").is_empty());
    assert_eq!(told("/m.reference/m.room.message"), [reference]);
    server.ignore(&alice, &bob);
    assert_eq!(told(""), [edit], "Bob is not heard");
}

#[test]
fn children_are_paged_in_both_directions() {
    let (server, alice, bob, room) = alice_and_bob();
    let event = server.say(&alice, &room, "hello");
    let rel_types = ["m.reference", "org.example.a", "org.example.b"];
    let said: Vec<String> = (0..25)
        .map(|n| {
            server.say(&bob, &room, "between");
            server.relate(&bob, &room, rel_types[n % 3], &event, &n.to_string())
        })
        .collect();
    let page = |query: &str| relations(&server, &alice, &room, &format!("{}?limit=7{query}", escaped(&event))).ok();
    for (dir, expected) in [("b", said.iter().rev().cloned().collect()), ("f", said.clone())] {
        let (mut told, mut from): (Vec<String>, String) = (Vec::new(), String::new());
        loop {
            let answer = page(&format!("&dir={dir}{from}"));
            assert_eq!(answer.get("prev_batch").is_some(), !from.is_empty());
            told.extend(ids(&answer["chunk"]));
            match answer["next_batch"].as_str() {
                Some(next) => from = format!("&from={next}"),
                None => break,
            }
        }
        assert_eq!(told, expected, "{dir}");
    }
    assert_eq!(ids(&page("&dir=b")["chunk"]), ids(&page("")["chunk"]), "backward is what is meant");
    // From a token of another endpoint, and up to one.
    let since = next_batch(&server.sync(&alice, None, ""));
    let last = server.relate(&bob, &room, "m.reference", &event, "later");
    assert_eq!(ids(&page(&format!("&from={since}"))["chunk"])[0], said[24]);
    assert_eq!(ids(&page(&format!("&to={since}"))["chunk"]), [last]);
    let first_page = page("");
    let next = first_page["next_batch"].as_str().unwrap();
    let back = page(&format!("&from={next}&to={since}"));
    assert!(ids(&back["chunk"]).is_empty(), "there is nothing after `to`");
}

#[test]
fn messages_are_chosen_by_what_relates_to_them() {
    let (server, alice, bob, room) = alice_and_bob();
    let said: Vec<String> = (0..4).map(|n| server.say(&alice, &room, &n.to_string())).collect();
    server.relate(&alice, &room, "m.thread", &said[0], "in a thread");
    let by_bob = server.relate(&bob, &room, "m.thread", &said[1], "in another");
    server.send_event(&bob, &room, "m.reaction", reaction(&said[2], "+1"));
    server.send_event(&alice, &room, "m.reaction", reaction(&said[1], "+1"));
    let chosen = |wanted: Value, dir: &str| {
        let page = server.messages(&alice, &room, &format!("dir={dir}&limit=10{}", filter(wanted)));
        let ids = ids(&page["chunk"]);
        ids.iter().map(|id| said.iter().position(|said| said == id).unwrap()).collect::<Vec<_>>()
    };
    let threads = json!({ "related_by_rel_types": ["m.thread"] });
    assert_eq!((chosen(threads.clone(), "b"), chosen(threads, "f")), (vec![1, 0], vec![0, 1]));
    assert_eq!(chosen(json!({ "related_by_senders": [bob.id] }), "f"), [1, 2]);
    let both = json!({ "related_by_rel_types": ["m.thread"], "related_by_senders": [alice.id] });
    assert_eq!(chosen(both, "f"), [0], "one relation is both");
    let older = json!({ "io.element.relation_types": ["m.annotation"], "io.element.relation_senders": [alice.id] });
    assert_eq!(chosen(older, "f"), [1]);
    assert_eq!(chosen(json!({ "related_by_rel_types": [] }), "f"), [0; 0]);
    assert_eq!(chosen(json!({ "related_by_rel_types": ["m.thread"], "senders": [bob.id] }), "f"), [0; 0]);
    server.redact(&bob, &room, &by_bob);
    assert_eq!(
        chosen(json!({ "related_by_rel_types": ["m.thread"] }), "f"),
        [0],
        "what was taken back relates no more"
    );
    for wrong in [json!({ "related_by_rel_types": "m.thread" }), json!({ "related_by_senders": ["bob"] })] {
        let path = format!("/_matrix/client/v3/rooms/{}/messages?dir=b{}", escaped(&room), filter(wrong));
        server.get(&path, &alice.token).is_error(400, "M_INVALID_PARAM");
    }
}

#[test]
fn children_of_children_are_told_on_request() {
    let (server, alice, bob, room) = alice_and_bob();
    let event = server.say(&alice, &room, "0");
    let mut chain = vec![event.clone()];
    for n in 1..=4 {
        chain.push(server.relate(&alice, &room, "org.example.next", &chain[n - 1], &n.to_string()));
    }
    let like = server.send_event(&bob, &room, "m.reaction", reaction(&chain[1], "+1"));
    let ask = |rest: &str| relations(&server, &alice, &room, &format!("{}{rest}", escaped(&event))).ok();
    let answer = ask("?recurse=true");
    assert_eq!(ids(&answer["chunk"]), [like, chain[3].clone(), chain[2].clone(), chain[1].clone()]);
    assert_eq!(answer["recursion_depth"], 3);
    assert_eq!(ids(&ask("")["chunk"]), [chain[1].clone()]);
    assert_eq!(ask("").get("recursion_depth"), None, "nobody asked");
    assert_eq!(ids(&ask("?recurse=false")["chunk"]), [chain[1].clone()]);
    let only = ask("/m.annotation?recurse=true");
    assert!(ids(&only["chunk"]).is_empty(), "its way there is no annotation");
    assert_eq!(ids(&ask("/org.example.next?recurse=true&limit=2")["chunk"]), [chain[3].clone(), chain[2].clone()]);
}

#[test]
fn what_the_user_may_not_see_has_no_children() {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let state = json!([{ "type": "m.room.history_visibility", "content": { "history_visibility": "joined" } }]);
    let room = server.create_room(&alice, json!({ "preset": "public_chat", "initial_state": state }));
    let event = server.say(&alice, &room, "before Bob");
    server.relate(&alice, &room, "m.reference", &event, "before Bob too");
    relations(&server, &bob, &room, &escaped(&event)).is_error(404, "M_NOT_FOUND");
    server.join(&bob, &room);
    relations(&server, &bob, &room, &escaped(&event)).is_error(404, "M_NOT_FOUND");
    let seen = server.say(&alice, &room, "with Bob");
    server.leave(&bob, &room);
    server.relate(&alice, &room, "m.reference", &seen, "after Bob");
    assert!(ids(&relations(&server, &bob, &room, &escaped(&seen)).ok()["chunk"]).is_empty());
    assert_eq!(bundle(&server.event(&bob, &room, &seen)), &Value::Null);
    relations(&server, &alice, &room, "%24nothing").is_error(404, "M_NOT_FOUND");
    relations(&server, &alice, "!nowhere:x.alt", &escaped(&seen)).is_error(404, "M_NOT_FOUND");
}

#[test]
fn malformed_questions_are_refused() {
    let (server, alice, _, room) = alice_and_bob();
    let event = escaped(&server.say(&alice, &room, "hello"));
    let refused = |rest: &str| {
        let answer = relations(&server, &alice, &room, rest);
        assert_eq!((answer.status.as_u16(), answer.errcode()), (400, "M_INVALID_PARAM"), "{rest}: {}", answer.body);
    };
    for query in ["from=x", "to=t01", "limit=0", "limit=-1", "limit=x", "dir=x", "recurse=7"] {
        refused(&format!("{event}?{query}"));
    }
    refused("no-event-id");
    let path = format!("/_matrix/client/v1/rooms/{}/relations/{event}", escaped(&room));
    server.get(&path, "nobody").is_error(401, "M_UNKNOWN_TOKEN");
    let many = relations(&server, &alice, &room, &format!("{event}?limit=9007199254740991&unknown=1"));
    assert!(ids(&many.ok()["chunk"]).is_empty());
}

#[test]
fn nobody_annotates_twice_with_the_same() {
    let (server, alice, bob, room) = alice_and_bob();
    let event = server.say(&alice, &room, "hello");
    let react = |user: &TestUser, key: &str| try_send(&server, user, &room, "m.reaction", reaction(&event, key));
    let first = react(&bob, "+1").ok()["event_id"].as_str().unwrap().to_owned();
    react(&bob, "+1").is_error(400, "M_DUPLICATE_ANNOTATION");
    react(&bob, "-1").ok();
    react(&alice, "+1").ok();
    try_send(&server, &bob, &room, "org.example.reaction", reaction(&event, "+1")).ok();
    server.redact(&bob, &room, &first);
    react(&bob, "+1").ok();
}

#[test]
fn history_that_comes_later_is_indexed() {
    let (_network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    let event = a.say(&alice, &room, "hello");
    let thread = a.relate(&alice, &room, "m.thread", &event, "in the thread");
    let gone = a.edit(&alice, &room, &event, "taken back");
    a.redact(&alice, &room, &gone);
    b.join_via(&bob, &room, a.server_name()).ok();
    // The child comes to Bob's server long before its parent.
    let edit = a.edit(&alice, &room, &event, "bye");
    b.settle();
    for _ in 0..5 {
        b.messages(&bob, &room, "dir=b&limit=50");
    }
    let shown = b.event(&bob, &room, &event);
    assert_eq!(bundle(&shown)["m.replace"]["event_id"], json!(edit));
    assert_eq!(bundle(&shown)["m.thread"]["latest_event"]["event_id"], json!(thread));
    assert_eq!(bundle(&shown)["m.thread"]["count"], 1);
    let answer = relations(&b, &bob, &room, &escaped(&event)).ok();
    assert_eq!(ids(&answer["chunk"]), [edit, thread]);
}

/// Makes a disk one of before there was an index.
fn forget_index(disk: &MemoryDisk) {
    futures::executor::block_on(async {
        let database = Database::new(Rc::new(disk.open()));
        let mut batch = Batch::default();
        for (key, mut row) in database.scan_all::<Rooms, _>(&()).await.unwrap() {
            row.relations = RelationsIndex::Absent;
            batch.put::<Rooms>(&key, &row);
        }
        for (key, _) in database.scan_all::<Relations, _>(&()).await.unwrap() {
            batch.delete::<Relations>(&key);
        }
        for (key, _) in database.scan_all::<Related, _>(&()).await.unwrap() {
            batch.delete::<Related>(&key);
        }
        for (key, _) in database.scan_all::<Threads, _>(&()).await.unwrap() {
            batch.delete::<Threads>(&key);
        }
        database.commit(batch).await.unwrap();
    });
}

fn everything(disk: &MemoryDisk) -> Vec<String> {
    futures::executor::block_on(async {
        let database = Database::new(Rc::new(disk.open()));
        let mut rows: Vec<String> = Vec::new();
        rows.extend(database.scan_all::<Relations, _>(&()).await.unwrap().iter().map(|row| format!("{row:?}")));
        rows.extend(database.scan_all::<Related, _>(&()).await.unwrap().iter().map(|row| format!("{row:?}")));
        rows.extend(database.scan_all::<Threads, _>(&()).await.unwrap().iter().map(|row| format!("{row:?}")));
        rows
    })
}

#[test]
fn a_disk_of_before_gets_its_index() {
    let (server, alice, bob, room) = alice_and_bob();
    let quiet = server.public_room(&alice);
    let event = server.say(&alice, &room, "hello");
    for n in 0..150 {
        server.relate(&bob, &room, "m.thread", &event, &n.to_string());
        server.say(&bob, &room, "between");
    }
    let edit = server.edit(&alice, &room, &event, "bye");
    let gone = server.relate(&bob, &room, "m.thread", &event, "taken back");
    server.redact(&bob, &room, &gone);
    let disk = server.disk.clone();
    let expected = everything(&disk);
    drop(server);
    forget_index(&disk);
    // Stopped after the first slice, and something is said before the rest is done.
    let server = TestServer::on(disk.clone());
    server.store.plan(1, crate::fakes::Mishap::Hangs { written: true });
    server.settle();
    assert!(server.store.is_hung());
    server.tasks.stop();
    let server = TestServer::on(disk.clone());
    let answer = relations(&server, &alice, &room, &format!("{}/m.replace", escaped(&event))).ok();
    assert_eq!(ids(&answer["chunk"]), std::slice::from_ref(&edit));
    server.settle();
    assert_eq!(everything(&disk), expected);
    let shown = server.event(&alice, &room, &event);
    assert_eq!(bundle(&shown)["m.thread"]["count"], 150);
    assert_eq!(bundle(&shown)["m.replace"]["event_id"], json!(edit));
    // What came after the restart is counted once.
    drop(server);
    forget_index(&disk);
    let server = TestServer::on(disk);
    server.relate(&bob, &room, "m.thread", &event, "meanwhile");
    server.settle();
    assert_eq!(bundle(&server.event(&alice, &room, &event))["m.thread"]["count"], 151);
    let hello = server.say(&alice, &quiet, "a room without relations");
    assert_eq!(bundle(&server.event(&alice, &quiet, &hello)), &Value::Null);
}

#[test]
fn showing_a_page_does_not_read_its_children() {
    let (server, alice, bob, room) = alice_and_bob();
    let event = server.say(&alice, &room, "hello");
    let reads_of_a_page = || {
        server.messages(&alice, &room, "dir=b&limit=5");
        let before = server.reads();
        server.messages(&alice, &room, "dir=b&limit=5");
        server.reads() - before
    };
    for _ in 0..10 {
        server.relate(&bob, &room, "m.thread", &event, "a little");
    }
    let few = reads_of_a_page();
    for _ in 0..200 {
        server.relate(&bob, &room, "m.thread", &event, "a lot");
    }
    assert_eq!(reads_of_a_page(), few);
}
