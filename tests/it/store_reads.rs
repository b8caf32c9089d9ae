//! How often the store is asked: in a browser every read is a round trip, so bulk work asks in bulk.
use std::rc::Rc;

use futures::executor::block_on;
use serde_json::json;
use warren::{
    domain::outbox::TRANSACTION_PDUS_MAX,
    ports::Batch,
    storage::{
        Database,
        memory::MemoryDisk,
        tables::{GapRow, Gaps},
    },
};

use crate::{
    fakes::FaultyStore,
    federation_network::Network,
    federation_peer::{PeerRoom, value},
    harness::TestServer,
    talk::{escaped, sync_path},
};

/// For a whole transaction, not for each event in it.
const TRANSACTION_READS_MAX: usize = 10;

#[test]
fn a_message_of_our_own_is_sent_and_told_without_a_read() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let room = server.public_room(&alice);
    server.say(&alice, &room, "the first loads what stays loaded");
    let since = server.sync(&alice, None, "")["next_batch"].as_str().unwrap().to_owned();
    let waiting = server.start("GET", &sync_path(Some(&since), 30_000, ""), Some(&alice.token));
    let before = server.reads();
    let event_id = server.say(&alice, &room, "the second");
    server.settle();
    let told = waiting.take().expect("the message wakes the sync").ok();
    assert_eq!(told["rooms"]["join"][&room]["timeline"]["events"][0]["event_id"], json!(event_id));
    assert_eq!(server.reads() - before, 0);
}

#[test]
fn a_transaction_of_before_the_start_is_known_again() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let room = server.public_room(&alice);
    let send = |server: &TestServer, txn: &str| {
        let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/{txn}", escaped(&room));
        server.put(&path, &alice.token, json!({ "msgtype": "m.text", "body": "once" })).ok()["event_id"].clone()
    };
    let first = send(&server, "first");
    let server = TestServer::on(server.disk.clone());
    assert_ne!(send(&server, "second"), first);
    assert_eq!(send(&server, "first"), first);
}

#[test]
fn a_transaction_of_one_event_is_taken_in_with_one_read() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let room = server.public_room(&server.register("alice"));
    let carol = peer.user("carol");
    let mut at_peer = PeerRoom::join(&peer, &server, &room, &carol);
    let mut say = |text: &str| value(&at_peer.say(&peer, &carol, text));
    peer.send(&server, "warm-up", &[say("the first loads what stays loaded")], &[]).ok();
    for txn in ["second", "third"] {
        let pdu = say(txn);
        let before = server.reads();
        let answer = peer.send(&server, txn, &[pdu], &[]).ok();
        assert_eq!(answer["pdus"].as_object().unwrap().len(), 1);
        assert_eq!(server.reads() - before, 1, "whether the event is there already");
    }
}

#[test]
fn a_transaction_that_comes_again_is_answered_as_before() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let room = server.public_room(&server.register("alice"));
    let carol = peer.user("carol");
    let mut at_peer = PeerRoom::join(&peer, &server, &room, &carol);
    let (first, second) = (value(&at_peer.say(&peer, &carol, "one")), value(&at_peer.say(&peer, &carol, "two")));
    let answer = peer.send(&server, "first", std::slice::from_ref(&first), &[]).ok();
    // What comes under the id of the last one is not looked at.
    assert_eq!(peer.send(&server, "first", std::slice::from_ref(&second), &[]).ok(), answer);
    assert_ne!(peer.send(&server, "second", &[second], &[]).ok(), answer);
    assert_eq!(peer.send(&server, "first", &[first], &[]).ok(), answer);
}

#[test]
fn a_full_transaction_is_taken_in_with_few_reads() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let room = server.public_room(&server.register("alice"));
    let carol = peer.user("carol");
    let mut at_peer = PeerRoom::join(&peer, &server, &room, &carol);
    let mut say = |n: usize| value(&at_peer.say(&peer, &carol, &format!("message {n}")));
    peer.send(&server, "warm-up", &[say(0)], &[]).ok();
    let pdus: Vec<_> = (0..TRANSACTION_PDUS_MAX).map(&mut say).collect();
    let before = server.reads();
    let answer = peer.send(&server, "full", &pdus, &[]).ok();
    assert_eq!(answer["pdus"].as_object().unwrap().len(), TRANSACTION_PDUS_MAX);
    let reads = server.reads() - before;
    assert!(reads <= TRANSACTION_READS_MAX, "{reads} reads");
}

#[test]
fn whether_there_is_anything_is_asked_again_only_after_a_commit_touched_the_table() {
    let store = Rc::new(FaultyStore::new(MemoryDisk::default().open()));
    let database = Database::new(store.clone());
    let key = (7, "$event".try_into().unwrap());
    let has_any = |room: u64| {
        let before = store.reads.get();
        (block_on(database.has_any::<Gaps, _>(&room)).unwrap(), store.reads.get() - before)
    };
    let commit = |change: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::default();
        change(&mut batch);
        block_on(database.commit(batch)).unwrap();
    };
    assert_eq!([has_any(7), has_any(7), has_any(8)], [(false, 1), (false, 0), (false, 1)]);
    commit(&|batch| batch.put::<Gaps>(&key, &GapRow { order: 1 }));
    assert_eq!([has_any(7), has_any(7), has_any(8)], [(true, 1), (true, 0), (false, 1)]);
    commit(&|batch| batch.delete::<Gaps>(&key));
    assert_eq!([has_any(7), has_any(7)], [(false, 1), (false, 0)]);
}
