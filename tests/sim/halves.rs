//! Two halves of a room that did not hear each other meet again: how long until everybody has everything, counted in rounds.
use std::collections::BTreeSet;

use futures::executor::block_on;
use ruma::{OwnedEventId, OwnedRoomId};
use serde_json::json;

use super::{
    network::{LATENCY_MAX_MS, LATENCY_MIN_MS, Weather},
    world::World,
};

const SERVERS: usize = 12;
/// What each server says while they are apart.
const WORDS_APART: usize = 5;
const MINUTE_MS: u64 = 60_000;
/// One round: a request and its answer, as long as they take on average.
pub const ROUND_MS: u64 = LATENCY_MIN_MS + LATENCY_MAX_MS;
const STEP_MS: u64 = 10;

/// Milliseconds of virtual time from the moment the halves can reach each other until all agree.
pub fn run(seed: u64) -> u64 {
    let mut world = World::new(seed, Weather { loss: 0, duplication: 0, late: 0 }, 1);
    (0..SERVERS).for_each(|_| _ = world.add_server(1));
    let create = json!({ "preset": "public_chat", "name": "A room" });
    let (status, body) = world.ask(0, "POST", "/_matrix/client/v3/createRoom", create).expect("it is up");
    assert_eq!(status, 200, "{body}");
    let room_id: OwnedRoomId = body["room_id"].as_str().expect("a room id").try_into().expect("a room id");
    let link = format!("/_matrix/client/v3/join/{room_id}?via={}", world.servers[0].name);
    for index in 1..SERVERS {
        let (status, body) = world.ask(index, "POST", &link, json!({})).expect("it is up");
        assert_eq!(status, 200, "{body}");
    }
    world.pass(MINUTE_MS);
    let names: Vec<_> = world.servers.iter().map(|server| server.name.clone()).collect();
    let (left, right) = names.split_at(SERVERS / 2);
    for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (a, b))) {
        world.network.cut(a, b);
        world.network.cut(b, a);
    }
    for word in 0..WORDS_APART {
        for index in 0..SERVERS {
            let path = format!("/_matrix/client/v3/rooms/{room_id}/send/m.room.message/{word}");
            let said = world.ask(index, "PUT", &path, json!({ "msgtype": "m.text", "body": "apart" }));
            assert_eq!(said.expect("it is up").0, 200);
        }
    }
    world.pass(MINUTE_MS);
    assert!(views(&world, &room_id).len() > 1, "they know different things");
    world.network.heal();
    let began_ms = world.time.elapsed_ms();
    while views(&world, &room_id).len() > 1 {
        world.pass(STEP_MS);
        assert!(world.time.elapsed_ms() - began_ms < MINUTE_MS, "they do not agree within a minute");
    }
    world.time.elapsed_ms() - began_ms
}

/// The different ends that the room has for the servers.
fn views(world: &World, room_id: &OwnedRoomId) -> BTreeSet<BTreeSet<OwnedEventId>> {
    let heads = |index| block_on(world.homeserver(index).inspect_room(room_id)).expect("the store reads");
    (0..SERVERS).map(|index| heads(index).expect("it is in the room").heads.into_iter().collect()).collect()
}
