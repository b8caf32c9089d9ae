//! A room of many members and events: taken in from its server, told to one that joins it, and its state resolved after
//! it forked ten ways.
use std::{collections::BTreeMap, rc::Rc, time::Instant};

use bytes::Bytes;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId, UInt, events::TimelineEventType,
    room_version_rules::RoomVersionRules,
};
use serde_json::{Value, json};
use warren::{
    api::Origin,
    domain::{
        event::{
            Pdu,
            draft::{Draft, Position, seal},
        },
        identity::{DEFAULT_SUFFIX, Identity},
        outbox::TRANSACTION_PDUS_MAX,
        room::resolve::{StateMap, resolve},
        room_version, signed_request,
    },
};

use super::{
    figures::Figures,
    memory::resident_bytes,
    servers::{Server, Servers, json_of},
};

/// Servers whose users are in the room.
const HOMES: usize = 100;
/// Branches of the fork, and what happens on each: power levels, a topic, and so many joins and bans of others' members.
const BRANCHES: usize = 10;
const CHANGES_PER_BRANCH: usize = 20;
const START_MS: u64 = 1_700_000_000_000;

/// A room as the servers in it know it, and the next event of it.
struct Room {
    id: OwnedRoomId,
    rules: RoomVersionRules,
    homes: Rc<[Identity]>,
    state: StateMap,
    events: BTreeMap<OwnedEventId, Rc<Pdu>>,
    head: OwnedEventId,
    depth: u64,
    clock_ms: u64,
}

pub fn run(members: usize, events: usize, figures: &mut Figures) {
    let mut servers = Servers::default();
    let host = servers.start();
    let room_id = servers.create_room(&host);
    let mut room = Room::of(&mut servers, &host, &room_id);
    fill(&mut servers, &host, &mut room, members, events, figures);
    figures.add("large_stored_per_event_bytes", host.disk.bytes_stored() as f64 / events as f64);
    join(&mut servers, &host, &room_id, members, figures);
    fork(&room, figures);
}

/// Members join and speak, as transactions tell the server.
fn fill(servers: &mut Servers, host: &Server, room: &mut Room, members: usize, events: usize, figures: &mut Figures) {
    let mut number = 0;
    while number < events {
        let count = TRANSACTION_PDUS_MAX.min(events - number);
        let pdus: Vec<Rc<Pdu>> = (number..number + count)
            .map(|number| if number < members { room.joined(number) } else { room.said(number % members, number) })
            .collect();
        let kind = if number < members { "large_ingest_join_us" } else { "large_ingest_message_us" };
        number += count;
        let request = transaction(host, &room.homes[0], number, &pdus);
        let origin = Origin::Peer(room.homes[0].public_key());
        let answer = json_of(figures.time(kind, count, || servers.run(host, request, origin)));
        let taken = answer["pdus"].as_object().expect("an answer per event");
        assert!(taken.len() == count && taken.values().all(|outcome| outcome["error"].is_null()), "{answer}");
    }
}

/// Another server joins: what both do, and what it keeps afterwards.
fn join(servers: &mut Servers, host: &Server, room: &str, members: usize, figures: &mut Figures) {
    let newcomer = servers.start();
    let via = host.homeserver.server_name();
    let (before, started) = (resident_bytes(), Instant::now());
    servers.client(&newcomer, "POST", &format!("/_matrix/client/v3/join/{room}?via={via}"), json!({}));
    figures.add("large_join_ms", started.elapsed().as_secs_f64() * 1e3);
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        figures.add("large_join_rss_bytes", after - before);
    }
    figures.add("large_join_stored_bytes", newcomer.disk.bytes_stored() as f64);
    let counted =
        servers.client(&newcomer, "GET", &format!("/_matrix/client/v3/rooms/{room}/joined_members"), Value::Null);
    assert_eq!(counted["joined"].as_object().map(serde_json::Map::len), Some(members + 2), "everybody is in there");
}

/// The room forks; its state is resolved from the ends.
fn fork(room: &Room, figures: &mut Figures) {
    let mut events = room.events.clone();
    let states: Vec<StateMap> = (0..BRANCHES)
        .map(|branch| {
            let mut side = room.branch(branch);
            events.append(&mut side.events);
            side.state
        })
        .collect();
    for _ in 0..BRANCHES {
        let started = Instant::now();
        let resolved = resolve(&room.rules, &states, &events).expect("everything is at hand");
        figures.add("large_resolve_ms", started.elapsed().as_secs_f64() * 1e3);
        assert!(resolved.len() >= room.state.len());
    }
}

fn transaction(host: &Server, origin: &Identity, number: usize, pdus: &[Rc<Pdu>]) -> http::Request<Bytes> {
    let pdus: Vec<_> = pdus.iter().map(|pdu| pdu.raw()).collect();
    let body = json!({ "origin": origin.server_name(), "origin_server_ts": START_MS, "pdus": pdus });
    let path = format!("/_matrix/federation/v1/send/{number}");
    let mut request = http::Request::put(path).body(Bytes::from(body.to_string())).expect("a request");
    let signature = signed_request::sign(&request, origin, host.homeserver.server_name()).expect("it can be signed");
    request.headers_mut().insert("authorization", http::HeaderValue::from(&signature));
    request
}

impl Room {
    /// A room that the server has just made.
    fn of(servers: &mut Servers, host: &Server, id: &str) -> Self {
        let homes = (0..HOMES).map(|home| {
            let mut seed = [9; 32];
            seed[..8].copy_from_slice(&(home as u64).to_le_bytes());
            Identity::from_seed(seed, DEFAULT_SUFFIX).expect("a name")
        });
        let rules = room_version::rules(&RoomVersionId::V12).expect("the default version is supported");
        let (inspected, events) = servers.inspect(host, id);
        let parse = |(id, json): (OwnedEventId, String)| {
            let pdu = Pdu::from_canonical(id.clone(), json, &rules).expect("it is stored");
            (id, Rc::new(pdu))
        };
        let events: BTreeMap<_, _> = events.into_iter().map(parse).collect();
        let head = inspected.heads.into_iter().next().expect("a room has a head");
        Self {
            id: id.try_into().expect("a room id"),
            homes: homes.collect(),
            state: inspected.state.into_iter().map(|((kind, key), id)| ((kind.into(), key), id)).collect(),
            depth: events[&head].depth,
            events,
            rules,
            head,
            clock_ms: START_MS,
        }
    }

    fn user(&self, member: usize) -> OwnedUserId {
        format!("@member{member}:{}", self.homes[member % HOMES].server_name()).try_into().expect("a user id")
    }

    fn joined(&mut self, member: usize) -> Rc<Pdu> {
        let user = self.user(member);
        self.add(
            member,
            "m.room.member",
            Some(user.to_string()),
            json!({ "membership": "join", "displayname": "Member" }),
        )
    }

    fn said(&mut self, member: usize, number: usize) -> Rc<Pdu> {
        let text = format!("Message {number}: the quick brown fox jumps over the lazy dog, and the dog sleeps on.");
        self.add(member, "m.room.message", None, json!({ "msgtype": "m.text", "body": text }))
    }

    fn add(&mut self, member: usize, kind: &str, state_key: Option<String>, content: Value) -> Rc<Pdu> {
        let sender = self.user(member);
        let content = serde_json::from_value(content).expect("canonical JSON");
        let draft = Draft {
            room_id: Some(self.id.clone()),
            sender: sender.clone(),
            kind: TimelineEventType::from(kind),
            state_key,
            content,
            redacts: None,
        };
        let types = warren::domain::event::draft::auth_types(
            &draft.kind,
            &sender,
            draft.state_key.as_deref(),
            &draft.content,
            &self.rules.authorization,
        );
        let auth_events =
            types.expect("it is well formed").iter().filter_map(|key| self.state.get(key).cloned()).collect();
        self.clock_ms += 1;
        self.depth += 1;
        let position = Position {
            prev_events: vec![self.head.clone()],
            auth_events,
            hashes: BTreeMap::new(),
            depth: self.depth,
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::try_from(self.clock_ms).expect("a time")),
        };
        let pdu = seal(draft, position, &self.homes[member % HOMES], &self.rules).expect("it can be sealed");
        let pdu = Rc::new(pdu);
        self.head = pdu.event_id.clone();
        if let Some(key) = pdu.state_map_key() {
            self.state.insert(key, pdu.event_id.clone());
            self.events.insert(pdu.event_id.clone(), pdu.clone());
        }
        pdu
    }

    /// The room as it goes on without the other branches: members change their names, and some leave.
    fn branch(&self, branch: usize) -> Self {
        let mut side = Self {
            id: self.id.clone(),
            rules: self.rules.clone(),
            homes: self.homes.clone(),
            state: self.state.clone(),
            events: BTreeMap::new(),
            head: self.head.clone(),
            depth: self.depth,
            clock_ms: self.clock_ms + branch as u64,
        };
        for change in 0..CHANGES_PER_BRANCH {
            // Neighbouring branches change some of the same memberships.
            let member = branch * CHANGES_PER_BRANCH / 2 + change;
            let user = side.user(member).to_string();
            let content = match change % 4 {
                0 => json!({ "membership": "leave" }),
                _ => json!({ "membership": "join", "displayname": format!("Member of branch {branch}") }),
            };
            side.add(member, "m.room.member", Some(user), content);
        }
        side
    }
}
