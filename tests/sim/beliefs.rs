//! What no honest server may come to believe, whatever another one tells it.
use std::rc::Rc;

use ruma::{OwnedEventId, UserId};
use serde_json::value::RawValue as RawJsonValue;
use warren::{
    domain::{
        event::{
            Pdu,
            check::{check_received, self_certified_keys},
        },
        room::admit::{Verdict, admit_by_auth_events},
        room_version::rules,
    },
    homeserver::{inspect::InspectedRoom, rooms::ingest::STAGED_PDUS_PER_ROOM_MAX},
    storage::tables::StoredVerdict,
};

use super::{
    oracle::{event_at, judged, views},
    story::Story,
};

pub fn check(story: &mut Story) {
    for (index, view) in views(story) {
        nobody_is_misquoted(story, index);
        its_state_is_allowed(story, index, &view);
        assert!(view.staged.len() <= STAGED_PDUS_PER_ROOM_MAX, "server {index} keeps all that it is told");
    }
}

/// What a server holds for the word of an honest one, that one said, unless it has lost it since.
fn nobody_is_misquoted(story: &Story, index: usize) {
    for event_id in judged(story, index).into_keys() {
        let event = pdu(story, index, &event_id);
        let Some(speaker) = server_of(story, &event.sender) else { continue };
        let said = story.world.servers[speaker].lost_power || event_at(story, speaker, &event_id).is_some();
        assert!(said, "server {index} believes that {speaker} said {event_id}: {}", event.json());
    }
}

/// Every event of the state is of the room and signed, and what it cites allows it.
fn its_state_is_allowed(story: &Story, index: usize, view: &InspectedRoom) {
    let version = story.plan.room_version.as_str().try_into().expect("a room version");
    let rules = rules(&version).expect("it is supported");
    let create = view.state.get(&("m.room.create".to_owned(), String::new())).expect("every room has one");
    let create = Rc::new(pdu(story, index, create));
    for (place, event_id) in &view.state {
        let what = format!("{place:?} of server {index}, which is {event_id},");
        let event = event_at(story, index, event_id).unwrap_or_else(|| panic!("{what} is not there"));
        assert_ne!(event.verdict, StoredVerdict::Rejected, "{what} was refused");
        let raw = RawJsonValue::from_string(event.json).expect("events are JSON");
        let checked = check_received(&raw, &story.room_id, &rules, &self_certified_keys);
        let event = checked.unwrap_or_else(|error| panic!("{what} is none: {error}")).pdu;
        let cited: Vec<_> = event.auth_events.iter().map(|id| Rc::new(pdu(story, index, id))).collect();
        let verdict = admit_by_auth_events(&event, &rules, &cited, Some(create.clone()));
        assert_eq!(verdict.expect("what it cites is there"), Verdict::Accepted, "{what} is not allowed");
    }
}

fn pdu(story: &Story, index: usize, event_id: &OwnedEventId) -> Pdu {
    let version = story.plan.room_version.as_str().try_into().expect("a room version");
    let rules = rules(&version).expect("it is supported");
    let event = event_at(story, index, event_id).unwrap_or_else(|| panic!("server {index} lacks {event_id}"));
    let mut pdu = Pdu::from_canonical(event_id.clone(), event.json, &rules).expect("it is an event");
    pdu.rejected = event.verdict == StoredVerdict::Rejected;
    pdu
}

/// The honest server that a user is of.
fn server_of(story: &Story, user: &UserId) -> Option<usize> {
    story.world.servers[..story.plan.servers].iter().position(|server| server.name == user.server_name())
}
