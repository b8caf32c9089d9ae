//! Threads: what is bundled with a root, and the list of a room's threads.
use serde_json::{Value, json};

use crate::{
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, ids, next_txn},
};

fn three_in_a_room() -> (TestServer, [TestUser; 3], String) {
    let server = TestServer::new();
    let users = ["alice", "bob", "carol"].map(|name| server.register(name));
    let room = server.public_room(&users[0]);
    server.join(&users[1], &room);
    server.join(&users[2], &room);
    (server, users, room)
}

fn threads(server: &TestServer, user: &TestUser, room: &str, query: &str) -> Answer {
    server.get(&format!("/_matrix/client/v1/rooms/{}/threads{query}", escaped(room)), &user.token)
}

fn thread_of(server: &TestServer, user: &TestUser, room: &str, root: &str) -> Value {
    server.event(user, room, root)["unsigned"]["m.relations"]["m.thread"].clone()
}

#[test]
fn a_root_is_shown_with_its_thread() {
    let (server, [alice, bob, carol], room) = three_in_a_room();
    let root = server.say(&alice, &room, "root");
    server.relate(&bob, &room, "m.thread", &root, "one");
    let last = server.relate(&bob, &room, "m.thread", &root, "two");
    let thread = thread_of(&server, &alice, &room, &root);
    assert_eq!(thread["count"], 2);
    assert_eq!(thread["latest_event"]["event_id"], json!(last));
    assert_eq!(thread["latest_event"]["room_id"], json!(room));
    assert_eq!(thread["current_user_participated"], true, "the root is Alice's");
    assert_eq!(thread_of(&server, &bob, &room, &root)["current_user_participated"], true);
    assert_eq!(thread_of(&server, &carol, &room, &root)["current_user_participated"], false);
    // The latest event has a bundle of its own.
    let edit = server.edit(&bob, &room, &last, "two, better");
    let thread = thread_of(&server, &alice, &room, &root);
    assert_eq!(thread["count"], 2);
    assert_eq!(thread["latest_event"]["unsigned"]["m.relations"]["m.replace"]["event_id"], json!(edit));
    // Taken back, it is in the thread no more.
    server.redact(&bob, &room, &last);
    let thread = thread_of(&server, &alice, &room, &root);
    assert_eq!(thread["count"], 1);
    assert_eq!(thread["latest_event"]["content"]["body"], "one");
}

#[test]
fn ignored_users_are_not_counted() {
    let (server, [alice, bob, carol], room) = three_in_a_room();
    let root = server.say(&alice, &room, "root");
    server.relate(&carol, &room, "m.thread", &root, "by Carol");
    server.relate(&bob, &room, "m.thread", &root, "by Bob");
    server.ignore(&alice, &bob);
    let thread = thread_of(&server, &alice, &room, &root);
    assert_eq!(thread["count"], 1);
    assert_eq!(thread["latest_event"]["content"]["body"], "by Carol");
    assert_eq!(thread_of(&server, &carol, &room, &root)["count"], 2);
    // A thread whose root one does not want to read is listed without what it says.
    let of_bob = server.say(&bob, &room, "root of Bob");
    server.relate(&carol, &room, "m.thread", &of_bob, "answer");
    let listed = threads(&server, &alice, &room, "").ok();
    assert_eq!(ids(&listed["chunk"]), [of_bob.clone(), root.clone()]);
    assert_eq!(listed["chunk"][0]["content"], json!({}));
    // And one in which nobody else wrote is not.
    let lonely = server.say(&carol, &room, "root of Carol");
    server.relate(&bob, &room, "m.thread", &lonely, "by Bob alone");
    assert_eq!(ids(&threads(&server, &alice, &room, "").ok()["chunk"]), [of_bob, root]);
}

#[test]
fn the_thread_with_the_latest_event_comes_first() {
    let (server, [alice, bob, carol], room) = three_in_a_room();
    assert_eq!(threads(&server, &alice, &room, "").ok(), json!({ "chunk": [] }));
    let roots: Vec<String> = (0..5).map(|n| server.say(&alice, &room, &n.to_string())).collect();
    for root in [0, 3, 1, 4, 2] {
        server.relate(&bob, &room, "m.thread", &roots[root], "answer");
    }
    let carols = server.relate(&carol, &room, "m.thread", &roots[3], "answer");
    let order = |user: &TestUser, query: &str| -> Vec<usize> {
        let listed = threads(&server, user, &room, query).ok();
        ids(&listed["chunk"]).iter().map(|id| roots.iter().position(|root| root == id).unwrap()).collect()
    };
    assert_eq!(order(&alice, ""), [3, 2, 4, 1, 0]);
    assert_eq!(order(&alice, "?include=participated"), [3, 2, 4, 1, 0], "the roots are hers");
    assert_eq!(order(&carol, "?include=participated"), [3]);
    assert_eq!(order(&carol, "?include=all"), [3, 2, 4, 1, 0]);
    let (mut paged, mut from) = (Vec::new(), String::new());
    loop {
        let listed = threads(&server, &alice, &room, &format!("?limit=2{from}")).ok();
        paged.extend(ids(&listed["chunk"]));
        assert!(ids(&listed["chunk"]).len() <= 2);
        match listed["next_batch"].as_str() {
            Some(next) => from = format!("&from={next}"),
            None => break,
        }
    }
    assert_eq!(paged, [3, 2, 4, 1, 0].map(|n| roots[n].clone()));
    let listed = threads(&server, &alice, &room, "?limit=1").ok();
    assert_eq!(listed["chunk"][0]["unsigned"]["m.relations"]["m.thread"]["count"], 2);
    server.redact(&carol, &room, &carols);
    assert_eq!(order(&alice, ""), [2, 4, 1, 3, 0]);
}

#[test]
fn a_thread_does_not_start_at_an_event_that_relates_to_another() {
    let (server, [alice, bob, _], room) = three_in_a_room();
    let root = server.say(&alice, &room, "root");
    let child = server.relate(&bob, &room, "m.thread", &root, "child");
    let path = || format!("/_matrix/client/v3/rooms/{}/send/m.room.message/{}", escaped(&room), next_txn());
    let nested = json!({ "body": "x", "m.relates_to": { "rel_type": "m.thread", "event_id": child } });
    server.put(&path(), &bob.token, nested).is_error(400, "M_UNKNOWN");
    // A rich reply may be a root.
    let reply = json!({ "body": "x", "m.relates_to": { "m.in_reply_to": { "event_id": root } } });
    let reply = server.send_event(&bob, &room, "m.room.message", reply);
    server.relate(&bob, &room, "m.thread", &reply, "fine");
    assert_eq!(thread_of(&server, &alice, &room, &reply)["count"], 1);
}

#[test]
fn who_may_not_see_the_room_sees_no_threads() {
    let (server, [alice, bob, _], room) = three_in_a_room();
    let dave = server.register("dave");
    let root = server.say(&alice, &room, "root");
    server.relate(&bob, &room, "m.thread", &root, "answer");
    threads(&server, &dave, &room, "").is_error(403, "M_FORBIDDEN");
    threads(&server, &dave, "!nowhere:x.alt", "").is_error(403, "M_FORBIDDEN");
    for query in ["?from=x", "?limit=0", "?limit=x", "?include=some"] {
        threads(&server, &alice, &room, query).is_error(400, "M_INVALID_PARAM");
    }
    threads(&server, &alice, &room, "?limit=9007199254740991").ok();
}
