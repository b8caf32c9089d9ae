//! What must hold, whatever happened.
use std::collections::{BTreeMap, BTreeSet};

use futures::executor::block_on;
use ruma::EventId;
use serde_json::Value;
use warren::homeserver::inspect::InspectedRoom;

use super::{network::short, story::Story};

/// Each resident server's view of the room.
fn views(story: &mut Story) -> BTreeMap<usize, InspectedRoom> {
    let mut views = BTreeMap::new();
    for index in 0..story.world.servers.len() {
        if !story.world.is_up(index) {
            continue;
        }
        let homeserver = story.world.homeserver(index);
        let room = block_on(homeserver.inspect_room(&story.room_id)).expect("the store reads");
        views.extend(room.filter(|room| room.resident).map(|room| (index, room)));
    }
    views
}

/// The servers that are in the room.
pub fn present(story: &mut Story) -> BTreeSet<usize> {
    views(story).into_keys().collect()
}

/// Whether two servers in the room see its state differently now.
pub fn disagree(story: &mut Story) -> bool {
    let views = views(story);
    views.values().zip(views.values().skip(1)).any(|(a, b)| a.state != b.state)
}

pub fn check(story: &mut Story) {
    same_room_everywhere(story);
    same_state_before_every_event(story);
    nothing_sent_is_lost(story);
    nothing_leaves_the_room(story);
    everybody_knows_who_read(story);
}

/// After peace everybody in the room sees the same room, and nothing waits.
fn same_room_everywhere(story: &mut Story) {
    let views = views(story);
    assert!(!views.is_empty(), "somebody is still in the room");
    let (first, expected) = views.iter().next().expect("not empty");
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
        assert_eq!(expected.heads, view.heads, "{who} have different heads");
        for event_id in &view.staged {
            // An event whose ancestors died with the server that made them can be judged by nobody.
            let placed = views.keys().any(|other| {
                let event = block_on(story.world.homeserver(*other).inspect_event(event_id)).expect("the store reads");
                event.is_some_and(|event| event.state_before.is_some())
            });
            assert!(!placed, "server {index} still waits for ancestors of {event_id}, which others have");
        }
    }
    for index in views.keys() {
        let homeserver = story.world.homeserver(*index);
        let waiting: Vec<_> = homeserver
            .outbox()
            .into_iter()
            .filter(|status| story.world.servers.iter().any(|server| server.name == status.destination))
            .collect();
        assert!(waiting.is_empty(), "server {index} still has something to send: {waiting:?}");
    }
}

/// Says what each server thinks of an event they disagree about.
fn explain(story: &Story, event_id: &EventId) {
    for index in 0..story.world.servers.len() {
        match block_on(story.world.homeserver(index).inspect_event(event_id)).expect("the store reads") {
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

/// Verdicts and the state before an event do not depend on who judges it or in which order it heard of things.
fn same_state_before_every_event(story: &mut Story) {
    for sent in story.sent.clone() {
        let mut seen = None;
        for index in 0..story.world.servers.len() {
            let homeserver = story.world.homeserver(index);
            let Some(event) = block_on(homeserver.inspect_event(&sent.event_id)).expect("the store reads") else {
                continue;
            };
            let Some(state_before) = event.state_before else { continue };
            let rejected = event.verdict == warren::storage::tables::StoredVerdict::Rejected;
            match &seen {
                None => seen = Some((index, state_before, rejected)),
                Some((other, state, verdict)) => {
                    let what = format!("{} at servers {other} and {index}", sent.event_id);
                    assert_eq!(*state, state_before, "different state before {what}");
                    assert_eq!(*verdict, rejected, "different verdicts on {what}");
                }
            }
        }
    }
}

/// A message that was acknowledged is stored by every server that was in the room all the time. What only a server had
/// that then lost power may be gone, but not from some and not from others.
fn nothing_sent_is_lost(story: &mut Story) {
    let views = views(story);
    for sent in story.sent.clone() {
        let mut has = BTreeMap::new();
        for index in views.keys().copied().filter(|index| story.faithful[*index]) {
            let homeserver = story.world.homeserver(index);
            let event = block_on(homeserver.inspect_event(&sent.event_id)).expect("the store reads");
            has.insert(index, event.is_some_and(|event| event.state_before.is_some()));
        }
        let may_be_gone = story.world.servers[sent.server].lost_power || !story.faithful[sent.server];
        let gone_everywhere = has.values().all(|has| !has);
        assert!(
            has.values().all(|has| *has) || (may_be_gone && gone_everywhere),
            "message {} of server {} is stored like this: {has:?}",
            sent.event_id,
            sent.server,
        );
    }
}

/// Events go to servers of people who are or were in the room or invited, which here is everybody but strangers: no
/// request may carry an event of the room to a server none of whose users ever asked to join.
fn nothing_leaves_the_room(story: &mut Story) {
    let known: Vec<_> = story.world.servers.iter().map(|server| server.name.clone()).collect();
    for (from, to, path, _) in story.world.network.carried() {
        assert!(known.contains(&to), "{} sent {path} to a stranger", short(&from));
    }
}

/// The end of the story in one line.
pub fn fingerprint(story: &mut Story) -> String {
    let views = views(story);
    format!("{} in the room, {:?}", views.len(), views.values().next().map(|view| &view.state))
}

/// What people read while apart, all know once they have met.
fn everybody_knows_who_read(story: &mut Story) {
    let Some(last) = story.last_read.clone() else { return };
    let present: Vec<usize> = views(story).keys().copied().collect();
    for index in &present {
        let (status, body) = story.world.ask(*index, "GET", "/_matrix/client/v3/sync", Value::Null).expect("it is up");
        assert_eq!(status, 200, "{body}");
        let room = &body["rooms"]["join"][story.room_id.as_str()];
        let ephemeral = room["ephemeral"]["events"].as_array().cloned().unwrap_or_default();
        let receipts = ephemeral.iter().find(|event| event["type"] == "m.receipt");
        for reader in &present {
            let user = story.world.servers[*reader].user.as_str();
            let read = receipts.is_some_and(|event| event["content"][last.as_str()]["m.read"][user].is_object());
            assert!(read, "server {index} does not know that {user} read {last}: {receipts:?}");
        }
    }
}
