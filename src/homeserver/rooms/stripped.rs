//! What other servers tell of a room that we are not in, for clients of ours who are invited to it or knock on it
//! (client-server API, "Stripped state").
use ruma::{
    OwnedUserId, RoomId, api::federation::membership::RawStrippedState, events::TimelineEventType,
    room_version_rules::RoomVersionRules,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::domain::event::check::{DropReason, check_received, self_certified_keys};

/// The most events that may come with an invite or knock to tell of the room, and bytes of all of them.
pub const STRIPPED_STATE_EVENTS_MAX: usize = 100;
pub const STRIPPED_STATE_MAX_BYTES: usize = 256 * 1024;

#[derive(Debug, Error)]
pub enum StrippedError {
    #[error("it comes with too much state")]
    TooMany,
    #[error("the state it comes with is too large")]
    TooLarge,
    #[error("its state has a malformed event: {0}")]
    Malformed(String),
    #[error(transparent)]
    Dropped(#[from] DropReason),
    #[error("it does not show the room's create event")]
    NoCreate,
}

/// All that is kept of an event nobody signed.
#[derive(Serialize, Deserialize)]
struct StrippedEvent {
    #[serde(rename = "type")]
    kind: String,
    state_key: String,
    sender: OwnedUserId,
    content: serde_json::Map<String, Value>,
}

/// Every event, stripped; one that is malformed spoils them all. Whole events are checked; stripped ones (older servers)
/// are not checkable and only bounded. A room named after its create event cannot be told of without showing it
/// (server-server API, "Inviting to a room").
pub fn all(
    events: Vec<RawStrippedState>,
    room_id: &RoomId,
    rules: &RoomVersionRules,
) -> Result<Vec<Value>, StrippedError> {
    if events.len() > STRIPPED_STATE_EVENTS_MAX {
        return Err(StrippedError::TooMany);
    }
    let mut stripped = Vec::new();
    let mut bytes = 0;
    let mut has_create = false;
    for event in events {
        bytes += size(&event);
        if bytes > STRIPPED_STATE_MAX_BYTES {
            return Err(StrippedError::TooLarge);
        }
        has_create |= is_create(&event);
        stripped.extend(strip(event, room_id, rules)?);
    }
    if rules.authorization.room_create_event_id_as_room_id && !has_create {
        return Err(StrippedError::NoCreate);
    }
    Ok(stripped)
}

/// Those of the events that are what they should be, as far as the limits go: for an answer to what cannot be undone.
pub fn valid(events: Vec<RawStrippedState>, room_id: &RoomId, rules: &RoomVersionRules) -> Vec<Value> {
    let mut bytes = 0;
    let within = events.into_iter().take(STRIPPED_STATE_EVENTS_MAX).take_while(|event| {
        bytes += size(event);
        bytes <= STRIPPED_STATE_MAX_BYTES
    });
    within.filter_map(|event| strip(event, room_id, rules).ok().flatten()).collect()
}

fn size(event: &RawStrippedState) -> usize {
    match event {
        RawStrippedState::Pdu(raw) => raw.get().len(),
        #[expect(deprecated, reason = "servers before Matrix 1.16 send it")]
        RawStrippedState::Stripped(raw) => raw.json().get().len(),
        _ => 0,
    }
}

fn is_create(event: &RawStrippedState) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: TimelineEventType,
    }
    let RawStrippedState::Pdu(raw) = event else { return false };
    serde_json::from_str::<Kind>(raw.get()).is_ok_and(|event| event.kind == TimelineEventType::RoomCreate)
}

fn strip(event: RawStrippedState, room_id: &RoomId, rules: &RoomVersionRules) -> Result<Option<Value>, StrippedError> {
    match event {
        RawStrippedState::Pdu(raw) => {
            let checked = check_received(&raw, room_id, rules, &self_certified_keys)?;
            Ok(Some(super::append::strip(&checked.pdu)))
        }
        #[expect(deprecated, reason = "servers before Matrix 1.16 send it")]
        RawStrippedState::Stripped(raw) => {
            let event: StrippedEvent =
                serde_json::from_str(raw.json().get()).map_err(|error| StrippedError::Malformed(error.to_string()))?;
            Ok(Some(serde_json::to_value(event).expect("strings and JSON serialize")))
        }
        _ => Ok(None),
    }
}
