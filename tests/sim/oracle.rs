//! What must hold, whatever happened.
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use futures::executor::block_on;
use ruma::{EventId, OwnedEventId, ServerName};
use serde_json::{Value, json};
use warren::{
    domain::{
        event::check::{event_id_of, parse_object},
        room_version::rules,
    },
    homeserver::inspect::{InspectedEvent, InspectedRoom, InspectedState},
    storage::tables::StoredVerdict,
};

use super::{
    beliefs,
    network::{Carried, short},
    story::Story,
};

/// Requests of one server in an hour while something waits for servers that are gone: three at each of up to twelve failures.
const REQUESTS_ABOUT_GHOSTS_MAX: usize = 36;

/// Requests of one server in an hour to somebody who says that there is more, and does not give it.
const REQUESTS_WITH_A_LIAR_MAX: usize = 36;

/// Each resident server's view of the room.
pub fn views(story: &mut Story) -> BTreeMap<usize, InspectedRoom> {
    let mut views = BTreeMap::new();
    for index in (0..story.plan.servers).filter(|index| story.world.is_up(*index)) {
        let homeserver = story.world.homeserver(index);
        let room = block_on(homeserver.inspect_room(&story.room_id)).expect("the store reads");
        views.extend(room.filter(|room| room.resident).map(|room| (index, room)));
    }
    views
}

/// The servers whose first user is in the room, as they themselves know it.
pub fn present(story: &mut Story) -> BTreeSet<usize> {
    let views = views(story);
    let is_in = |(index, view): (usize, InspectedRoom)| {
        let user = &story.world.servers[index].users[0].id;
        (membership(story, index, &view.state, user.as_str()).as_deref() == Some("join")).then_some(index)
    };
    views.into_iter().filter_map(is_in).collect()
}

/// What a server's state says of a user.
fn membership(story: &Story, index: usize, state: &InspectedState, user: &str) -> Option<String> {
    let event_id = state.get(&("m.room.member".to_owned(), user.to_owned()))?;
    let event = event_at(story, index, event_id)?;
    let event: Value = serde_json::from_str(&event.json).expect("events are JSON");
    event["content"]["membership"].as_str().map(ToOwned::to_owned)
}

pub fn event_at(story: &Story, index: usize, event_id: &EventId) -> Option<InspectedEvent> {
    block_on(story.world.homeserver(index).inspect_event(event_id)).expect("the store reads")
}

/// What must hold at every moment; returns whether two servers in the room see its state differently now.
pub fn watch(story: &mut Story) -> bool {
    let views = views(story);
    let mut by_heads: BTreeMap<&BTreeSet<_>, (usize, &InspectedRoom)> = BTreeMap::new();
    for (index, view) in &views {
        match by_heads.entry(&view.heads) {
            Entry::Vacant(first) => drop(first.insert((*index, view))),
            // What a liar says of the state before an event whose past only it has, it can say differently to each.
            Entry::Occupied(_) if story.liar.is_some() => {}
            Entry::Occupied(first) => {
                let (other, expected) = first.get();
                assert_eq!(expected.state, view.state, "servers {other} and {index} have equal heads, and other state");
            }
        }
    }
    views.values().zip(views.values().skip(1)).any(|(a, b)| a.state != b.state)
}

/// How often events were judged how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verdicts {
    pub accepted: usize,
    pub soft_failed: usize,
    pub rejected: usize,
}

pub fn verdicts(story: &mut Story) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for index in views(story).into_keys() {
        for verdict in judged(story, index).into_values() {
            match verdict {
                StoredVerdict::Accepted => verdicts.accepted += 1,
                StoredVerdict::SoftFailed => verdicts.soft_failed += 1,
                StoredVerdict::Rejected => verdicts.rejected += 1,
            }
        }
    }
    verdicts
}

/// Every event of the room that a server has and knows the state before of.
pub fn judged(story: &Story, index: usize) -> BTreeMap<OwnedEventId, StoredVerdict> {
    block_on(story.world.homeserver(index).inspect_verdicts(&story.room_id)).expect("the store reads")
}

pub fn check(story: &mut Story) {
    beliefs::check(story);
    same_room_everywhere(story);
    if story.liar.is_none() {
        same_state_before_every_event(story);
    }
    nothing_sent_is_lost(story);
    nothing_leaves_the_room(story);
    everybody_knows_who_read(story);
}

/// After peace everybody in the room sees the same room, and nothing waits.
fn same_room_everywhere(story: &mut Story) {
    let views = views(story);
    // Where all have left there is nothing to agree on.
    let Some((first, expected)) = views.iter().next() else { return };
    for (index, view) in &views {
        let who = format!("servers {first} and {index}");
        for event_id in expected.heads.symmetric_difference(&view.heads) {
            explain(story, event_id);
        }
        for (key, event) in &expected.state {
            if view.state.get(key) != Some(event) {
                explain(story, event);
                view.state.get(key).inspect(|event_id| explain(story, event_id));
            }
            assert_eq!(Some(event), view.state.get(key), "{who} disagree about {key:?}");
        }
        assert_eq!(expected.state, view.state, "{who} see different state");
        // An event that came too late for one is no head there, and stays one where it came in time.
        for (one, other, lacks) in [(expected, view, *index), (view, expected, *first)] {
            for head in one.heads.difference(&other.heads) {
                let verdict = event_at(story, lacks, head).map(|event| event.verdict);
                assert_eq!(verdict, Some(StoredVerdict::SoftFailed), "{who} have different heads");
            }
        }
        for event_id in &view.staged {
            // An event whose ancestors died with the server that made them can be judged by nobody.
            let placed = views.keys().any(|other| {
                let event = block_on(story.world.homeserver(*other).inspect_event(event_id)).expect("the store reads");
                event.is_some_and(|event| event.state_before.is_some() && is_honest(story, &event))
            });
            assert!(!placed, "server {index} still waits for ancestors of {event_id}, which others have");
        }
    }
    for index in views.keys() {
        let homeserver = story.world.homeserver(*index);
        let waiting: Vec<_> = homeserver
            .outbox()
            .into_iter()
            .filter(|status| story.world.servers[..story.plan.servers].iter().any(|s| s.name == status.destination))
            .collect();
        assert!(waiting.is_empty(), "server {index} still has something to send: {waiting:?}");
    }
}

/// Whether an honest server made the event.
fn is_honest(story: &Story, event: &InspectedEvent) -> bool {
    let event: Value = serde_json::from_str(&event.json).expect("events are JSON");
    let sender = event["sender"].as_str().expect("somebody made it");
    let liar = story.liar.as_ref().map(|liar| &story.world.servers[liar.server].name);
    liar.is_none_or(|liar| !sender.ends_with(liar.as_str()))
}

/// Says what each server thinks of an event they disagree about.
fn explain(story: &Story, event_id: &EventId) {
    for index in 0..story.plan.servers {
        match event_at(story, index, event_id) {
            Some(event) => {
                let state: Vec<_> = event
                    .state_before
                    .into_iter()
                    .flatten()
                    .map(|((kind, key), id)| format!("{kind}/{} {}", &key.get(..6).unwrap_or(&key), &id.as_str()[..6]))
                    .collect();
                eprintln!("{event_id} at {index}: {:?}, {}\n   at {state:?}", event.verdict, event.json);
            }
            None => eprintln!("{event_id} at {index}: unknown"),
        }
    }
}

/// Whether an event is rejected, and the state before it, do not depend on who judges it or in which order it heard of
/// things.
fn same_state_before_every_event(story: &mut Story) {
    let mut seen: BTreeMap<OwnedEventId, (usize, InspectedState, bool)> = BTreeMap::new();
    for index in 0..story.plan.servers {
        for event_id in judged(story, index).into_keys() {
            let Some(event) = event_at(story, index, &event_id) else { continue };
            let Some(state_before) = event.state_before else { continue };
            let rejected = event.verdict == StoredVerdict::Rejected;
            match seen.get(&event_id) {
                None => drop(seen.insert(event_id, (index, state_before, rejected))),
                Some((other, state, verdict)) => {
                    let what = format!("{event_id} at servers {other} and {index}");
                    assert_eq!(*state, state_before, "different state before {what}");
                    assert_eq!(*verdict, rejected, "different verdicts on {what}");
                }
            }
        }
    }
}

/// A message that was acknowledged is stored by every server that was in the room all the time. What only a server had
/// that then lost power may be gone, but not from some and not from others; unless these soft-failed it, for nobody passes
/// such an event on but who sent it.
pub fn nothing_sent_is_lost(story: &mut Story) {
    let views = views(story);
    for sent in story.sent.clone() {
        let mut has = BTreeMap::new();
        for index in views.keys().copied().filter(|index| story.is_faithful(*index)) {
            let homeserver = story.world.homeserver(index);
            let event = block_on(homeserver.inspect_event(&sent.event_id)).expect("the store reads");
            has.insert(index, event.filter(|event| event.state_before.is_some()).map(|event| event.verdict));
        }
        let refused = has.values().flatten().any(|verdict| *verdict == StoredVerdict::Rejected);
        assert!(!refused, "message {} of server {} is refused by some: {has:?}", sent.event_id, sent.server);
        let may_be_gone = story.world.servers[sent.server].lost_power || !story.is_faithful(sent.server);
        let gone_everywhere = has.values().flatten().all(|verdict| *verdict == StoredVerdict::SoftFailed);
        assert!(
            has.values().all(Option::is_some) || (may_be_gone && gone_everywhere),
            "message {} of server {} is stored like this: {has:?}",
            sent.event_id,
            sent.server,
        );
    }
}

/// A server that was never in the room hears nothing of it; and what a server says of its own in the room goes to servers
/// with somebody in it then, or whom it is about.
fn nothing_leaves_the_room(story: &mut Story) {
    let stranger = &story.world.servers[story.stranger].name;
    let room = story.room_id.as_str().trim_start_matches('!').split(':').next().expect("a room id");
    for Carried { from, to, path, body, .. } in &story.carried {
        let about_it = path.contains(room) || body.windows(room.len()).any(|part| part == room.as_bytes());
        assert!(to != stranger || !about_it, "{} sent {path} to a stranger", short(from));
        if !about_it || !path.contains("/send/") {
            continue;
        }
        let transaction: Value = serde_json::from_slice(body).expect("a transaction is JSON");
        let pdus = transaction["pdus"].as_array().cloned().unwrap_or_default();
        pdus.iter().for_each(|pdu| stays_in_the_room(story, from, to, pdu));
    }
}

/// Servers that have compared what they know have nothing to say to each other. What waits for servers that are gone is
/// tried now and then, and others are asked about those.
pub fn stays_silent(story: &Story, carried: &[Carried]) {
    let allowed = if story.plan.ghosts > 0 { story.plan.servers * REQUESTS_ABOUT_GHOSTS_MAX } else { 0 };
    let liar = story.liar.as_ref().map(|liar| &story.world.servers[liar.server].name);
    let is_with_liar = |carried: &&Carried| liar.is_some_and(|liar| carried.from == *liar || carried.to == *liar);
    let (with_liar, carried): (Vec<_>, Vec<_>) = carried.iter().partition(is_with_liar);
    let first: Vec<_> = carried.iter().take(3).collect();
    assert!(carried.len() <= allowed, "{} requests in an hour without events: {first:?}", carried.len());
    let first: Vec<_> = with_liar.iter().take(3).collect();
    let with_each = REQUESTS_WITH_A_LIAR_MAX * story.plan.servers;
    assert!(with_liar.len() <= with_each, "{} requests in an hour with a liar: {first:?}", with_liar.len());
}

fn stays_in_the_room(story: &Story, from: &ServerName, to: &ServerName, pdu: &Value) {
    let Some(index) = story.world.servers[..story.plan.servers].iter().position(|server| server.name == from) else {
        return;
    };
    let is_of = |user: &Value, server: &ServerName| {
        user.as_str().is_some_and(|user| user.strip_suffix(server.as_str()).is_some_and(|user| user.ends_with(':')))
    };
    if pdu["room_id"] != story.room_id.as_str() || !is_of(&pdu["sender"], from) || is_of(&pdu["state_key"], to) {
        return;
    }
    // What it lost with its power it cannot be asked about.
    let Some(state) = event_at(story, index, &id_of(story, pdu)).and_then(|event| event.state_before) else { return };
    let members = state.keys().filter(|(kind, user)| kind == "m.room.member" && is_of(&json!(user), to));
    let mut memberships = members.map(|(_, user)| membership(story, index, &state, user));
    let somebody = memberships.any(|membership| membership.as_deref() == Some("join"));
    assert!(somebody, "{} sent {} what nobody there may know: {pdu}", short(from), short(to));
}

fn id_of(story: &Story, pdu: &Value) -> OwnedEventId {
    let version = story.plan.room_version.as_str().try_into().expect("a room version");
    let rules = rules(&version).expect("it is supported");
    let raw = serde_json::value::to_raw_value(pdu).expect("JSON serializes");
    let object = parse_object(&raw, &rules).expect("it is an event");
    event_id_of(&object, &rules).expect("it has an id")
}

/// The end of the story in one line.
pub fn fingerprint(story: &mut Story) -> String {
    let views = views(story);
    format!("{} in the room, {:?}", views.len(), views.values().next().map(|view| &view.state))
}

/// What people read while apart, all know once they have met.
fn everybody_knows_who_read(story: &mut Story) {
    let Some(last) = story.last_read.clone() else { return };
    let present = present(story);
    for index in &present {
        let (status, body) = story.world.ask(*index, "GET", "/_matrix/client/v3/sync", Value::Null).expect("it is up");
        assert_eq!(status, 200, "{body}");
        let room = &body["rooms"]["join"][story.room_id.as_str()];
        let ephemeral = room["ephemeral"]["events"].as_array().cloned().unwrap_or_default();
        let receipts = ephemeral.iter().find(|event| event["type"] == "m.receipt");
        for reader in &present {
            let user = story.world.servers[*reader].users[0].id.as_str();
            let read = receipts.is_some_and(|event| event["content"][last.as_str()]["m.read"][user].is_object());
            assert!(read, "server {index} does not know that {user} read {last}: {receipts:?}");
        }
    }
}
