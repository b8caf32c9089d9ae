//! From what a user wants to a signed event: content hash, signature, event id, in that order; in room versions 1 and 2,
//! where an event says its id, that comes first.
use std::collections::BTreeMap;

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId,
    ServerName, UserId,
    events::{StateEventType, TimelineEventType},
    room_version_rules::{AuthorizationRules, EventIdFormatVersion, RoomVersionRules},
    serde::{Base64, base64::UrlSafe},
    signatures::JsonError,
    state_res::auth_types_for_event,
};
use serde_json::value::RawValue as RawJsonValue;
use thiserror::Error;

use super::{
    PDU_MADE_MAX_BYTES, PDU_NESTING_MAX, Pdu, PduError, canonical_string,
    check::event_id_of,
    nesting,
    object::{Citations, EventObject},
    reference,
};
use crate::domain::identity::Identity;

/// What the sender decides about an event.
#[derive(Clone, Debug)]
pub struct Draft {
    /// `None` only for the create event of a room version that derives the room id from it.
    pub room_id: Option<OwnedRoomId>,
    pub sender: OwnedUserId,
    pub kind: TimelineEventType,
    pub state_key: Option<String>,
    pub content: CanonicalJsonObject,
    /// The target of an `m.room.redaction`; [`seal`] writes it where the room version keeps it.
    pub redacts: Option<OwnedEventId>,
}

/// Where the event goes in the room's graph, and when.
#[derive(Clone, Debug)]
pub struct Position {
    pub prev_events: Vec<OwnedEventId>,
    pub auth_events: Vec<OwnedEventId>,
    /// The reference hashes of these events in room versions 1 and 2, which want them beside the ids.
    pub hashes: BTreeMap<OwnedEventId, String>,
    pub depth: u64,
    pub origin_server_ts: MilliSecondsSinceUnixEpoch,
}

/// Why a draft cannot become an event.
#[derive(Clone, Debug, Error)]
pub enum DraftError {
    #[error("the event is larger than {PDU_MADE_MAX_BYTES} bytes")]
    TooLarge,
    #[error("{0}")]
    Format(String),
    #[error(transparent)]
    Pdu(#[from] PduError),
}

impl From<JsonError> for DraftError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::PduTooLarge => Self::TooLarge,
            other => Self::Format(other.to_string()),
        }
    }
}

/// Hashes and signs `draft` at `position`. The event is at most [`PDU_MADE_MAX_BYTES`] long and keeps the limits on ids
/// and edges of the specification.
pub fn seal(
    draft: Draft,
    position: Position,
    identity: &Identity,
    rules: &RoomVersionRules,
) -> Result<Pdu, DraftError> {
    seal_template(assemble(draft, position, rules)?, identity, rules)
}

/// Completes an event somebody else laid out (the answer to make_join, make_leave): hash, signature, id. Whatever
/// hashes, signatures or unsigned data it carried are dropped. The caller has checked that it says what was asked for.
pub fn seal_template(
    template: impl Into<EventObject>,
    identity: &Identity,
    rules: &RoomVersionRules,
) -> Result<Pdu, DraftError> {
    let mut event = template.into();
    for field in ["hashes", "signatures", "unsigned", "event_id"] {
        event.remove(field);
    }
    if rules.event_id_format == EventIdFormatVersion::V1 {
        let id = named(&event, identity)?;
        event.set_text("event_id", &id);
    }
    event.hash_and_sign(identity, rules)?;
    finish(&event, rules)
}

/// An id for an event whose room version leaves it to the server: made of its content, so that no two events get the same.
fn named(event: &EventObject, identity: &Identity) -> Result<String, DraftError> {
    Ok(format!("${}:{}", Base64::<UrlSafe, _>::new(event.content_hash()?).encode(), identity.server_name()))
}

/// Adds this server's signature to another's event: what an invited server does with the invite.
pub fn countersign(pdu: &Pdu, identity: &Identity, rules: &RoomVersionRules) -> Result<Pdu, DraftError> {
    let mut object = pdu.object(rules);
    object.sign(identity, rules)?;
    let signed = finish(&object, rules)?;
    Ok(Pdu { rejected: pdu.rejected, ..signed })
}

/// The event with a signature of `server` beside those it has, whether it holds or not.
pub fn with_signature(
    pdu: &Pdu,
    server: &ServerName,
    key_id: &str,
    signature: &str,
    rules: &RoomVersionRules,
) -> Result<Pdu, DraftError> {
    let mut object = pdu.object(rules);
    object.add_signature(server.as_str(), key_id.to_owned(), signature.to_owned());
    let signed = finish(&object, rules)?;
    Ok(Pdu { rejected: pdu.rejected, ..signed })
}

/// Which state authorizes an event (server-server API, "Auth events selection"). Since room version 12 the create
/// event is not among them: the room id names it. Errs when the content is too malformed to tell.
pub fn auth_types(
    kind: &TimelineEventType,
    sender: &UserId,
    state_key: Option<&str>,
    content: &CanonicalJsonObject,
    rules: &AuthorizationRules,
) -> Result<Vec<(StateEventType, String)>, String> {
    let content = RawJsonValue::from_string(canonical_string(content)).expect("canonical JSON is JSON");
    auth_types_for_event(kind, sender, state_key, &content, rules)
}

fn assemble(draft: Draft, position: Position, rules: &RoomVersionRules) -> Result<EventObject, DraftError> {
    let Draft { room_id, sender, kind, state_key, mut content, redacts } = draft;
    let mut object = CanonicalJsonObject::new();
    if let Some(redacts) = redacts {
        let holder = if rules.redaction.content_field_redacts { &mut content } else { &mut object };
        holder.insert("redacts".to_owned(), redacts.to_string().into());
    }
    if let Some(room_id) = room_id {
        object.insert("room_id".to_owned(), room_id.to_string().into());
    }
    if let Some(state_key) = state_key {
        object.insert("state_key".to_owned(), state_key.into());
    }
    let Position { prev_events, auth_events, hashes, depth, origin_server_ts } = position;
    let references = |ids: Vec<OwnedEventId>| {
        let unknown = || DraftError::Format("it names an event whose hash is not known".to_owned());
        reference::to_json(ids, &hashes, rules).ok_or_else(unknown)
    };
    object.extend([
        ("sender".to_owned(), sender.to_string().into()),
        ("type".to_owned(), kind.to_string().into()),
        ("content".to_owned(), content.into()),
        ("origin_server_ts".to_owned(), CanonicalJsonValue::Integer(origin_server_ts.get().into())),
        ("prev_events".to_owned(), references(prev_events)?),
        ("auth_events".to_owned(), references(auth_events)?),
    ]);
    let mut event = EventObject::from(object);
    event.set_depth(depth, rules);
    Ok(event)
}

/// Size, format and id of a signed object.
fn finish(object: &EventObject, rules: &RoomVersionRules) -> Result<Pdu, DraftError> {
    let json = object.to_json();
    if json.len() > PDU_MADE_MAX_BYTES {
        return Err(DraftError::TooLarge);
    }
    if nesting(object.fields()) > PDU_NESTING_MAX {
        return Err(DraftError::Format(format!("the event is nested more than {PDU_NESTING_MAX} levels deep")));
    }
    object.check_format(rules, Citations::Few).map_err(DraftError::Format)?;
    let event_id = event_id_of(object, rules).map_err(|error| DraftError::Format(error.to_string()))?;
    Ok(Pdu::from_canonical(event_id, json, rules)?)
}
