//! What clients of one homeserver are told of what happens at another.
use ruma::{OwnedServerName, api::federation::transactions::send_transaction_message, serde::Raw};
use serde_json::{Value, json};
use warren::ports::Lane;

use crate::{
    federation_network::Network,
    harness::{TestServer, TestUser},
    talk::{escaped, filter, ids, kinds, list, next_batch, next_txn, texts},
};

struct Two {
    network: Network,
    here: TestServer,
    there: TestServer,
    alice: TestUser,
    bob: TestUser,
    room: String,
}

impl Two {
    /// Alice's public room, in which she has said a few things before Bob of another server joined it.
    fn new(before: usize) -> Self {
        let (network, (here, alice), (there, bob)) = Network::pair();
        let room = here.public_room(&alice);
        (0..before).for_each(|n| drop(here.say(&alice, &room, &format!("before {n}"))));
        there.join_via(&bob, &room, here.server_name()).ok();
        Self { network, here, there, alice, bob, room }
    }

    /// Lets everything that was said arrive.
    fn settle(&self) {
        self.network.advance(1_000);
    }

    fn state(&self, server: &TestServer, user: &TestUser) -> Vec<String> {
        let path = format!("/_matrix/client/v3/rooms/{}/state", escaped(&self.room));
        let mut state = ids(&server.get(&path, &user.token).ok());
        state.sort();
        state
    }

    /// Has Bob's homeserver say something to Alice's that no honest homeserver would.
    fn whisper(&self, edus: Value) {
        let (from, to) = (self.there.server_name().to_owned(), self.here.server_name().to_owned());
        let now = ruma::MilliSecondsSinceUnixEpoch(1_700_000_000_000_u64.try_into().unwrap());
        let txn = next_txn().to_string().into();
        let mut request = send_transaction_message::v1::Request::new(txn, from, now);
        let raw = |edu: &Value| Raw::from_json(serde_json::value::to_raw_value(edu).unwrap());
        request.edus = list(&edus).iter().map(raw).collect();
        let to: OwnedServerName = to;
        self.here.run(self.there.homeserver.ask(&to, Lane::Transactions, request)).unwrap();
        self.settle();
    }
}

fn told<'a>(answer: &'a Value, room: &str) -> &'a Value {
    &answer["rooms"]["join"][room]
}

/// Of the ephemeral events told of a room, the content of the first of a type.
fn passing(answer: &Value, room: &str, kind: &str) -> Option<Value> {
    let events = list(&told(answer, room)["ephemeral"]["events"]);
    events.iter().find(|event| event["type"] == kind).map(|event| event["content"].clone())
}

#[test]
fn who_joins_over_federation_sees_the_room_and_what_was_said_before() {
    let two = Two::new(30);
    let Two { here, there, alice, bob, room, .. } = &two;
    let answer = there.sync(bob, None, "");
    let timeline = &told(&answer, room)["timeline"];
    assert_eq!(timeline["limited"], true, "there is more at the other server");
    let state = kinds(&told(&answer, room)["state"]["events"]);
    assert!(state.contains(&("m.room.create".to_owned(), String::new())));
    assert_eq!(told(&answer, room)["summary"]["m.joined_member_count"], 2);
    let mut scrolled = Vec::new();
    let mut from = timeline["prev_batch"].as_str().map(ToOwned::to_owned);
    while let Some(place) = from {
        let page = there.messages(bob, room, &format!("dir=b&limit=7&from={place}"));
        scrolled.extend(ids(&page["chunk"]));
        from = page["end"].as_str().map(ToOwned::to_owned);
        assert!(scrolled.len() < 100, "scrolling has no end");
    }
    scrolled.reverse();
    let all = [scrolled, ids(&timeline["events"])].concat();
    assert_eq!(all, ids(&here.messages(alice, room, "dir=f&limit=100")["chunk"]));

    let (here_since, there_since) = (next_batch(&here.sync(alice, None, "")), next_batch(&answer));
    let (from_alice, from_bob) = (here.say(alice, room, "hello Bob"), there.say(bob, room, "hello Alice"));
    two.settle();
    let heard = |server: &TestServer, user: &TestUser, since: &str| {
        let mut heard = ids(&told(&server.sync(user, Some(since), ""), room)["timeline"]["events"]);
        heard.sort();
        heard
    };
    let mut both = vec![from_alice, from_bob];
    both.sort();
    assert_eq!(heard(here, alice, &here_since), both);
    assert_eq!(heard(there, bob, &there_since), both);
    let answer = here.sync(alice, None, "");
    assert_eq!(told(&answer, room)["unread_notifications"]["notification_count"], 1);
}

#[test]
fn where_branches_meet_clients_know_what_became_of_the_state() {
    // Each way of telling the state, and timelines that hold all or little of what happened.
    for query in ["", "&use_state_after=true"] {
        for limit in [1, 2, 50] {
            let two = Two::new(0);
            let Two { here, there, alice, bob, room, .. } = &two;
            let levels = json!({ "users": { (bob.id.clone()): 50 } });
            here.set_state(alice, room, "m.room.power_levels", "", levels);
            two.settle();
            let query = format!("{query}{}", filter(json!({ "room": { "timeline": { "limit": limit } } })));
            let mut clients = [Client::new(here, alice, &query), Client::new(there, bob, &query)];
            for round in 0..3 {
                for client in &mut clients {
                    let told = client.sync(room);
                    assert!(round == 0 || told == 0, "a message changes no state, but {told} events of it were told");
                }
                two.network.cut(here, there);
                for (server, user, name) in [(here, alice, "A"), (there, bob, "B")] {
                    server.set_state(user, room, "m.room.name", "", json!({ "name": format!("{name}{round}") }));
                    server.set_state(user, room, "org.example.own", name, json!({ "round": round }));
                    server.say(user, room, "alone");
                    server.set_state(user, room, "m.room.topic", "", json!({ "topic": format!("{name}{round}") }));
                }
                if round == 1 {
                    clients.iter_mut().for_each(|client| _ = client.sync(room));
                }
                two.network.reconnect(here, there);
                for _ in 0..3 {
                    two.settle();
                }
                clients.iter_mut().for_each(|client| _ = client.sync(room));
                let state = two.state(here, alice);
                assert_eq!(state, two.state(there, bob), "the servers agree");
                for client in &clients {
                    let known = || {
                        let mut known: Vec<_> = client.state.values().cloned().collect();
                        known.sort();
                        known
                    };
                    assert_eq!(known(), state, "{} {query} round {round}", client.user.id);
                }
                here.say(alice, room, "together");
                two.settle();
            }
        }
    }
}

#[test]
fn who_joined_a_room_that_was_closed_meanwhile_is_told_to_be_out_of_it() {
    let two = Two::new(0);
    let Two { here, there, alice, bob, room, .. } = &two;
    let carol = there.register("carol");
    two.network.cut(here, there);
    here.set_state(alice, room, "m.room.join_rules", "", json!({ "join_rule": "invite" }));
    there.join(&carol, room);
    let answer = there.sync(&carol, None, "");
    assert!(told(&answer, room)["timeline"].is_object(), "{answer}");
    two.network.reconnect(here, there);
    for _ in 0..3 {
        two.settle();
    }
    assert_eq!(two.state(here, alice), two.state(there, bob), "the servers agree");
    assert_eq!(there.membership(room, &carol.id), None, "her join was none");

    let since = next_batch(&answer);
    let answer = there.sync(&carol, Some(&since), "");
    assert_eq!(answer["rooms"]["join"].get(room), None, "{answer}");
    let told = &answer["rooms"]["leave"][room]["timeline"]["events"];
    let [event] = list(told) else { panic!("one event says so: {answer}") };
    assert_eq!(event["content"]["membership"], "leave");
    assert_eq!((&event["type"], &event["state_key"]), (&json!("m.room.member"), &json!(carol.id)));
    assert!(!ids(&there.messages(bob, room, "dir=b&limit=100")["chunk"]).contains(&ids(told)[0]), "of no room");
    let joined = there.get("/_matrix/client/v3/joined_rooms", &carol.token).ok();
    assert_eq!(joined["joined_rooms"], json!([]));
    // She is told once, may forget the room, and be invited to it.
    let answer = there.sync(&carol, Some(&next_batch(&answer)), "");
    assert_eq!(answer["rooms"]["leave"].get(room), None, "{answer}");
    let path = format!("/_matrix/client/v3/rooms/{}/forget", escaped(room));
    there.post(&path, &carol.token, json!({})).ok();
    here.act(alice, room, "invite", &carol.id).ok();
    two.settle();
    let answer = there.sync(&carol, Some(&next_batch(&answer)), "");
    assert!(answer["rooms"]["invite"].get(room).is_some(), "{answer}");
}

/// A client that keeps the state as it is told.
struct Client<'a> {
    server: &'a TestServer,
    user: &'a TestUser,
    query: &'a str,
    since: Option<String>,
    state: std::collections::BTreeMap<(String, String), String>,
}

impl<'a> Client<'a> {
    fn new(server: &'a TestServer, user: &'a TestUser, query: &'a str) -> Self {
        Self { server, user, query, since: None, state: Default::default() }
    }

    /// Returns how many events were told as state.
    fn sync(&mut self, room: &str) -> usize {
        let answer = self.server.sync(self.user, self.since.as_deref(), self.query);
        let room = told(&answer, room);
        let after = room.get("state_after").map(|state| state["events"].clone());
        let timeline = room["timeline"]["events"].clone();
        let state = after.clone().unwrap_or(room["state"]["events"].clone());
        let told = list(&state).len();
        for events in [state, timeline] {
            for event in list(&events).iter().filter(|event| event["state_key"].is_string()) {
                let text = |field: &str| event[field].as_str().unwrap().to_owned();
                self.state.insert((text("type"), text("state_key")), text("event_id"));
            }
            if after.is_some() {
                break;
            }
        }
        self.since = Some(next_batch(&answer));
        told
    }
}

#[test]
fn typing_crosses_servers_and_ends_with_the_connection() {
    let two = Two::new(0);
    let Two { here, there, alice, bob, room, .. } = &two;
    let typing = |body: Value| {
        let path = format!("/_matrix/client/v3/rooms/{}/typing/{}", escaped(room), bob.id);
        there.put(&path, &bob.token, body).ok();
        here.settle();
    };
    let mut since = next_batch(&here.sync(alice, None, ""));
    let mut shown = || {
        let answer = here.sync(alice, Some(&since), "");
        since = next_batch(&answer);
        passing(&answer, room, "m.typing").map(|content| content["user_ids"].clone())
    };
    typing(json!({ "typing": true, "timeout": 30_000 }));
    assert_eq!(shown(), Some(json!([bob.id])));
    // Going on is repeated often enough for the other server not to forget.
    for _ in 0..8 {
        here.advance(20_000);
        typing(json!({ "typing": true, "timeout": 30_000 }));
        assert_eq!(shown(), None, "still typing");
    }
    typing(json!({ "typing": false }));
    assert_eq!(shown(), Some(json!([])));
    typing(json!({ "typing": true, "timeout": 30_000 }));
    assert_eq!(shown(), Some(json!([bob.id])));
    two.network.cut(here, there);
    here.advance(59_000);
    assert_eq!(shown(), None);
    here.advance(1_000);
    assert_eq!(shown(), Some(json!([])), "nobody types for ever because a server is gone");
}

#[test]
fn public_receipts_cross_servers_and_private_ones_do_not() {
    let two = Two::new(0);
    let Two { here, there, alice, bob, room, .. } = &two;
    let said = here.say(alice, room, "read me");
    let private = here.say(alice, room, "read me in private");
    two.settle();
    let since = next_batch(&here.sync(alice, None, ""));
    there.read(bob, room, "m.read", &said, json!({})).ok();
    there.read(bob, room, "m.read.private", &private, json!({})).ok();
    two.settle();
    let receipts = passing(&here.sync(alice, Some(&since), ""), room, "m.receipt").unwrap();
    assert_eq!(receipts.as_object().unwrap().keys().collect::<Vec<_>>(), [&said]);
    assert!(receipts[&said]["m.read"][&bob.id]["ts"].is_u64());
}

#[test]
fn receipts_of_every_thread_reach_a_server_that_was_away() {
    let two = Two::new(0);
    let Two { network, here, there, alice, bob, room } = &two;
    let root = here.say(alice, room, "root");
    let reply = here.relate(alice, room, "m.thread", &root, "in the thread");
    let main = here.say(alice, room, "beside it");
    two.settle();
    let since = next_batch(&here.sync(alice, None, ""));
    network.cut(here, there);
    there.read(bob, room, "m.read", &root, json!({})).ok();
    there.read(bob, room, "m.read", &reply, json!({ "thread_id": root })).ok();
    there.read(bob, room, "m.read", &main, json!({ "thread_id": "main" })).ok();
    // A server that stops forgets what it had to say in passing.
    let disk = there.disk.clone();
    there.tasks.stop();
    let back = network.server_on(disk);
    network.reconnect(here, &back);
    let receipts = passing(&here.sync(alice, Some(&since), ""), room, "m.receipt").unwrap();
    let thread = |event: &str| receipts[event]["m.read"][&bob.id]["thread_id"].clone();
    assert!(receipts[&root]["m.read"][&bob.id]["ts"].is_u64());
    assert_eq!([thread(&root), thread(&reply), thread(&main)], [Value::Null, json!(root), json!("main")]);
}

#[test]
fn a_receipt_that_makes_no_sense_takes_no_other_with_it() {
    let two = Two::new(0);
    let Two { here, there, alice, bob, room, .. } = &two;
    let said = here.say(alice, room, "read me");
    let carol = there.register("carol");
    two.settle();
    let since = next_batch(&here.sync(alice, None, ""));
    let good = json!({ "data": { "ts": 1 }, "event_ids": [said] });
    let content = json!({
        room.as_str(): { "m.read": { &carol.id: {}, &bob.id: good }, "m.of_tomorrow": [] },
        "!other": { "m.of_tomorrow": {} },
        "!another": 5,
    });
    two.whisper(json!([{ "edu_type": "m.receipt", "content": content }]));
    let receipts = passing(&here.sync(alice, Some(&since), ""), room, "m.receipt").unwrap();
    assert_eq!(receipts[&said]["m.read"], json!({ &bob.id: { "ts": 1 } }));
}

#[test]
fn servers_speak_only_for_their_own_users_in_rooms_these_are_in() {
    let two = Two::new(0);
    let Two { here, there, alice, bob, room, .. } = &two;
    let said = here.say(alice, room, "read me");
    let carol = there.register("carol");
    let elsewhere = here.public_room(alice);
    two.settle();
    let since = next_batch(&here.sync(alice, None, ""));
    let typing = |room: &str, user: &str| json!({ "edu_type": "m.typing", "content": { "room_id": room, "user_id": user, "typing": true } });
    let receipt = |room: &str, user: &str, event: &str| {
        let data = json!({ "data": { "ts": 1 }, "event_ids": [event] });
        json!({ "edu_type": "m.receipt", "content": { (room): { "m.read": { (user): data } } } })
    };
    two.whisper(json!([
        typing(room, &alice.id),
        typing(room, &carol.id),
        typing(&elsewhere, &bob.id),
        typing("!nowhere", &bob.id),
        receipt(room, &alice.id, &said),
        receipt(room, &carol.id, &said),
        receipt(&elsewhere, &bob.id, &said),
        { "edu_type": "m.typing", "content": { "room_id": 5 } },
        { "edu_type": "m.receipt", "content": "nonsense" },
        { "edu_type": "m.unheard_of", "content": {} },
    ]));
    let answer = here.sync(alice, Some(&since), "");
    assert_eq!(answer.get("rooms"), None, "{answer}");
    two.whisper(json!([typing(room, &bob.id), receipt(room, &bob.id, &said)]));
    let answer = here.sync(alice, Some(&since), "");
    assert!(passing(&answer, room, "m.typing").is_some() && passing(&answer, room, "m.receipt").is_some());
    // A server that the room's ACL denies has nothing to say.
    let acl = json!({ "allow": ["*"], "deny": [there.server_name()] });
    here.set_state(alice, room, "m.room.server_acl", "", acl);
    let since = next_batch(&here.sync(alice, None, ""));
    two.whisper(
        json!([{ "edu_type": "m.typing", "content": { "room_id": room, "user_id": bob.id, "typing": false } }]),
    );
    assert_eq!(here.sync(alice, Some(&since), "").get("rooms"), None);
}

#[test]
fn an_invite_from_afar_is_told_and_declined() {
    let two = Two::new(0);
    let Two { here, there, alice, room, .. } = &two;
    let dave = there.register("dave");
    let since = next_batch(&there.sync(&dave, None, ""));
    let private = here.create_room(alice, json!({ "preset": "private_chat", "name": "Far" }));
    here.act_on(alice, &private, "invite", &dave);
    here.act_on(alice, room, "invite", &dave);
    two.settle();
    let answer = there.sync(&dave, Some(&since), "");
    let invites = answer["rooms"]["invite"].as_object().unwrap();
    assert_eq!(invites.len(), 2, "to a room this server has a copy of and to one it has not");
    assert!(kinds(&invites[&private]["invite_state"]["events"]).contains(&("m.room.name".to_owned(), String::new())));
    for declined in [&private, room] {
        let since = next_batch(&there.sync(&dave, Some(&since), ""));
        there.leave(&dave, declined);
        two.settle();
        let answer = there.sync(&dave, Some(&since), "");
        let left = &answer["rooms"]["leave"][declined]["timeline"]["events"];
        let last = list(left).last().unwrap();
        assert_eq!(
            (&last["state_key"], &last["content"]["membership"]),
            (&json!(dave.id), &json!("leave")),
            "{answer}"
        );
        assert_eq!(texts(left), [""; 0]);
        assert_eq!(there.sync(&dave, Some(&next_batch(&answer)), "").get("rooms"), None);
    }
}
