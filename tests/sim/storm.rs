//! Many servers follow one link at the same moment: all get in, and whoever made the link goes on talking meanwhile.
use std::collections::BTreeSet;

use futures::executor::block_on;
use ruma::{OwnedRoomId, RoomId};
use serde_json::json;

use super::{network::Weather, world::World};

/// After so long everybody is in.
const IN_AFTER_MAX_MS: u64 = 60_000;
/// So long may whoever made the link wait for a message of theirs to be taken.
const TALK_WAIT_MAX_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60_000;

/// In milliseconds of virtual time, sorted.
#[derive(Debug)]
pub struct Storm {
    /// From the link to having joined, of each server.
    pub joined_after: Vec<u64>,
    /// What each message of the inviter waited meanwhile.
    pub talk_waited: Vec<u64>,
    /// Requests that servers made of each other until all were in.
    pub requests: usize,
}

pub fn run(seed: u64, joiners: usize) -> Storm {
    let mut world = World::new(seed, Weather { loss: 2, duplication: 2, late: 1 }, 5_000);
    (0..=joiners).for_each(|_| _ = world.add_server(1));
    let create = json!({ "preset": "public_chat", "name": "A party" });
    let (status, body) = world.ask(0, "POST", "/_matrix/client/v3/createRoom", create).expect("it is up");
    assert_eq!(status, 200, "{body}");
    let room_id: OwnedRoomId = body["room_id"].as_str().expect("a room id").try_into().expect("a room id");
    world.pass(MINUTE_MS);
    world.network.take_carried();
    let began_ms = world.time.elapsed_ms();
    let link = format!("/_matrix/client/v3/join/{room_id}?via={}", world.servers[0].name);
    let joins: Vec<_> = (1..=joiners).map(|index| world.begin(index, "POST", &link, json!({}))).collect();
    let mut talk_waited = Vec::new();
    while joins.iter().any(|join| join.get().is_none()) {
        let asked_ms = world.time.elapsed_ms();
        assert!(asked_ms - began_ms < IN_AFTER_MAX_MS, "not everybody is in after {IN_AFTER_MAX_MS} ms");
        let path = format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message/{asked_ms}");
        let (status, body) =
            world.ask(0, "PUT", &path, json!({ "msgtype": "m.text", "body": "hi" })).expect("it is up");
        assert_eq!(status, 200, "{body}");
        talk_waited.push(world.time.elapsed_ms() - asked_ms);
        world.pass(500);
    }
    let requests = world.network.take_carried().len();
    let mut joined_after: Vec<_> = joins
        .iter()
        .filter_map(|join| join.get())
        .map(|(status, at_ms)| {
            assert_eq!(status, 200, "everybody gets in");
            at_ms - began_ms
        })
        .collect();
    joined_after.sort_unstable();
    talk_waited.sort_unstable();
    world.pass(10 * MINUTE_MS);
    all_agree(&world, &room_id, joiners);
    assert!(*talk_waited.last().expect("it talked") <= TALK_WAIT_MAX_MS, "{talk_waited:?}");
    Storm { joined_after, talk_waited, requests }
}

fn all_agree(world: &World, room_id: &RoomId, joiners: usize) {
    let view = |index| {
        let room =
            block_on(world.homeserver(index).inspect_room(room_id)).expect("the store reads").expect("it joined");
        (room.state, room.heads)
    };
    let expected = view(0);
    let members: BTreeSet<_> = expected.0.keys().filter(|(kind, _)| kind == "m.room.member").collect();
    assert_eq!(members.len(), joiners + 1);
    (1..=joiners).for_each(|index| assert!(view(index) == expected, "server {index} sees another room than the first"));
}
