//! Generated rooms and how we resolve their states, told to another resolver: `npm run resolution` compares.
use std::{fs::File, io::Write};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use ruma::RoomVersionId;
use serde_json::{Value, json};

use super::{
    super::{StateMap, resolve},
    replica::{Tally, World, steps},
};
use crate::domain::{
    event::{draft::seal_template, object::EventObject},
    test_room::{TestRoom, identity},
};

/// The versions between which resolution or the rules it applies differ.
const VERSIONS: [RoomVersionId; 6] = [
    RoomVersionId::V1,
    RoomVersionId::V2,
    RoomVersionId::V6,
    RoomVersionId::V10,
    RoomVersionId::V11,
    RoomVersionId::V12,
];
/// The most states resolved at once.
const STATES_MAX: usize = 10;

/// Writes `DAGS` rooms made from `SEED` to the file `TOLD`, a line each, and after them what it came to.
#[test]
#[ignore = "npm run resolution reads what it writes"]
fn rooms_are_told() {
    let asked = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} says what to write"));
    let (seed, rooms): (u64, usize) = (asked("SEED").parse().unwrap(), asked("DAGS").parse().unwrap());
    let mut file = File::create(asked("TOLD")).unwrap();
    let mut tally = Tally::default();
    for index in 0..rooms {
        let version = &VERSIONS[index % VERSIONS.len()];
        let world = World::run(version, &drawn(seed, index));
        tally = tally + world.tally;
        writeln!(file, "{}", told(version, &world)).unwrap();
    }
    for version in ["1", "3", "4", "5"] {
        writeln!(file, "{}", numbers(&version.try_into().unwrap())).unwrap();
    }
    writeln!(file, "{}", json!({ "tally": format!("{tally:?}"), "conflicts": tally.conflicts })).unwrap();
}

/// The steps of one room, the same for a seed and index wherever and whenever.
fn drawn(seed: u64, index: usize) -> Vec<super::Step> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&(index as u64).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    steps().new_tree(&mut runner).unwrap().current()
}

fn told(version: &RoomVersionId, world: &World) -> Value {
    let events: Vec<Value> = world.union.events.values().map(|event| {
        json!({ "id": event.event_id, "rejected": event.rejected, "pdu": serde_json::from_str::<Value>(event.json()).unwrap() })
    }).collect();
    let all: Vec<&StateMap> = world.union.states_after.values().collect();
    // States near each other in no order but that of their ids, two and more at a time.
    let sets = all.windows(2).step_by(3).chain(all.windows(4).step_by(7)).chain(all.chunks(STATES_MAX));
    let cases: Vec<Value> = sets
        .map(|states| {
            let states: Vec<StateMap> = states.iter().map(|state| (*state).clone()).collect();
            let resolved = resolve(&world.rules, &states, &world.union.events).unwrap();
            json!({ "states": states.iter().map(listed).collect::<Vec<_>>(), "resolved": listed(&resolved) })
        })
        .collect();
    let room = world.union.events.values().next().map(|event| event.room_id.to_string());
    json!({ "version": version, "room": room, "events": events, "cases": cases })
}

fn listed(state: &StateMap) -> Value {
    state.iter().map(|((kind, key), id)| json!([kind.to_string(), key, id])).collect()
}

/// An event with numbers of all kinds, as text: who reads it must come to the same hashes.
fn numbers(version: &RoomVersionId) -> Value {
    let mut room = TestRoom::new(version.clone());
    let plain = room.send(0, "m.room.message", json!({ "body": "NUMBERS" }));
    let numbers =
        r#"[1.50,-0.0,1E16,1e-5,0.1,5e-324,-2.5E-7,123456789012345678901234567890,9007199254740993,1e22,100.0]"#;
    let template = EventObject::parse(&plain.json().replace("\"NUMBERS\"", numbers), &room.rules).unwrap();
    let event = seal_template(template, &identity(0), &room.rules).unwrap();
    json!({ "version": version, "id": event.event_id, "json": event.json(), "reference": event.reference_hash(&room.rules) })
}
