//! How often the store is asked: in a browser every read is a round trip, so bulk work asks in bulk.
use warren::domain::outbox::TRANSACTION_PDUS_MAX;

use crate::{
    federation_network::Network,
    federation_peer::{PeerRoom, value},
    harness::TestServer,
};

/// For a whole transaction, not for each event in it.
const TRANSACTION_READS_MAX: usize = 10;

#[test]
fn a_message_of_our_own_is_sent_with_one_read() {
    let server = TestServer::new();
    let alice = server.register("alice");
    let room = server.public_room(&alice);
    server.say(&alice, &room, "the first loads what stays loaded");
    let before = server.reads();
    server.say(&alice, &room, "the second");
    assert_eq!(server.reads() - before, 1, "whether its transaction was answered before");
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
