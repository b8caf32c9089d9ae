//! Storage that fails or stops in the middle: nothing is half-written, what was acknowledged stays, and going on works.
use serde_json::{Value, json};
use warren::{ports::StoreError, storage::memory::MemoryDisk};

use crate::{
    fakes::Mishap,
    harness::{TestServer, TestUser, request},
};

/// More commits than any one request here makes.
const COMMITS_MAX: u64 = 20;

fn rooms(server: &TestServer, user: &TestUser) -> Vec<String> {
    let body = server.get("/_matrix/client/v3/joined_rooms", &user.token).ok();
    body["joined_rooms"].as_array().unwrap().iter().map(|room| room.as_str().unwrap().to_owned()).collect()
}

fn create(user: &TestUser, request_id: Option<&str>) -> warren::api::Request {
    let body = json!({ "name": "A room", "preset": "public_chat" }).to_string();
    let mut create = request("POST", "/_matrix/client/v3/createRoom", Some(&user.token), body);
    if let Some(id) = request_id {
        create.headers_mut().insert("warren-request-id", id.parse().unwrap());
    }
    create
}

/// A room that is there is there whole: its creator is in, it has a name, and one can write.
fn is_whole(server: &TestServer, user: &TestUser, room: &str) {
    let name = server.get(&format!("/_matrix/client/v3/rooms/{room}/state/m.room.name/"), &user.token).ok();
    assert_eq!(name["name"], "A room");
    let body = json!({ "msgtype": "m.text", "body": "hello" });
    server.put(&format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/hello"), &user.token, body).ok();
}

#[test]
fn a_commit_that_fails_while_a_room_is_created_leaves_no_room() {
    let mut failed = 0;
    for n in 1..COMMITS_MAX {
        let server = TestServer::new();
        let user = server.register("ada");
        server.store.plan(n, Mishap::Fails(StoreError::QuotaExceeded));
        let answer = server.send(create(&user, None));
        if !server.store.end_plan() {
            answer.ok();
            break;
        }
        if answer.status == 200 {
            // What failed was not the room's: when the device was last seen.
            assert_eq!(rooms(&server, &user).len(), 1);
            continue;
        }
        failed += 1;
        answer.is_error(507, "M_UNKNOWN");
        assert!(rooms(&server, &user).is_empty(), "commit {n} failed");
        server.send(create(&user, None)).ok();
        let made = rooms(&server, &user);
        assert_eq!(made.len(), 1, "after commit {n} failed");
        is_whole(&server, &user, &made[0]);
    }
    assert!(failed > 0, "no commit of createRoom was hit");
}

#[test]
fn a_worker_that_stops_while_a_room_is_created_leaves_one_room_when_asked_again() {
    let mut stopped = 0;
    for (n, written) in (1..COMMITS_MAX).flat_map(|n| [(n, false), (n, true)]) {
        let disk = MemoryDisk::default();
        let server = TestServer::on(disk.clone());
        let user = server.register("ada");
        server.store.plan(n, Mishap::Hangs { written });
        let pending = server.queue(create(&user, Some("one-deliberate-request")));
        server.settle();
        if !server.store.end_plan() {
            break;
        }
        let acknowledged = pending.take().map(|answer| answer.ok()["room_id"].clone());
        stopped += u32::from(acknowledged.is_none());
        drop(server);

        let server = TestServer::on(disk);
        let room = server.send(create(&user, Some("one-deliberate-request"))).ok()["room_id"].clone();
        assert!(acknowledged.is_none_or(|acknowledged| acknowledged == room), "what was acknowledged is what there is");
        assert_eq!(rooms(&server, &user), [room.as_str().unwrap()], "stopped at commit {n}, written: {written}");
        is_whole(&server, &user, room.as_str().unwrap());
        for id in [None, None, Some("another-deliberate-request")] {
            server.send(create(&user, id)).ok();
        }
        assert_eq!(rooms(&server, &user).len(), 4, "deliberate requests are as many rooms");
    }
    assert!(stopped > 0, "no commit of createRoom was hit");
}

#[test]
fn a_message_whose_commit_fails_was_not_sent_and_can_be_sent_again() {
    let server = TestServer::new();
    let user = server.register("ada");
    let room = server.send(create(&user, None)).ok()["room_id"].as_str().unwrap().to_owned();
    let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/txn");
    let body = json!({ "msgtype": "m.text", "body": "only once" });
    server.store.plan(1, Mishap::Fails(StoreError::Backend("the disk is gone".to_owned())));
    let answer = server.put(&path, &user.token, body.clone());
    assert!(server.store.end_plan(), "the commit of the message was hit");
    answer.is_error(500, "M_UNKNOWN");
    assert!(!answer.body.to_string().contains("the disk is gone"), "details are for the log");

    let first = server.put(&path, &user.token, body.clone()).ok();
    assert_eq!(server.put(&path, &user.token, body).ok(), first, "the transaction is the same message");
    let messages = server.get(&format!("/_matrix/client/v3/rooms/{room}/messages?dir=b"), &user.token).ok();
    let said = |event: &&Value| event["type"] == "m.room.message";
    assert_eq!(messages["chunk"].as_array().unwrap().iter().filter(said).count(), 1);
}
