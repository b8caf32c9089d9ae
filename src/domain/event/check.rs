//! The first three checks on receipt of a PDU (server-server API): form, signatures, content hash.
//! What fails here is dropped: it is nobody's event. Whether an event is allowed is `room::admit`'s question.
use std::collections::BTreeSet;

use ruma::{
    CanonicalJsonObject, EventId, OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, ServerName,
    room_version_rules::{EventIdFormatVersion, RoomVersionRules},
    signatures::{JsonError, PublicKeyMap, Verified, required_server_signatures_to_verify_event},
};
use serde_json::value::RawValue as RawJsonValue;
use thiserror::Error;

use super::{
    PDU_MAX_BYTES, PDU_NESTING_MAX, Pdu, nesting,
    object::{Citations, EventObject},
};
use crate::domain::{identity::PublicKey, server_keys::SignedAt};

/// The most bytes a PDU may have as it arrives: each byte of its canonical form may come escaped as six (`\u0041`).
/// Bounds the parse; the real limit is [`PDU_MAX_BYTES`] of canonical JSON.
pub const PDU_WIRE_MAX_BYTES: usize = 6 * PDU_MAX_BYTES;

/// Why what arrived is not an event at all.
#[derive(Debug, Error)]
pub enum DropReason {
    #[error("not an object of JSON as its room version allows it: {0}")]
    NotJson(serde_json::Error),
    #[error("the event is larger than {PDU_MAX_BYTES} bytes")]
    TooLarge,
    #[error("malformed event: {0}")]
    Format(String),
    #[error("the event belongs to room {0}")]
    WrongRoom(OwnedRoomId),
    #[error("no key of {0} is known")]
    UnknownKey(OwnedServerName),
    #[error("signature check failed: {0}")]
    Signature(String),
}

/// An event that is what its signatures say.
#[derive(Debug)]
pub struct Checked {
    pub pdu: Pdu,
    /// The content hash did not match, so `pdu` is the redacted form.
    pub redacted: bool,
}

/// All known keys of a server that were good when something was signed.
pub type KeysAt<'a> = dyn Fn(&ServerName, SignedAt) -> Option<PublicKeyMap> + 'a;

/// Checks one received PDU for `room_id`. A server whose key is not among `keys` makes the event
/// [`DropReason::UnknownKey`], the one reason that may pass with time.
///
/// `unsigned` is not part of the event (nothing signs it) and is dropped, so that a peer can put no words into it.
pub fn check_received(
    raw: &RawJsonValue,
    room_id: &RoomId,
    rules: &RoomVersionRules,
    keys: &KeysAt<'_>,
) -> Result<Checked, DropReason> {
    check(raw, room_id, rules, Citations::Few, keys)
}

/// As [`check_received`], of an event in an answer to `/backfill`, which may name any number of others.
pub fn check_filled_in(
    raw: &RawJsonValue,
    room_id: &RoomId,
    rules: &RoomVersionRules,
    keys: &KeysAt<'_>,
) -> Result<Checked, DropReason> {
    check(raw, room_id, rules, Citations::AnyNumber, keys)
}

fn check(
    raw: &RawJsonValue,
    room_id: &RoomId,
    rules: &RoomVersionRules,
    citations: Citations,
    keys: &KeysAt<'_>,
) -> Result<Checked, DropReason> {
    let mut object = parse_object(raw, rules)?;
    object.remove("unsigned");
    let json = object.to_json();
    if json.len() > PDU_MAX_BYTES {
        return Err(DropReason::TooLarge);
    }
    if nesting(object.fields()) > PDU_NESTING_MAX {
        return Err(DropReason::Format(format!("it is nested more than {PDU_NESTING_MAX} levels deep")));
    }
    object.check_format(rules, citations).map_err(DropReason::Format)?;
    let event_id = event_id_of(&object, rules)?;
    let pdu = Pdu::from_canonical(event_id, json, rules).map_err(|error| DropReason::Format(error.to_string()))?;
    if pdu.room_id != room_id {
        return Err(DropReason::WrongRoom(pdu.room_id));
    }
    // Before version 5 a key is good for ever ("Signing key validity period").
    let time = rules.enforce_key_validity.then(|| SignedAt::Ms(pdu.origin_server_ts.get().into()));
    let keys = |server: &ServerName| keys(server, time.unwrap_or(SignedAt::AnyTime));
    match verify(&object, rules, &keys)? {
        Verified::All => Ok(Checked { pdu, redacted: false }),
        Verified::Signatures => {
            let redacted = pdu.redacted(rules);
            // Redaction may take away what excused a signature (`third_party_invite`): what is kept must stand alone.
            object.redact(rules).map_err(DropReason::Format)?;
            verify(&object, rules, &keys)?;
            Ok(Checked { pdu: redacted, redacted: true })
        }
    }
}

/// A received event as JSON of its room version: an object, from version 6 on with integers only, within range.
pub fn parse_object(raw: &RawJsonValue, rules: &RoomVersionRules) -> Result<EventObject, DropReason> {
    if raw.get().len() > PDU_WIRE_MAX_BYTES {
        return Err(DropReason::TooLarge);
    }
    EventObject::parse(raw.get(), rules).map_err(DropReason::NotJson)
}

/// The servers whose keys [`check_received`] will ask for: the sender's, that in the event's id in room versions 1 and 2,
/// and whoever authorised a restricted join.
pub fn required_signers(
    object: &CanonicalJsonObject,
    rules: &RoomVersionRules,
) -> Result<BTreeSet<OwnedServerName>, DropReason> {
    required_server_signatures_to_verify_event(object, &rules.signatures)
        .map_err(|error| DropReason::Format(error.to_string()))
}

/// The key a self-certifying server name carries, which is valid for ever; `None` for ordinary names.
pub fn self_certified_keys(server: &ServerName, _signed: SignedAt) -> Option<PublicKeyMap> {
    Some(PublicKey::of_server_name(server)?.public_key_map(server))
}

/// The id of an event: its reference hash, or what it says in room versions 1 and 2.
pub fn event_id_of(object: &EventObject, rules: &RoomVersionRules) -> Result<OwnedEventId, DropReason> {
    let format = |error: &dyn ToString| DropReason::Format(error.to_string());
    if rules.event_id_format == EventIdFormatVersion::V1 {
        let stated =
            object.fields().get("event_id").and_then(|id| id.as_str()).ok_or_else(|| format(&"no `event_id`"))?;
        return EventId::parse(stated).map_err(|error| format(&error));
    }
    let hash = object.reference_hash(rules).map_err(|error| match error {
        JsonError::PduTooLarge => DropReason::TooLarge,
        other => format(&other),
    })?;
    EventId::new_v2_or_v3(&hash).map_err(|error| format(&error))
}

fn verify(
    object: &EventObject,
    rules: &RoomVersionRules,
    keys: &dyn Fn(&ServerName) -> Option<PublicKeyMap>,
) -> Result<Verified, DropReason> {
    let mut known = PublicKeyMap::new();
    for server in required_signers(object.fields(), rules)? {
        known.extend(keys(&server).ok_or(DropReason::UnknownKey(server))?);
    }
    object.verify(&known, rules).map_err(|error| DropReason::Signature(error.to_string()))
}

#[cfg(test)]
mod tests;
