//! A life of two users on storage that fails, fills up or stops at any one commit: nothing half-written, nothing acknowledged lost.
use std::collections::BTreeSet;

use serde_json::{Value, json};
use warren::ports::StoreError;

use crate::{
    fakes::Mishap,
    federation_network::{Network, join_path},
    federation_scene::Scene,
    harness::{TestServer, TestUser, request},
    talk::escaped,
};

/// Times an operation is repeated before the test gives up.
const REPEATS_MAX: usize = 4;

/// Two homeservers and what their users do, on storage of which one commit goes wrong.
struct Story {
    network: Network,
    servers: [Option<TestServer>; 2],
    users: [TestUser; 2],
    /// The server whose storage is bad.
    struck: usize,
    happened: bool,
}

impl Story {
    fn new(struck: usize, n: u64, mishap: &Mishap) -> Self {
        let (network, (a, alice), (b, bob)) = Network::pair();
        let servers = [a, b];
        servers[struck].store.plan(n, mishap.clone());
        Self { network, servers: servers.map(Some), users: [alice, bob], struck, happened: false }
    }

    fn server(&self, index: usize) -> &TestServer {
        self.servers[index].as_ref().expect("a server is there")
    }

    fn restart(&mut self, index: usize) {
        let server = self.servers[index].take().expect("a server is there");
        self.happened |= index == self.struck && server.store.end_plan();
        self.servers[index] = Some(self.network.restart(server));
        self.network.reconnect(self.server(0), self.server(1));
    }

    /// Has a user do something until it is done: what failed is asked for again, as any client would.
    #[track_caller]
    fn attempt(&mut self, index: usize, method: &str, path: &str, body: &Value) -> Value {
        for _ in 0..REPEATS_MAX {
            let mut asking = request(method, path, Some(&self.users[index].token), body.to_string());
            asking.headers_mut().insert("warren-request-id", "the-only-one".parse().unwrap());
            let pending = self.server(index).queue(asking);
            // Whoever stopped is started again; whoever waits for the other's answer is given the time.
            for _ in 0..10 {
                self.network.settle();
                if self.server(self.struck).store.is_hung() {
                    self.restart(self.struck);
                }
                if let Some(answer) = pending.take() {
                    if answer.status == 200 {
                        self.network.settle();
                        return answer.body;
                    }
                    let expected = [500, 502, 503, 507].contains(&answer.status.as_u16());
                    assert!(expected, "{method} {path}: {} {}", answer.status, answer.body);
                    break;
                }
                self.network.advance(1_000);
            }
        }
        panic!("{method} {path} is not done after {REPEATS_MAX} times");
    }

    fn say(&mut self, index: usize, room: &str, text: &str) {
        let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/{text}", escaped(room));
        self.attempt(index, "PUT", &path, &json!({ "msgtype": "m.text", "body": text }));
    }

    /// A life of two users, of which every step is there in the end.
    fn run(&mut self) -> String {
        let bob = self.users[1].id.clone();
        let create = json!({ "preset": "public_chat", "name": "Burrow", "room_alias_name": "burrow" });
        let room = self.attempt(0, "POST", "/_matrix/client/v3/createRoom", &create)["room_id"].clone();
        let room = room.as_str().unwrap().to_owned();
        let in_room = |what: &str| format!("/_matrix/client/v3/rooms/{}/{what}", escaped(&room));
        self.say(0, &room, "first");
        let via = self.server(0).server_name().to_owned();
        self.attempt(1, "POST", &join_path(&room, &via), &json!({}));
        self.say(0, &room, "second");
        self.say(1, &room, "third");
        let topic = json!({ "topic": "Digging" });
        self.attempt(0, "PUT", &in_room("state/m.room.topic"), &topic);
        let oops = self.attempt(1, "PUT", &in_room("send/m.room.message/oops"), &json!({ "body": "oops" }));
        let oops = escaped(oops["event_id"].as_str().unwrap());
        self.attempt(1, "PUT", &in_room(&format!("redact/{oops}/r")), &json!({}));
        self.attempt(1, "POST", &in_room("leave"), &json!({}));
        // Whoever leaves is not invited before the others know.
        self.network.advance(60_000);
        self.attempt(0, "POST", &in_room("invite"), &json!({ "user_id": bob }));
        self.attempt(1, "POST", &join_path(&room, &via), &json!({}));
        self.say(1, &room, "last");
        self.finish(&room);
        room
    }

    /// Both start anew, meet, and have time for whatever is left to do.
    fn finish(&mut self, room: &str) {
        self.happened |= self.server(self.struck).store.end_plan();
        for _ in 0..3 {
            self.network.advance(60_000);
        }
        self.restart(0);
        self.restart(1);
        for _ in 0..3 {
            self.network.advance(60_000);
        }
        for index in 0..2 {
            self.check(index, room);
        }
        let (a, b) = (self.server(0), self.server(1));
        assert_eq!(a.state_of(room), b.state_of(room));
        assert_eq!(a.heads_of(room), b.heads_of(room));
        for server in [a, b] {
            assert!(server.homeserver.outbox().is_empty(), "{:?}", server.homeserver.outbox());
        }
    }

    /// What holds of a homeserver whatever befell its storage.
    fn check(&self, index: usize, room: &str) {
        let (server, user) = (self.server(index), &self.users[index]);
        assert_eq!(server.homeserver.inspect_rooms().len(), 1, "one room, and no half of another");
        let inspected = server.inspected(room).unwrap();
        assert!(inspected.resident && !inspected.heads.is_empty());
        for event in inspected.heads.iter().chain(inspected.state.values()) {
            let event = server.inspected_event(event.as_str());
            assert!(event.is_some(), "what the room rests on is there");
        }
        for head in &inspected.heads {
            assert!(server.inspected_event(head.as_str()).unwrap().state_before.is_some());
        }
        assert!(inspected.staged.is_empty());
        let joined = server.get("/_matrix/client/v3/joined_rooms", &user.token).ok();
        assert_eq!(joined["joined_rooms"], json!([room]));
        let name = inspected.state.get(&("m.room.name".to_owned(), String::new()));
        assert!(name.is_some() && inspected.state.contains_key(&("m.room.topic".to_owned(), String::new())));
        let said = server.said_in(user, room);
        let unique: BTreeSet<&str> = said.iter().map(String::as_str).collect();
        assert_eq!(unique, ["first", "second", "third", "last"].into(), "{said:?}");
        assert_eq!(said.len(), unique.len(), "nothing twice: {said:?}");
    }
}

/// Runs the story with the mishap at every commit there is.
fn at_every_commit(mishap: &Mishap) {
    for struck in 0..2 {
        for n in 1.. {
            let mut story = Story::new(struck, n, mishap);
            story.run();
            if !story.happened {
                assert!(n > 15, "the story takes more than {n} commits");
                break;
            }
        }
    }
}

#[test]
fn one_commit_that_finds_storage_full_costs_a_repetition() {
    at_every_commit(&Mishap::Fails(StoreError::QuotaExceeded));
}

#[test]
fn one_commit_that_fails_costs_a_repetition() {
    at_every_commit(&Mishap::Fails(StoreError::Backend("the disk is on fire".to_owned())));
}

#[test]
fn a_worker_that_stops_before_a_commit_goes_on_where_it_was() {
    at_every_commit(&Mishap::Hangs { written: false });
}

#[test]
fn a_worker_that_stops_after_a_commit_goes_on_where_it_was() {
    at_every_commit(&Mishap::Hangs { written: true });
}

#[test]
fn full_storage_is_told_keeps_nothing_by_halves_and_works_again_when_there_is_room() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    let other = b.public_room(&bob);
    let before = (a.disk.bytes_stored(), a.state_of(&room), a.heads_of(&room));
    a.set_fault(Some(StoreError::QuotaExceeded));
    let in_room = |what: &str| format!("/_matrix/client/v3/rooms/{room}/{what}");
    let ask = |method: &str, path: &str, body: Value| {
        let answer = a.request(method, path, Some(&alice.token), body);
        answer.is_error(507, "M_UNKNOWN");
        assert!(answer.body["error"].as_str().unwrap().contains("full"), "{}", answer.body);
    };
    ask("POST", "/_matrix/client/v3/createRoom", json!({ "room_alias_name": "burrow" }));
    ask("PUT", &in_room("send/m.room.message/1"), json!({ "body": "x" }));
    ask("PUT", &in_room("state/m.room.topic"), json!({ "topic": "x" }));
    ask("POST", &in_room("kick"), json!({ "user_id": bob.id }));
    ask("POST", &in_room("leave"), json!({}));
    ask("POST", &join_path(&other, b.server_name()), json!({}));
    let since = crate::talk::next_batch(&a.sync(&alice, None, ""));
    b.say(&bob, &room, "kept by its sender");
    network.settle();
    assert_eq!((a.disk.bytes_stored(), a.state_of(&room), a.heads_of(&room)), before);
    assert_eq!(a.sync(&alice, Some(&since), "").get("rooms"), None, "nobody is told of what was not kept");
    assert_eq!(b.homeserver.outbox()[0].waiting, 1, "the sender is told, and keeps it");

    a.set_fault(None);
    (0..3).for_each(|_| network.advance(60_000));
    assert_eq!(a.said_in(&alice, &room), ["kept by its sender"]);
    a.join_via(&alice, &other, b.server_name()).ok();
    a.create_room(&alice, json!({ "room_alias_name": "burrow" }));
    a.say(&alice, &room, "and on");
    network.settle();
    assert_eq!(b.said_in(&bob, &room), ["kept by its sender", "and on"]);
}

#[test]
fn a_transaction_of_which_nothing_could_be_kept_is_not_confirmed() {
    let mut scene = Scene::new();
    let said = scene.message("keep this");
    scene.server.set_fault(Some(StoreError::QuotaExceeded));
    let pdu = crate::federation_peer::value(&said);
    scene.peer.send(&scene.server, "t", std::slice::from_ref(&pdu), &[]).is_error(507, "M_UNKNOWN");
    assert!(scene.said().is_empty());
    scene.server.set_fault(None);
    scene.peer.send(&scene.server, "t", &[pdu], &[]).ok();
    assert_eq!(scene.said(), ["keep this"]);
}

#[test]
fn an_old_leader_changes_no_room() {
    let (network, (a, alice), _) = Network::pair();
    let room = a.public_room(&alice);
    let new = network.server_on(a.disk.clone());
    let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/1");
    a.put(&path, &alice.token, json!({ "body": "from the grave" })).is_error(503, "M_UNKNOWN");
    new.put(&path, &alice.token, json!({ "msgtype": "m.text", "body": "long live" })).ok();
    assert_eq!(new.said_in(&alice, &room), ["long live"]);
}
