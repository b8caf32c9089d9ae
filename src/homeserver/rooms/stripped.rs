//! What other servers tell of a room that we are not in, for clients of ours who are invited to it or knock on it
//! (client-server API, "Stripped state").
use std::rc::Rc;

use ruma::{
    OwnedUserId, RoomId, api::federation::membership::RawStrippedState, events::TimelineEventType,
    room_version_rules::RoomVersionRules,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::{
    domain::event::check::DropReason,
    homeserver::{Homeserver, key_ring::verify},
};

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
pub async fn all(
    server: &Rc<Homeserver>,
    events: Vec<RawStrippedState>,
    room_id: &RoomId,
    rules: &RoomVersionRules,
) -> Result<Vec<Value>, StrippedError> {
    if events.len() > STRIPPED_STATE_EVENTS_MAX {
        return Err(StrippedError::TooMany);
    }
    fetch_keys(server, &events, rules).await;
    let mut stripped = Vec::new();
    let mut bytes = 0;
    let mut has_create = false;
    for event in events {
        bytes += size(&event);
        if bytes > STRIPPED_STATE_MAX_BYTES {
            return Err(StrippedError::TooLarge);
        }
        has_create |= is_create(&event);
        stripped.extend(strip(server, event, room_id, rules)?);
    }
    if rules.authorization.room_create_event_id_as_room_id && !has_create {
        return Err(StrippedError::NoCreate);
    }
    Ok(stripped)
}

/// Those of the events that are what they should be, as far as the limits go: for an answer to what cannot be undone.
pub async fn valid(
    server: &Rc<Homeserver>,
    events: Vec<RawStrippedState>,
    room_id: &RoomId,
    rules: &RoomVersionRules,
) -> Vec<Value> {
    let mut bytes = 0;
    fetch_keys(server, &events[..events.len().min(STRIPPED_STATE_EVENTS_MAX)], rules).await;
    let within = events.into_iter().take(STRIPPED_STATE_EVENTS_MAX).take_while(|event| {
        bytes += size(event);
        bytes <= STRIPPED_STATE_MAX_BYTES
    });
    within.filter_map(|event| strip(server, event, room_id, rules).ok().flatten()).collect()
}

async fn fetch_keys(server: &Rc<Homeserver>, events: &[RawStrippedState], rules: &RoomVersionRules) {
    let whole = events.iter().filter_map(|event| match event {
        RawStrippedState::Pdu(raw) => Some(&**raw),
        _ => None,
    });
    verify::prefetch(server, whole, rules).await;
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

fn strip(
    server: &Homeserver,
    event: RawStrippedState,
    room_id: &RoomId,
    rules: &RoomVersionRules,
) -> Result<Option<Value>, StrippedError> {
    match event {
        RawStrippedState::Pdu(raw) => {
            let checked = verify::check_known(server, &raw, room_id, rules)?;
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
