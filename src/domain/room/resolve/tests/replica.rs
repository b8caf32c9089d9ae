//! Homeservers without network or storage: three that hold one room, act on their own and exchange what they have.
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Add,
    rc::Rc,
};

use proptest::prelude::*;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, RoomVersionId, UInt, events::StateEventType,
    room_version_rules::RoomVersionRules,
};
use serde_json::json;

use crate::domain::{
    event::{
        Pdu,
        draft::{Draft, Position},
    },
    room::{
        admit::{Verdict, admit, allowed_at},
        extremities::{Heads, advance, cite},
        resolve::{StateMap, resolve},
    },
    test_room::{START_MS, TestRoom, authorizing, hashes, lookup, user},
};

const REPLICAS: usize = 3;
/// Users who act; user 0 made the room.
const USERS: u8 = 5;

/// What somebody tries on the replica they use. What the replica does not allow is not sent, save `Forge`.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Message,
    Topic,
    Power {
        target: u8,
        level: u8,
    },
    JoinRule {
        open: bool,
    },
    Join,
    Leave,
    Invite(u8),
    Kick(u8),
    Ban(u8),
    /// A hostile server: sets the power levels in its user's favour whether it may or not.
    Forge,
    /// The replica receives what another has.
    Fetch(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    pub actor: u8,
    pub replica: usize,
    /// Time since the step before; often none, so that ties are broken by what comes after time.
    pub gap_ms: u64,
    pub action: Action,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let target = || 0..USERS;
    let action = prop_oneof![
        2 => Just(Action::Message),
        4 => Just(Action::Topic),
        4 => (target(), prop::sample::select(vec![0, 50, 60, 100])).prop_map(|(target, level)| Action::Power { target, level }),
        2 => any::<bool>().prop_map(|open| Action::JoinRule { open }),
        3 => Just(Action::Join),
        1 => Just(Action::Leave),
        1 => target().prop_map(Action::Invite),
        2 => target().prop_map(Action::Kick),
        4 => target().prop_map(Action::Ban),
        1 => Just(Action::Forge),
        5 => (0..REPLICAS).prop_map(Action::Fetch),
    ];
    let step = (0..USERS, 0..REPLICAS, prop::sample::select(vec![0, 0, 1, 1_000]), action)
        .prop_map(|(actor, replica, gap_ms, action)| Step { actor, replica, gap_ms, action });
    prop::collection::vec(step, 10..40)
}

/// What a run came to: the proof that it was worth running.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub accepted: usize,
    pub rejected: usize,
    pub soft_failed: usize,
    /// Times that states differing in some place were resolved.
    pub conflicts: usize,
    /// Events nobody sent because their own server did not allow them.
    pub refused_at_home: usize,
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            rejected: self.rejected + other.rejected,
            soft_failed: self.soft_failed + other.soft_failed,
            conflicts: self.conflicts + other.conflicts,
            refused_at_home: self.refused_at_home + other.refused_at_home,
        }
    }
}

#[derive(Clone)]
pub(super) struct Replica {
    rules: RoomVersionRules,
    pub events: BTreeMap<OwnedEventId, Rc<Pdu>>,
    pub states_after: BTreeMap<OwnedEventId, StateMap>,
    pub heads: Heads,
    /// The current state: that after all heads.
    pub state: StateMap,
    hidden: BTreeSet<OwnedEventId>,
    tally: Tally,
}

impl Replica {
    fn state_after_all<'a>(&mut self, ids: impl IntoIterator<Item = &'a OwnedEventId>) -> StateMap {
        let states: Vec<_> = ids.into_iter().map(|id| self.states_after[id].clone()).collect();
        let differ =
            |state: &StateMap| state.iter().any(|(key, id)| states[0].get(key).is_some_and(|other| other != id));
        self.tally.conflicts += usize::from(states.iter().skip(1).any(differ));
        resolve(&self.rules, &states, &self.events).expect("a replica holds the ancestry of all it holds")
    }

    /// Takes in an event whose ancestry it holds.
    fn ingest(&mut self, pdu: &Pdu) -> Verdict {
        let before = self.state_after_all(&pdu.prev_events);
        let cited: Vec<_> = pdu.auth_events.iter().map(|id| self.events[id].clone()).collect();
        let verdict =
            admit(pdu, &self.rules, &cited, &lookup(&before, &self.events), &lookup(&self.state, &self.events))
                .expect("a replica holds the ancestry of all it holds");
        let mut pdu = pdu.clone();
        pdu.rejected = matches!(verdict, Verdict::Rejected { .. });
        let mut after = before;
        after.extend(pdu.state_map_key().filter(|_| !pdu.rejected).map(|key| (key, pdu.event_id.clone())));
        let (id, pdu) = (pdu.event_id.clone(), Rc::new(pdu));
        self.states_after.insert(id.clone(), after);
        self.events.insert(id.clone(), pdu.clone());
        match verdict {
            Verdict::Accepted => {
                self.tally.accepted += 1;
                let prevs = |id: &ruma::EventId| self.hidden.contains(id).then(|| self.events[id].prev_events.clone());
                self.heads = advance(&self.heads, &pdu, &prevs);
                self.state = self.state_after_all(&self.heads.clone());
            }
            Verdict::SoftFailed { .. } => {
                self.tally.soft_failed += 1;
                self.hidden.insert(id);
            }
            Verdict::Rejected { .. } => {
                self.tally.rejected += 1;
                self.hidden.insert(id);
            }
        }
        verdict
    }

    /// Receives everything `other` has, in `order` where the graph leaves a choice.
    fn fetch(&mut self, other: &Self, order: impl Fn(&Pdu) -> u64) {
        let mut waiting: Vec<_> =
            other.events.values().filter(|event| !self.events.contains_key(&event.event_id)).collect();
        waiting.sort_by_key(|event| (order(event), event.event_id.clone()));
        while !waiting.is_empty() {
            let ready = waiting
                .iter()
                .position(|event| {
                    event.prev_events.iter().chain(&event.auth_events).all(|id| self.events.contains_key(id))
                })
                .expect("the graph has no cycle and no gap");
            let event = waiting.remove(ready);
            let mut received = (**event).clone();
            received.rejected = false;
            self.ingest(&received);
        }
    }
}

/// One room on three replicas, after a run of steps.
pub(super) struct World {
    pub rules: RoomVersionRules,
    /// A replica that has everything.
    pub union: Replica,
    /// The replicas once each has received everything, each in an order of its own.
    pub healed: Vec<Replica>,
    pub tally: Tally,
}

impl World {
    /// A room everybody but one is in and user 1 may run, then the steps. Each replica acts on what it has.
    pub fn run(version: &RoomVersionId, steps: &[Step]) -> Self {
        let (room, first) = shared_beginning(version);
        let mut replicas = vec![first; REPLICAS];
        let mut now_ms = room.clock_ms;
        for step in steps {
            now_ms += step.gap_ms;
            if let Action::Fetch(other) = step.action {
                let other = replicas[other].clone();
                replicas[step.replica].fetch(&other, |event| event.depth);
            } else {
                act(&room, &mut replicas[step.replica], step, now_ms);
            }
        }
        let mut union = replicas[0].clone();
        replicas[1..].iter().for_each(|replica| union.fetch(replica, |event| event.depth));
        let orders: [fn(&Pdu) -> u64; REPLICAS] =
            [|event| event.depth, |event| u64::from(event.event_id.as_bytes()[5]), |event| u64::MAX - event.depth];
        replicas.iter_mut().zip(orders).for_each(|(replica, order)| replica.fetch(&union, order));
        let tally = replicas.iter().fold(Tally::default(), |sum, replica| sum + replica.tally);
        Self { rules: room.rules, union, healed: replicas, tally }
    }
}

fn shared_beginning(version: &RoomVersionId) -> (TestRoom, Replica) {
    let mut room = TestRoom::new(version.clone());
    for n in 1..USERS - 1 {
        room.member(n, n, "join");
    }
    let draft = power_draft(&room, &room.state, &room.events, 0, 1, 100);
    let power = room.seal(draft);
    room.push(&power);
    let mut replica = Replica {
        rules: room.rules.clone(),
        events: BTreeMap::new(),
        states_after: BTreeMap::new(),
        heads: Heads::new(),
        state: StateMap::new(),
        hidden: BTreeSet::new(),
        tally: Tally::default(),
    };
    let mut in_order: Vec<_> = room.events.values().collect();
    in_order.sort_by_key(|event| event.depth);
    for event in in_order {
        assert_eq!(replica.ingest(event), Verdict::Accepted);
    }
    replica.tally = Tally::default();
    (room, replica)
}

fn act(room: &TestRoom, replica: &mut Replica, step: &Step, now_ms: u64) {
    let member = |target: u8, membership: &str| {
        room.draft(step.actor, "m.room.member", Some(user(target).as_str()), json!({ "membership": membership }))
    };
    let draft = match step.action {
        Action::Message => room.draft(step.actor, "m.room.message", None, json!({ "body": now_ms })),
        Action::Topic => room.draft(step.actor, "m.room.topic", Some(""), json!({ "topic": now_ms })),
        Action::Power { target, level } => {
            power_draft(room, &replica.state, &replica.events, step.actor, target, level)
        }
        Action::JoinRule { open } => {
            let rule = if open { "public" } else { "invite" };
            room.draft(step.actor, "m.room.join_rules", Some(""), json!({ "join_rule": rule }))
        }
        Action::Join => member(step.actor, "join"),
        Action::Leave => member(step.actor, "leave"),
        Action::Invite(target) => member(target, "invite"),
        Action::Kick(target) => member(target, "leave"),
        Action::Ban(target) => member(target, "ban"),
        Action::Forge => power_draft(room, &replica.state, &replica.events, step.actor, step.actor, 99),
        Action::Fetch(_) => unreachable!("fetching is not an event"),
    };
    let pdu = place(room, replica, draft, now_ms);
    let allowed = allowed_at(&pdu, &room.rules, &lookup(&replica.state, &replica.events)).is_ok();
    // Two equal drafts at one time and place are one event.
    if (allowed || matches!(step.action, Action::Forge)) && !replica.events.contains_key(&pdu.event_id) {
        replica.ingest(&pdu);
    } else {
        replica.tally.refused_at_home += 1;
    }
}

fn place(room: &TestRoom, replica: &Replica, draft: Draft, now_ms: u64) -> Rc<Pdu> {
    let heads: Vec<_> = replica.heads.iter().map(|id| (id.clone(), replica.events[id].depth)).collect();
    let (prev_events, depth) = cite(&heads);
    let auth_events = authorizing(&draft, &replica.state, &room.rules);
    let origin_server_ts = MilliSecondsSinceUnixEpoch(UInt::new(now_ms.max(START_MS)).unwrap());
    let hashes = hashes(prev_events.iter().chain(&auth_events), &replica.events, &room.rules);
    room.seal_at(draft, Position { prev_events, auth_events, hashes, depth, origin_server_ts })
}

/// The power levels as they are, with another level for `target`.
fn power_draft(
    room: &TestRoom,
    state: &StateMap,
    events: &BTreeMap<OwnedEventId, Rc<Pdu>>,
    actor: u8,
    target: u8,
    level: u8,
) -> Draft {
    let power = state.get(&(StateEventType::RoomPowerLevels, String::new()));
    let mut content: serde_json::Value =
        power.map_or(json!({ "users": {} }), |id| serde_json::from_str(events[id].content.get()).unwrap());
    content["users"][user(target).as_str()] = json!(level);
    room.draft(actor, "m.room.power_levels", Some(""), content)
}
