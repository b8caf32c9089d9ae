//! Two nodes and the real relay: they find each other by name and share a room.
use serde_json::json;

use crate::{node::Node, warren::Warren};

#[test]
fn two_nodes_share_a_room_through_the_relay() {
    let warren = Warren::start();
    let relay = warren.config()["relays"][0].as_str().unwrap().to_owned();
    let (first, second) = (Node::start_open(&["--relay", &relay]), Node::start_open(&["--relay", &relay]));
    let (ada, bob) = (first.register("ada"), second.register("bob"));
    let room = first.create_room(&ada);
    first.send(&ada, &room, "before bob came");

    let via = ada.id.split_once(':').unwrap().1;
    let join = format!("/_matrix/client/v3/join/{room}?via={via}");
    // The first may not have its reservation yet; the second is told so, and may ask again.
    let started = std::time::Instant::now();
    while second.request("POST", &join, Some(&bob.token), &json!({})).status != 200 {
        assert!(started.elapsed() < 3 * crate::warren::PATIENCE, "bob cannot join");
    }
    first.send(&ada, &room, "hello, bob");
    second.until_heard(&bob, &room, "hello, bob");
    second.send(&bob, &room, "hello, ada");
    first.until_heard(&ada, &room, "hello, ada");
    assert!(second.messages(&bob, &room).iter().any(|(_, text)| text == "before bob came"), "history is fetched");

    // Gone and back, it has missed nothing.
    let dir = second.kill();
    first.send(&ada, &room, "while bob was away");
    let second = Node::start_in(dir, &["--relay", &relay]);
    second.until_heard(&bob, &room, "while bob was away");
}
