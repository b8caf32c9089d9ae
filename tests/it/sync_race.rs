//! Syncs beside writers, on storage where everything takes its time: nothing is missing, told twice or out of order.
use std::{cell::Cell, collections::BTreeMap, rc::Rc};

use futures::future::{join, join_all};
use http::Method;
use serde_json::{Value, json};
use warren::{
    api::{self, Origin},
    homeserver::Homeserver,
    ports::StoreError,
};

use crate::{
    fakes::yield_once,
    harness::{TestServer, TestUser, request},
    talk::{escaped, ids, next_batch, next_txn, sync_path},
};

const WRITERS: usize = 6;
const MESSAGES_EACH: usize = 12;
const ROOMS: usize = 3;

async fn call(homeserver: &Rc<Homeserver>, method: Method, path: &str, token: &str, body: &Value) -> (u16, Value) {
    let body = if method == Method::GET { String::new() } else { body.to_string() };
    let request = request(method.as_str(), path, Some(token), body);
    let (parts, body) = api::handle(homeserver, request, Origin::Client).await.into_parts();
    (parts.status.as_u16(), serde_json::from_slice(&body).unwrap())
}

/// Sends messages and state to all rooms in turn; returns what was sent where.
async fn write(homeserver: &Rc<Homeserver>, user: &TestUser, rooms: &[String], writer: usize) -> Vec<(String, String)> {
    let mut sent = Vec::new();
    for n in 0..MESSAGES_EACH {
        let room = &rooms[(writer + n) % rooms.len()];
        let (path, body) = match n % 4 {
            3 => (format!("state/org.example.s{writer}/"), json!({ "n": n })),
            _ => (format!("send/m.room.message/{}", next_txn()), json!({ "msgtype": "m.text", "body": "x" })),
        };
        let path = format!("/_matrix/client/v3/rooms/{}/{path}", escaped(room));
        let (status, answer) = call(homeserver, Method::PUT, &path, &user.token, &body).await;
        if status == 200 {
            sent.push((room.clone(), answer["event_id"].as_str().unwrap().to_owned()));
        }
    }
    sent
}

/// Syncs until `done` and nothing more comes; returns what was told of each room, and how many syncs it took.
async fn listen(
    homeserver: &Rc<Homeserver>,
    user: &TestUser,
    since: String,
    done: &Cell<bool>,
) -> (BTreeMap<String, Vec<String>>, usize) {
    let mut heard: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut since = since;
    for syncs in 1.. {
        // A sync without news reads nothing and would never let the writers go on.
        yield_once().await;
        let was_done = done.get();
        let path = sync_path(Some(&since), 0, "&filter=%7B%22room%22:%7B%22timeline%22:%7B%22limit%22:200%7D%7D%7D");
        let (status, answer) = call(homeserver, Method::GET, &path, &user.token, &Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        let rooms = answer["rooms"]["join"].as_object().cloned().unwrap_or_default();
        for (room, told) in &rooms {
            assert_ne!(told["timeline"]["limited"], true);
            heard.entry(room.clone()).or_default().extend(ids(&told["timeline"]["events"]));
        }
        since = next_batch(&answer);
        if was_done && rooms.is_empty() {
            return (heard, syncs);
        }
    }
    unreachable!("it ends when nothing more comes")
}

fn race(seed: u64, failing: bool) {
    let server = TestServer::new();
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let rooms: Vec<String> = (0..ROOMS).map(|_| server.public_room(&alice)).collect();
    rooms.iter().for_each(|room| server.join(&bob, room));
    let since = next_batch(&server.sync(&bob, None, ""));
    server.make_slow(seed);
    let done = Cell::new(false);
    let homeserver = &server.homeserver;
    let writers = async {
        let writers = (0..WRITERS).map(|writer| write(homeserver, &alice, &rooms, writer));
        let disturbance = async {
            for round in 0..if failing { 20 } else { 0 } {
                server.set_fault((round % 2 == 0).then_some(StoreError::QuotaExceeded));
                for _ in 0..40 {
                    yield_once().await;
                }
            }
            server.set_fault(None);
        };
        let (sent, ()) = join(join_all(writers), disturbance).await;
        done.set(true);
        sent.into_iter().flatten().collect::<Vec<_>>()
    };
    let (sent, (heard, syncs)) = server.run(join(writers, listen(homeserver, &bob, since, &done)));
    assert!(syncs > 10, "only {syncs} syncs raced the writers");
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (room, event) in sent {
        expected.entry(room).or_default().push(event);
    }
    for room in &rooms {
        let (heard, sent) = (&heard[room], &expected[room]);
        let all = ids(&server.messages(&bob, room, "dir=f&limit=500")["chunk"]);
        assert!(all.ends_with(heard), "seed {seed}: what was told is the room's timeline, in order");
        assert!(failing || heard.len() == sent.len(), "seed {seed}: {} of {} told", heard.len(), sent.len());
        let missing: Vec<_> = sent.iter().filter(|event| !heard.contains(event)).collect();
        assert!(missing.is_empty(), "seed {seed}: never told of {missing:?}");
    }
}

#[test]
fn syncs_beside_writers_miss_nothing_and_repeat_nothing() {
    for seed in 0..12 {
        race(seed, false);
    }
}

#[test]
fn what_could_not_be_written_leaves_no_hole() {
    for seed in 0..6 {
        race(seed, true);
    }
}
