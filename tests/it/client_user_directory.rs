//! Finding users by words of their names, among those one may know of; and the rooms one shares with somebody.
use std::rc::Rc;

use serde_json::{Value, json};
use warren::storage::{Database, tables::UserTerms};

use crate::{
    federation_network::Network,
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, list},
};

fn search(server: &TestServer, user: &TestUser, body: Value) -> Answer {
    server.post("/_matrix/client/v3/user_directory/search", &user.token, body)
}

fn found(server: &TestServer, user: &TestUser, term: &str) -> Vec<String> {
    let answer = search(server, user, json!({ "search_term": term })).ok();
    list(&answer["results"]).iter().map(|user| user["user_id"].as_str().unwrap().to_owned()).collect()
}

fn call_oneself(server: &TestServer, user: &TestUser, name: &str) {
    let path = format!("/_matrix/client/v3/profile/{}/displayname", user.id);
    server.put(&path, &user.token, json!({ "displayname": name })).ok();
    server.settle();
}

fn words_kept(server: &TestServer) -> usize {
    let database = Database::new(Rc::new(server.disk.snapshot().open()));
    server.run(database.scan_all::<UserTerms, _>(&())).unwrap().len()
}

#[test]
fn users_of_this_server_are_found_by_name_and_id() {
    let server = TestServer::new();
    let [alice, bob, carol] = ["alice", "bob", "carol-ann"].map(|name| server.register(name));
    assert_eq!(found(&server, &alice, "bob"), [bob.id.as_str()]);
    assert_eq!(found(&server, &alice, "BO"), [bob.id.as_str()]);
    assert_eq!(found(&server, &alice, &bob.id), [bob.id.as_str()]);
    assert_eq!(found(&server, &alice, "ann"), [carol.id.as_str()]);
    assert_eq!(found(&server, &alice, "alice"), [alice.id.as_str()]);
    for nobody in ["", " ", "@", "ob", "dave", "bob carol"] {
        assert_eq!(found(&server, &alice, nobody), [""; 0], "{nobody:?}");
    }
    call_oneself(&server, &bob, "Robert Ångström");
    assert_eq!(found(&server, &alice, "robert"), [bob.id.as_str()]);
    assert_eq!(found(&server, &alice, "ångs rob"), [bob.id.as_str()]);
    let answer = search(&server, &alice, json!({ "search_term": "bob" })).ok();
    let expected = json!({ "user_id": bob.id, "display_name": "Robert Ångström" });
    assert_eq!(answer, json!({ "results": [expected], "limited": false }));
    call_oneself(&server, &bob, "Bertie");
    assert_eq!((found(&server, &alice, "robert"), found(&server, &alice, "bertie")), (vec![], vec![bob.id.clone()]));

    // What somebody is called in one room is no matter of others.
    let room = server.create_room(&bob, json!({}));
    let content = json!({ "membership": "join", "displayname": "Secret Agent" });
    server.set_state(&bob, &room, "m.room.member", &bob.id, content);
    assert_eq!(found(&server, &alice, "secret"), [""; 0]);
    let again = TestServer::on(server.disk.clone());
    assert_eq!(found(&again, &alice, "bertie"), [bob.id.as_str()], "after a restart too");
}

#[test]
fn the_best_come_first_and_more_are_said_to_be_there() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let users: Vec<TestUser> =
        ["sam.b", "samantha", "sam", "x1", "x2"].iter().map(|name| server.register(name)).collect();
    call_oneself(&server, &users[3], "Sam");
    call_oneself(&server, &users[1], "Samantha");
    let expected: Vec<String> = [2, 3, 0, 1].iter().map(|&n: &usize| users[n].id.clone()).collect();
    assert_eq!(found(&server, &alice, "sam"), expected, "by id, by name, by a word, by its beginning");
    let limited = |limit: Value| {
        let answer = search(&server, &alice, json!({ "search_term": "sam", "limit": limit })).ok();
        (list(&answer["results"]).len(), answer["limited"].as_bool().unwrap())
    };
    assert_eq!(limited(json!(4)), (4, false));
    assert_eq!(limited(json!(3)), (3, true));
    assert_eq!(limited(json!(0)), (0, true));
    assert_eq!(limited(json!(9_007_199_254_740_991_u64)), (4, false));
    for (body, errcode) in [
        (json!({}), "M_MISSING_PARAM"),
        (json!({ "search_term": null }), "M_BAD_JSON"),
        (json!({ "search_term": 5 }), "M_BAD_JSON"),
        (json!({ "search_term": "a", "limit": -1 }), "M_BAD_JSON"),
        (json!({ "search_term": "a", "limit": "x" }), "M_BAD_JSON"),
    ] {
        search(&server, &alice, body).is_error(400, errcode);
    }
    let long = "sam ".repeat(100_000);
    assert_eq!(search(&server, &alice, json!({ "search_term": long, "unknown": [] })).status, 200);
    let path = "/_matrix/client/v3/user_directory/search";
    server.request("POST", path, None, json!({ "search_term": "a" })).is_error(401, "M_MISSING_TOKEN");
}

#[test]
fn users_of_other_servers_are_found_through_rooms_one_may_know_of() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let dave = b.register("dave");
    let found_by = |user: &TestUser, term: &str| found(&b, user, term);
    call_oneself(&a, &alice, "Alice Liddell");
    let room = a.create_room(&alice, json!({}));
    a.act_on(&alice, &room, "invite", &TestUser { id: bob.id.clone(), ..alice.clone() });
    network.settle();
    assert_eq!(found_by(&bob, "liddell"), [""; 0], "we are not in the room yet");
    b.join(&bob, &room);
    network.settle();
    assert_eq!(found_by(&bob, "liddell"), [alice.id.as_str()]);
    assert_eq!(found_by(&dave, "liddell"), [""; 0], "shares no room with her");
    assert_eq!(found_by(&dave, &alice.id), [""; 0]);
    // Names change and people leave, and the words follow.
    call_oneself(&a, &alice, "Alice Hargreaves");
    network.settle();
    assert_eq!((found_by(&bob, "hargreaves"), found_by(&bob, "liddell")), (vec![alice.id.clone()], vec![]));
    a.set_state(&alice, &room, "m.room.history_visibility", "", json!({ "history_visibility": "world_readable" }));
    network.settle();
    assert_eq!(found_by(&dave, "hargreaves"), [alice.id.as_str()], "whoever wants may read the room");
    a.set_state(&alice, &room, "m.room.history_visibility", "", json!({ "history_visibility": "shared" }));
    network.settle();
    assert_eq!(found_by(&dave, "hargreaves"), [""; 0]);
    a.set_state(&alice, &room, "m.room.join_rules", "", json!({ "join_rule": "public" }));
    network.settle();
    assert_eq!(found_by(&dave, "hargreaves"), [alice.id.as_str()], "whoever wants may join it");
    a.leave(&alice, &room);
    network.settle();
    assert_eq!(found_by(&bob, "hargreaves"), [""; 0]);
}

#[test]
fn words_catch_up_with_what_changed_and_no_more() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.post(&format!("/_matrix/client/v3/join/{}?via={}", escaped(&room), a.server_name()), &bob.token, json!({})).ok();
    for n in 0..30 {
        a.join(&a.register(&format!("guest{n}")), &room);
    }
    network.settle();
    assert_eq!(found(&b, &bob, "guest").len(), 10);
    let kept = words_kept(&b);
    assert_eq!(kept, 1 + 1 + 30, "Bob's, Alice's and the guests'");
    let before = b.reads();
    assert_eq!(found(&b, &bob, "guest7"), [format!("@guest7:{}", a.server_name())]);
    let quiet = b.reads() - before;
    a.join(&a.register("late"), &room);
    network.settle();
    let before = b.reads();
    assert_eq!(found(&b, &bob, "late").len(), 1);
    assert!(b.reads() - before < quiet + 15, "one more user is not a whole room: {} and {quiet}", b.reads() - before);
    assert_eq!(words_kept(&b), kept + 1);
    // The words of a name that is no more go when somebody stumbles over them.
    let late = a.register("again");
    a.join(&late, &room);
    network.settle();
    assert_eq!(found(&b, &bob, "again").len(), 1);
    a.leave(&late, &room);
    network.settle();
    assert_eq!(found(&b, &bob, "again"), [""; 0]);
    assert_eq!(words_kept(&b), kept + 1);
    let b = network.restart(b);
    assert_eq!(found(&b, &bob, "guest29").len(), 1);
}

#[test]
fn the_rooms_two_users_share_are_listed_page_by_page() {
    let server = TestServer::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let mut shared: Vec<String> = (0..102)
        .map(|_| {
            let room = server.public_room(&alice);
            server.join(&bob, &room);
            room
        })
        .collect();
    shared.sort();
    server.public_room(&alice);
    let left = server.public_room(&alice);
    server.join(&bob, &left);
    server.leave(&bob, &left);
    let path = "/_matrix/client/v1/mutual_rooms";
    let ask = |query: &str| server.get(&format!("{path}?{query}"), &alice.token);
    let first = ask(&format!("user_id={}", bob.id)).ok();
    assert_eq!((&first["count"], &first["joined"]), (&json!(102), &json!(shared[..100])));
    let next = first["next_batch"].as_str().unwrap();
    let second = ask(&format!("user_id={}&from={next}", bob.id)).ok();
    assert_eq!(second, json!({ "count": 102, "joined": shared[100..] }));
    assert_eq!(ask("user_id=@nobody:elsewhere.example").ok(), json!({ "count": 0, "joined": [] }));
    ask(&format!("user_id={}", alice.id)).is_error(400, "M_INVALID_PARAM");
    ask("user_id=nonsense").is_error(400, "M_INVALID_PARAM");
    ask("user_id=@%C3%A4:elsewhere.example").is_error(400, "M_INVALID_PARAM");
    ask(&format!("user_id={}&from=nonsense", bob.id)).is_error(400, "M_INVALID_PARAM");
    assert_eq!(ask("").status, 400);
    server.request("GET", path, None, Value::Null).is_error(401, "M_MISSING_TOKEN");
    let old = "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms";
    let first = server.get(&format!("{old}?user_id={}", bob.id), &alice.token).ok();
    assert_eq!(list(&first["joined"]).len(), 100);
    let features =
        server.request("GET", "/_matrix/client/versions", None, Value::Null).ok()["unstable_features"].clone();
    assert_eq!(features["uk.half-shot.msc2666.query_mutual_rooms.stable"], true);
}
