//! Resolution against what the specification defines it to be: the same for everybody, in any order, from any view.
mod replica;
mod told;

use std::cell::Cell;

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, FileFailurePersistence, TestRunner},
};
use ruma::{RoomVersionId, events::TimelineEventType};
use serde_json::json;

use self::replica::{Action, Replica, Step, Tally, World, steps};
use super::*;
use crate::domain::{
    room_version::{SUPPORTED, rules},
    test_room::{TestRoom, user},
};

/// How many random rooms of each version a run makes: with about 30 events each, seconds in the dev profile. Thousands
/// are made if `PROPTEST_CASES` says so while this is compiled.
const CASES: u32 = 48;

/// Runs every property below on generated rooms of one version, and fails if those rooms were too tame to show
/// anything.
fn hold_for_generated_rooms(version: &RoomVersionId) {
    let cases = option_env!("PROPTEST_CASES").and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = Config {
        cases,
        source_file: Some(file!()),
        failure_persistence: Some(Box::new(FileFailurePersistence::SourceParallel("proptest-regressions"))),
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let tally = Cell::new(Tally::default());
    let rooms = (steps(), prop::collection::vec(any::<Index>(), 6));
    let run = TestRunner::new(config).run(&rooms, |(steps, picks)| {
        let world = World::run(version, &steps);
        tally.set(tally.get() + world.tally);
        // Some of the states the room went through, on any side of any fork.
        let all: Vec<_> = world.union.states_after.values().collect();
        let states: Vec<_> = picks.iter().map(|pick| all[pick.index(all.len())].clone()).collect();

        order_and_repetition_do_not_matter(&world, &states)?;
        what_agrees_stays_as_it_is(&world, &states)?;
        resolution_is_what_the_definition_says(&world, &states)?;
        a_view_grown_by_what_is_missing_leads_to_the_same_state(&world, &states)?;
        replicas_that_split_and_meet_again_agree(&world)
    });
    if let Err(failure) = run {
        panic!("version {version}: {failure}");
    }
    let Tally { accepted, rejected, soft_failed, conflicts, refused_at_home } = tally.get();
    let least = [accepted, rejected, soft_failed, conflicts, refused_at_home].into_iter().min();
    assert!(least > Some(8), "too tame to prove anything in version {version}: {:?}", tally.get());
}

#[test]
fn generated_rooms_of_version_1() {
    hold_for_generated_rooms(&RoomVersionId::V1);
}

#[test]
fn generated_rooms_of_version_2() {
    hold_for_generated_rooms(&RoomVersionId::V2);
}

#[test]
fn generated_rooms_of_version_6() {
    hold_for_generated_rooms(&RoomVersionId::V6);
}

#[test]
fn generated_rooms_of_version_10() {
    hold_for_generated_rooms(&RoomVersionId::V10);
}

#[test]
fn generated_rooms_of_version_11() {
    hold_for_generated_rooms(&RoomVersionId::V11);
}

#[test]
fn generated_rooms_of_version_12() {
    hold_for_generated_rooms(&RoomVersionId::V12);
}

fn order_and_repetition_do_not_matter(world: &World, states: &[StateMap]) -> Result<(), TestCaseError> {
    let events = &world.union.events;
    let mut states = states.to_vec();
    let forward = resolve(&world.rules, &states, events).unwrap();
    states.reverse();
    prop_assert_eq!(&resolve(&world.rules, &states, events).unwrap(), &forward);
    states.rotate_left(2);
    states.push(states[0].clone());
    prop_assert_eq!(&resolve(&world.rules, &states, events).unwrap(), &forward);
    Ok(())
}

fn what_agrees_stays_as_it_is(world: &World, states: &[StateMap]) -> Result<(), TestCaseError> {
    let nothing = BTreeMap::new();
    for state in states {
        prop_assert_eq!(&resolve(&world.rules, std::slice::from_ref(state), &nothing).unwrap(), state);
        prop_assert_eq!(&resolve(&world.rules, &[state.clone(), state.clone()], &nothing).unwrap(), state);
    }
    Ok(())
}

fn resolution_is_what_the_definition_says(world: &World, states: &[StateMap]) -> Result<(), TestCaseError> {
    if world.rules.state_res.v2_rules().is_none() {
        return Ok(());
    }
    for some in states.windows(2).chain([states]) {
        let definition = Definition::of(&world.rules, some, &world.union.events);
        prop_assert_eq!(&resolve(&world.rules, some, &world.union.events).unwrap(), &definition.state);

        let Fork { unconflicted, conflicted_by_state } = Fork::of(some.iter().map(|state| state.iter()));
        let view = View::new(&world.union.events);
        let chains = chains_of_conflicted(&view, &world.rules, &conflicted_by_state).unwrap();
        let conflicted = conflicted_by_state.iter().flat_map(|state| state.values()).map(|id| &***id).collect();
        let difference = auth_difference(&view, &chains, &unconflicted, &conflicted).unwrap();
        let defined = definition.difference.iter().map(|id| &**id).filter(|id| !conflicted.contains(id));
        prop_assert!(defined.eq(difference));
        let subgraph: BTreeSet<_> = conflicted_subgraph(&view, &conflicted).iter().cloned().collect();
        prop_assert_eq!(subgraph, definition.subgraph);
    }
    Ok(())
}

fn a_view_grown_by_what_is_missing_leads_to_the_same_state(
    world: &World,
    states: &[StateMap],
) -> Result<(), TestCaseError> {
    let whole = resolve(&world.rules, states, &world.union.events).unwrap();
    let mut view = BTreeMap::new();
    for _ in 0..ROUNDS_MAX {
        match resolve(&world.rules, states, &view) {
            Ok(state) => {
                prop_assert_eq!(state, whole);
                return Ok(());
            }
            Err(ResolveError::Missing(wanted)) => {
                prop_assert!(!wanted.events.is_empty() || !wanted.chains.is_empty());
                for id in wanted.events.iter().chain(&wanted.chains) {
                    prop_assert!(!view.contains_key(id), "asked for {} again", id);
                }
                load(&mut view, wanted, &world.union.events);
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
    }
    Err(TestCaseError::fail("never satisfied"))
}

/// How often it may be asked again for more: for chains as a whole, and never for one more link of one.
const ROUNDS_MAX: usize = 10;

/// Puts into `view` what is wanted of `events`.
fn load(view: &mut BTreeMap<OwnedEventId, Rc<Pdu>>, wanted: Wanted, events: &BTreeMap<OwnedEventId, Rc<Pdu>>) {
    view.extend(wanted.events.into_iter().map(|id| (id.clone(), events[&id].clone())));
    let mut pending: Vec<_> = wanted.chains.into_iter().collect();
    while let Some(id) = pending.pop() {
        let event = events[&id].clone();
        pending.extend(event.auth_events.iter().filter(|id| !view.contains_key(*id)).cloned());
        view.insert(id, event);
    }
}

/// Servers that hold the same events know the same state before and after each, whatever order they came in.
fn replicas_that_split_and_meet_again_agree(world: &World) -> Result<(), TestCaseError> {
    let healed = &world.healed;
    for one in healed {
        prop_assert_eq!(one.events.len(), world.union.events.len());
        prop_assert_eq!(&one.states_after, &healed[0].states_after);
        for (id, event) in &one.events {
            prop_assert_eq!(event.rejected, healed[0].events[id].rejected, "{}", event.json());
        }
        for other in healed.iter().filter(|other| other.heads == one.heads) {
            prop_assert_eq!(&one.state, &other.state);
        }
    }
    Ok(())
}

/// The definition, word for word and without a thought for cost: whole states, whole auth chains, every pair.
struct Definition {
    difference: BTreeSet<OwnedEventId>,
    subgraph: BTreeSet<OwnedEventId>,
    state: StateMap,
}

impl Definition {
    fn of(rules: &RoomVersionRules, states: &[StateMap], events: &BTreeMap<OwnedEventId, Rc<Pdu>>) -> Self {
        let chain_of = |id: &OwnedEventId| {
            let mut chain = BTreeSet::new();
            let mut pending = events[id].auth_events.clone();
            while let Some(id) = pending.pop() {
                pending.extend(events[&id].auth_events.iter().filter(|_| !chain.contains(&id)).cloned());
                chain.insert(id);
            }
            chain
        };
        let chains: Vec<BTreeSet<_>> = states.iter().map(|state| state.values().flat_map(chain_of).collect()).collect();
        let everywhere = |id: &OwnedEventId| chains.iter().all(|chain| chain.contains(id));
        let difference = chains.iter().flatten().filter(|id| !everywhere(id)).cloned().collect();

        let agreed = |key: &Key, id| states.iter().all(|state| state.get(key) == Some(id));
        let ends: BTreeSet<_> =
            states.iter().flatten().filter(|(key, id)| !agreed(key, id)).map(|(_, id)| id.clone()).collect();
        let downwards: BTreeSet<_> = ends.iter().flat_map(chain_of).chain(ends.iter().cloned()).collect();
        let between = downwards.into_iter().filter(|id| ends.contains(id) || !chain_of(id).is_disjoint(&ends));
        let subgraph: BTreeSet<_> = between.collect();

        let maps: Vec<state_res::StateMap<OwnedEventId>> =
            states.iter().map(|state| state.clone().into_iter().collect()).collect();
        let resolved = state_res::resolve(
            &rules.authorization,
            rules.state_res.v2_rules().unwrap(),
            &maps,
            chains.iter().map(|chain| chain.iter().cloned().collect()).collect(),
            |id| events.get(id).map(|event| &**event),
            |_| Some(subgraph.iter().cloned().collect()),
        );
        let state = resolved.unwrap().into_iter().collect();
        Self { difference, subgraph, state }
    }
}

fn key(kind: &str, state_key: &str) -> Key {
    (kind.into(), state_key.to_owned())
}

/// A room where users 0 and 1 may set names, forked once: each side is a copy that grew on its own.
fn forked(
    version: RoomVersionId,
    left: impl FnOnce(&mut TestRoom),
    right: impl FnOnce(&mut TestRoom),
) -> (StateMap, [StateMap; 2]) {
    let base = || {
        let mut room = TestRoom::new(version.clone());
        room.member(1, 1, "join");
        room.member(2, 2, "join");
        let power = &room.events[&room.state[&key("m.room.power_levels", "")]];
        let mut content: serde_json::Value = serde_json::from_str(power.content.get()).unwrap();
        content["users"][user(1).as_str()] = json!(50);
        room.set(0, "m.room.power_levels", "", content);
        room
    };
    let (mut one, mut two) = (base(), base());
    left(&mut one);
    right(&mut two);
    let events = one.events.into_iter().chain(two.events).collect();
    let states = [one.state, two.state];
    (resolve(&rules(&version).unwrap(), &states, &events).unwrap(), states)
}

#[test]
fn the_later_of_two_equal_changes_wins() {
    for version in SUPPORTED {
        let (state, [left, right]) = forked(
            version,
            |room| drop(room.set(0, "m.room.name", "", json!({ "name": "left" }))),
            |room| {
                room.clock_ms += 1;
                room.set(1, "m.room.name", "", json!({ "name": "right" }));
            },
        );
        let name = key("m.room.name", "");
        assert_ne!(left[&name], right[&name]);
        assert_eq!(state[&name], right[&name]);
    }
}

#[test]
fn a_ban_beats_what_the_banned_did_meanwhile() {
    // In version 1 what only one side knows is in no conflict.
    for version in SUPPORTED.into_iter().filter(|version| *version != RoomVersionId::V1) {
        let (state, [left, right]) = forked(
            version,
            |room| drop(room.member(0, 1, "ban")),
            |room| {
                room.clock_ms += 5_000;
                room.set(1, "m.room.name", "", json!({ "name": "while it lasted" }));
                room.member(1, 1, "join");
            },
        );
        assert!(right.contains_key(&key("m.room.name", "")));
        assert!(!state.contains_key(&key("m.room.name", "")));
        assert_eq!(state[&key("m.room.member", user(1).as_str())], left[&key("m.room.member", user(1).as_str())]);
    }
}

#[test]
fn what_only_one_side_knows_is_kept() {
    for version in SUPPORTED {
        let (state, [left, right]) = forked(
            version,
            |room| drop(room.set(0, "m.room.name", "", json!({ "name": "left" }))),
            |room| {
                room.set(0, "m.room.topic", "", json!({ "topic": "right" }));
                room.member(3, 3, "join");
            },
        );
        assert_eq!(state[&key("m.room.name", "")], left[&key("m.room.name", "")]);
        for place in [key("m.room.topic", ""), key("m.room.member", user(3).as_str())] {
            assert_eq!(state[&place], right[&place]);
        }
    }
}

#[test]
fn nothing_resolves_to_nothing() {
    let rules = rules(&RoomVersionId::V12).unwrap();
    assert!(resolve(&rules, &[], &BTreeMap::new()).unwrap().is_empty());
}

#[test]
fn states_that_differ_in_nothing_deep_need_no_unconflicted_event() {
    for version in SUPPORTED {
        let mut base = TestRoom::new(version.clone());
        for n in 1..20 {
            base.member(n, n, "join");
        }
        let before = base.state.clone();
        let left = base.set(0, "m.room.name", "", json!({ "name": "left" }));
        let left_state = base.state.clone();
        base.state = before;
        base.set(0, "m.room.name", "", json!({ "name": "right" }));
        let needed: BTreeSet<_> = left.auth_events.iter().cloned().collect();
        let states = [left_state, base.state.clone()];
        // The two names cite the same events: no chain differs, so no membership of the others is asked for.
        let mut view: BTreeMap<OwnedEventId, Rc<Pdu>> = BTreeMap::new();
        while let Err(ResolveError::Missing(wanted)) = resolve(&base.rules, &states, &view) {
            load(&mut view, wanted, &base.events);
        }
        let others = view.values().filter(|event| {
            event.kind == TimelineEventType::RoomMember && event.sender != user(0) && !needed.contains(&event.event_id)
        });
        assert_eq!(others.count(), 0);
    }
}

#[test]
fn the_generator_can_merge_and_forge() {
    let steps = [
        Step { actor: 1, replica: 0, gap_ms: 0, action: Action::Ban(2) },
        Step { actor: 2, replica: 1, gap_ms: 0, action: Action::Topic },
        Step { actor: 3, replica: 2, gap_ms: 0, action: Action::Forge },
    ];
    let world = World::run(&RoomVersionId::V12, &steps);
    let healed: &[Replica] = &world.healed;
    assert!(healed.iter().all(|replica| replica.state == healed[0].state));
    assert!(healed[0].events.values().any(|event| event.rejected));
}
