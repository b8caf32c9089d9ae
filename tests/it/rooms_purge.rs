//! What becomes of a room that everybody here has left and forgotten: nothing is left of it, and it can be come back to.
use serde_json::{Value, json};
use warren::storage::{
    Database,
    tables::{IndexedRooms, Rooms, UserTerms},
};

use crate::{
    fakes::Mishap,
    federation_network::Network,
    harness::{TestServer, TestUser, request},
    talk::escaped,
};

fn forget(server: &TestServer, user: &TestUser, room: &str) {
    server.post(&forget_path(room), &user.token, json!({})).ok();
    server.settle();
}

fn forget_path(room: &str) -> String {
    format!("/_matrix/client/v3/rooms/{}/forget", escaped(room))
}

#[test]
fn a_room_that_nobody_remembers_is_gone_and_others_are_not() {
    let server = TestServer::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let (room, other) = (server.public_room(&alice), server.public_room(&alice));
    server.join(&bob, &room);
    let said: Vec<String> = (0..250).map(|n| server.say(&alice, &room, &n.to_string())).collect();
    let kept = server.say(&alice, &other, "elsewhere");
    let first = server.state_of(&room)[&("m.room.create".to_owned(), String::new())].clone();
    server.leave(&alice, &room);
    forget(&server, &alice, &room);
    assert!(server.inspected_event(&said[0]).is_some(), "Bob is still there");
    server.leave(&bob, &room);
    assert!(server.inspected_event(&said[0]).is_some(), "and could still look back");
    forget(&server, &bob, &room);
    assert!(server.inspected(&room).is_none());
    assert!(said.iter().chain([&first]).all(|event| server.inspected_event(event).is_none()));
    assert!(server.inspected_event(&kept).is_some());
    assert_eq!(server.said_in(&alice, &other), ["elsewhere"]);
    for user in [&alice, &bob] {
        let messages = format!("/_matrix/client/v3/rooms/{}/messages?dir=b", escaped(&room));
        server.get(&messages, &user.token).is_error(403, "M_FORBIDDEN");
        server.post(&forget_path(&room), &user.token, json!({})).ok();
        assert!(server.sync(user, None, "")["rooms"].get("leave").is_none());
    }
    let restarted = TestServer::on(server.disk.clone());
    assert!(restarted.inspected(&room).is_none());
    assert_eq!(restarted.said_in(&alice, &other), ["elsewhere"]);
}

#[test]
fn who_forgot_a_room_comes_back_to_it() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    for round in ["once", "twice"] {
        b.join_via(&bob, &room, a.server_name()).ok();
        let said = a.say(&alice, &room, round);
        network.settle();
        assert!(b.inspected_event(&said).is_some());
        b.try_leave(&bob, &room).ok();
        forget(&b, &bob, &room);
        assert!(b.inspected(&room).is_none() && b.inspected_event(&said).is_none());
    }
    b.join_via(&bob, &room, a.server_name()).ok();
    a.say(&alice, &room, "again");
    network.settle();
    assert_eq!(b.said_in(&bob, &room), ["once", "twice", "again"]);
    assert_eq!(a.state_of(&room), b.state_of(&room));
}

#[test]
fn a_room_is_not_deleted_while_somebody_is_invited_or_knocks() {
    let (_network, (a, alice), (b, bob)) = Network::pair();
    let ben = b.register("ben");
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    b.act(&bob, &room, "invite", &ben.id).is_error(403, "M_FORBIDDEN");
    a.act(&alice, &room, "invite", &ben.id).ok();
    b.try_leave(&bob, &room).ok();
    forget(&b, &bob, &room);
    assert!(b.inspected(&room).is_some());
    assert!(b.sync(&ben, None, "")["rooms"]["invite"].get(&room).is_some());
    b.try_leave(&ben, &room).ok();
    forget(&b, &ben, &room);
    assert!(b.inspected(&room).is_none());
}

#[test]
fn deleting_goes_on_after_a_stop_at_any_commit() {
    for n in 1..8 {
        let written = n % 2 == 0;
        let (network, (a, alice), (b, bob)) = Network::pair();
        let room = a.public_room(&alice);
        b.join_via(&bob, &room, a.server_name()).ok();
        let said: Vec<String> = (0..5).map(|n| a.say(&alice, &room, &n.to_string())).collect();
        network.settle();
        b.try_leave(&bob, &room).ok();
        b.store.plan(n, Mishap::Hangs { written });
        let _unanswered = b.queue(request("POST", &forget_path(&room), Some(&bob.token), "{}"));
        b.settle();
        let stopped = b.store.is_hung();
        let b = network.restart(b);
        b.settle();
        forget(&b, &bob, &room);
        assert!(b.inspected(&room).is_none(), "{n}");
        assert!(said.iter().all(|event| b.inspected_event(event).is_none()), "{n}");
        b.join_via(&bob, &room, a.server_name()).ok();
        assert_eq!(a.state_of(&room), b.state_of(&room));
        if !stopped {
            assert!(n > 3, "several commits delete a room");
            return;
        }
    }
    panic!("deleting does not end");
}

#[test]
fn what_the_others_have_not_heard_is_kept_until_they_have() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    network.cut(&a, &b);
    b.try_leave(&bob, &room).ok();
    forget(&b, &bob, &room);
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("join"));
    network.reconnect(&a, &b);
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("leave"));
    let b = network.restart(b);
    b.settle();
    assert!(b.inspected(&room).is_none());
}

#[test]
fn no_words_lead_to_those_of_a_room_that_is_gone() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let (room, other) = (b.public_room(&bob), b.public_room(&bob));
    for room in [&room, &other] {
        a.join_via(&alice, room, b.server_name()).ok();
    }
    for n in 0..30 {
        let name: Vec<String> = (0..8).map(|word| format!("word{n}x{word}")).collect();
        let content = json!({ "membership": "join", "displayname": name.join(" ") });
        b.set_state(&bob, &room, "m.room.member", &bob.id, content);
        network.settle();
        search(&a, &alice, "zebra");
    }
    let database = || Database::new(a.store.clone());
    let id = ruma::RoomId::parse(&*room).unwrap();
    let num = a.run(async { database().get::<Rooms>(&id).await }).unwrap().unwrap().num;
    let words = || -> usize {
        let rows = a.run(async { database().scan_all::<UserTerms, _>(&()).await }).unwrap();
        rows.iter().filter(|((_, _, room), ())| *room == num).count()
    };
    assert!(words() > 200, "more than one slice: {}", words());
    a.leave(&alice, &room);
    network.settle();
    forget(&a, &alice, &room);
    assert_eq!(words(), 0);
    let indexed = a.run(async { database().scan_all::<IndexedRooms, _>(&()).await }).unwrap();
    assert!(indexed.iter().all(|(room, _)| *room != num) && indexed.len() == 2, "accounts and the other room");
    assert_eq!(search(&a, &alice, "bob"), json!([bob.id]), "in the room that is left");
}

fn search(server: &TestServer, user: &TestUser, term: &str) -> Value {
    let path = "/_matrix/client/v3/user_directory/search";
    let found = server.post(path, &user.token, json!({ "search_term": term })).ok();
    found["results"].as_array().unwrap().iter().map(|user| user["user_id"].clone()).collect()
}
