//! The PDU as the rest of the core sees it: parsed once, its canonical JSON beside it.
pub mod check;
pub mod draft;
pub(crate) mod numbers;
pub mod object;
pub mod reference;
pub mod relation;

use std::rc::Rc;

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId,
    OwnedUserId, RoomId, UserId,
    events::{StateEventType, TimelineEventType, room::member::MembershipState},
    room_version_rules::RoomVersionRules,
    state_res::Event,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue as RawJsonValue;
use thiserror::Error;

use self::{object::EventObject, reference::Reference};

/// The most bytes a PDU may have as canonical JSON, signatures included (client-server API, "Size limits").
pub const PDU_MAX_BYTES: usize = 65_536;
/// The most bytes of those made here: some servers stop at what older versions of the specification said.
pub const PDU_MADE_MAX_BYTES: usize = 65_535;

/// The most levels of objects and arrays a PDU may be nested in each other, itself included. Parsers give up at 128, and
/// a transaction around it must be readable, or it would take the other events in there with it.
pub const PDU_NESTING_MAX: usize = 100;

/// What an allocation takes beside what is in it, in bytes.
const ALLOCATION_BYTES: usize = 16;

/// Why a JSON text is not an event of its room version.
#[derive(Clone, Debug, Error)]
pub enum PduError {
    #[error("malformed event: {0}")]
    Json(String),
    #[error("malformed event: `content` is not an object")]
    ContentNotObject,
    #[error("malformed event: `room_id` is missing")]
    NoRoomId,
    #[error("malformed event: it names other events in the format of another room version")]
    References,
    #[error("malformed event: {0}")]
    Id(#[from] ruma::IdParseError),
}

impl From<serde_json::Error> for PduError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }
}

/// An event of a room, in the federation format of its room version. Whether it was accepted is the caller's to
/// know, save `rejected`, which the authorization rules of later events ask for.
#[derive(Clone, Debug)]
pub struct Pdu {
    pub event_id: OwnedEventId,
    /// Of a create event in room version 12 and later, derived from its event id.
    pub room_id: OwnedRoomId,
    pub sender: OwnedUserId,
    pub kind: TimelineEventType,
    pub state_key: Option<String>,
    pub origin_server_ts: MilliSecondsSinceUnixEpoch,
    pub content: Box<RawJsonValue>,
    /// What the rules read as its content, of power levels that are no integers.
    cut_content: Option<Box<RawJsonValue>>,
    pub prev_events: Vec<OwnedEventId>,
    pub auth_events: Vec<OwnedEventId>,
    pub depth: u64,
    /// What an `m.room.redaction` redacts, from where its room version keeps it. Absent when malformed.
    pub redacts: Option<OwnedEventId>,
    pub rejected: bool,
    json: String,
    /// Whether the JSON itself names the room: the rules of version 12 forbid it in a create event.
    states_room_id: bool,
}

/// The fields of the federation format that somebody here reads.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(default, deserialize_with = "present")]
    room_id: Option<OwnedRoomId>,
    sender: OwnedUserId,
    #[serde(rename = "type")]
    kind: TimelineEventType,
    #[serde(default, deserialize_with = "present")]
    state_key: Option<String>,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    #[serde(borrow)]
    content: &'a RawJsonValue,
    prev_events: Vec<Reference>,
    auth_events: Vec<Reference>,
    depth: u64,
    #[serde(borrow, default)]
    redacts: Option<&'a RawJsonValue>,
}

/// An optional field that, when there, must not be null: the rules tell an absent key from any present one.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Pdu {
    /// An event whose canonical JSON was checked before (by [`check::check_received`] or because it was made here):
    /// what comes out of storage.
    pub fn from_canonical(event_id: OwnedEventId, json: String, rules: &RoomVersionRules) -> Result<Self, PduError> {
        let fields: Fields<'_> = serde_json::from_str(&json)?;
        if !fields.content.get().starts_with('{') {
            return Err(PduError::ContentNotObject);
        }
        let states_room_id = fields.room_id.is_some();
        let names_itself =
            rules.authorization.room_create_event_id_as_room_id && fields.kind == TimelineEventType::RoomCreate;
        let room_id = match fields.room_id {
            _ if names_itself => RoomId::new_v2(event_id.as_str().trim_start_matches('$'))?,
            Some(room_id) => room_id,
            None => return Err(PduError::NoRoomId),
        };
        let redacts = (fields.kind == TimelineEventType::RoomRedaction)
            .then(|| redacted_event(fields.redacts, fields.content, rules))
            .flatten();
        let may_be_cut =
            fields.kind == TimelineEventType::RoomPowerLevels && !rules.authorization.strict_canonical_json;
        let cut_content = may_be_cut.then(|| numbers::truncated(fields.content.get())).flatten();
        let cut_content = cut_content.map(RawJsonValue::from_string).transpose()?;
        Ok(Self {
            event_id,
            room_id,
            sender: fields.sender,
            kind: fields.kind,
            state_key: fields.state_key,
            origin_server_ts: fields.origin_server_ts,
            content: fields.content.to_owned(),
            cut_content,
            prev_events: reference::ids(fields.prev_events, rules).ok_or(PduError::References)?,
            auth_events: reference::ids(fields.auth_events, rules).ok_or(PduError::References)?,
            depth: fields.depth,
            redacts,
            rejected: false,
            states_room_id,
            json,
        })
    }

    /// Canonical JSON as it goes over federation: the redacted form if the content hash did not match.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// About how many bytes of memory it takes.
    pub fn bytes_in_memory(&self) -> usize {
        let referenced = self.prev_events.iter().chain(&self.auth_events);
        let named = [self.event_id.as_str(), self.room_id.as_str(), self.sender.as_str()];
        let state_key = self.state_key.as_deref().unwrap_or_default();
        size_of::<Self>()
            + self.json.len()
            + self.content.get().len()
            + self.cut_content.as_ref().map_or(0, |content| content.get().len() + ALLOCATION_BYTES)
            + named.into_iter().chain([state_key]).map(|text| text.len() + ALLOCATION_BYTES).sum::<usize>()
            + referenced.map(|id| size_of::<OwnedEventId>() + id.as_str().len() + ALLOCATION_BYTES).sum::<usize>()
    }

    /// The content as the authorization rules read it: up to room version 5 power levels may be fractions, which count as the
    /// integers before their points.
    pub fn content_by_rules(&self) -> &RawJsonValue {
        self.cut_content.as_deref().unwrap_or(&self.content)
    }

    pub fn raw(&self) -> Box<RawJsonValue> {
        RawJsonValue::from_string(self.json.clone()).expect("the JSON of a PDU was parsed once")
    }

    /// The JSON to look at and change.
    pub fn object(&self, rules: &RoomVersionRules) -> EventObject {
        EventObject::parse(&self.json, rules).expect("the JSON of a PDU was parsed once")
    }

    /// The JSON of an event without the numbers that only old room versions know: of all that is made here.
    pub fn canonical_object(&self) -> CanonicalJsonObject {
        serde_json::from_str(&self.json).expect("it has no such numbers")
    }

    /// The hash others name it by, beside its id where that is not made of it (room versions 1 and 2).
    pub fn reference_hash(&self, rules: &RoomVersionRules) -> String {
        self.object(rules).reference_hash(rules).expect("a PDU keeps the limit on size")
    }

    /// Its place in a state map; `None` for an event that is not state.
    pub fn state_map_key(&self) -> Option<(StateEventType, String)> {
        Some((StateEventType::from(self.kind.to_string()), self.state_key.clone()?))
    }

    /// The membership an `m.room.member` state event sets; `None` for other events and for malformed ones.
    pub fn membership(&self) -> Option<MembershipState> {
        #[derive(Deserialize)]
        struct Content {
            membership: MembershipState,
        }
        self.target()?;
        serde_json::from_str::<Content>(self.content.get()).ok().map(|content| content.membership)
    }

    /// The user an `m.room.member` state event is about.
    pub fn target(&self) -> Option<&UserId> {
        let state_key = self.state_key.as_deref().filter(|_| self.kind == TimelineEventType::RoomMember)?;
        <&UserId>::try_from(state_key).ok()
    }

    /// The same event stripped as its room version redacts. Its id, which the essential fields alone decide, and its
    /// signatures stay good.
    pub fn redacted(&self, rules: &RoomVersionRules) -> Self {
        let mut object = self.object(rules);
        object.redact(rules).expect("a PDU has a type");
        let pdu = Self::from_canonical(self.event_id.clone(), object.to_json(), rules)
            .expect("redaction keeps every field we read");
        Self { rejected: self.rejected, ..pdu }
    }
}

/// Where a redaction names its target: in the content since room version 11, beside it before.
fn redacted_event(
    beside: Option<&RawJsonValue>,
    content: &RawJsonValue,
    rules: &RoomVersionRules,
) -> Option<OwnedEventId> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        redacts: &'a RawJsonValue,
    }
    let named = if rules.redaction.content_field_redacts {
        serde_json::from_str::<Content<'_>>(content.get()).ok()?.redacts
    } else {
        beside?
    };
    serde_json::from_str(named.get()).ok()
}

/// Canonical JSON of an object (appendices, "Canonical JSON"): keys are sorted because the map is.
pub(crate) fn canonical_string(object: &CanonicalJsonObject) -> String {
    serde_json::to_string(object).expect("canonical JSON always serializes")
}

/// How many levels of objects and arrays `object` has, itself included.
fn nesting(object: &CanonicalJsonObject) -> usize {
    fn of(value: &CanonicalJsonValue) -> usize {
        match value {
            CanonicalJsonValue::Object(object) => nesting(object),
            CanonicalJsonValue::Array(list) => 1 + list.iter().map(of).max().unwrap_or_default(),
            _ => 0,
        }
    }
    1 + object.values().map(of).max().unwrap_or_default()
}

impl Event for Pdu {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.event_id
    }

    fn room_id(&self) -> Option<&RoomId> {
        self.states_room_id.then_some(&*self.room_id)
    }

    fn sender(&self) -> &UserId {
        &self.sender
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.origin_server_ts
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.kind
    }

    fn content(&self) -> &RawJsonValue {
        self.content_by_rules()
    }

    fn state_key(&self) -> Option<&str> {
        self.state_key.as_deref()
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.prev_events.iter())
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.auth_events.iter())
    }

    fn redacts(&self) -> Option<&OwnedEventId> {
        self.redacts.as_ref()
    }

    fn rejected(&self) -> bool {
        self.rejected
    }
}

/// A shared PDU for ruma's rules, which know `Arc` and references but not `Rc`.
#[derive(Clone, Debug)]
pub struct SharedPdu(pub Rc<Pdu>);

impl Event for SharedPdu {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.0.event_id
    }

    fn room_id(&self) -> Option<&RoomId> {
        Event::room_id(&*self.0)
    }

    fn sender(&self) -> &UserId {
        &self.0.sender
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.0.origin_server_ts
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.0.kind
    }

    fn content(&self) -> &RawJsonValue {
        self.0.content_by_rules()
    }

    fn state_key(&self) -> Option<&str> {
        self.0.state_key.as_deref()
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Event::prev_events(&*self.0)
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Event::auth_events(&*self.0)
    }

    fn redacts(&self) -> Option<&OwnedEventId> {
        self.0.redacts.as_ref()
    }

    fn rejected(&self) -> bool {
        self.0.rejected
    }
}

/// The create event of a room whose id is that event's hash (room version 12 and later).
pub fn create_event_id(room_id: &RoomId) -> Option<OwnedEventId> {
    EventId::parse(format!("${}", room_id.strip_sigil())).ok()
}

#[cfg(test)]
mod tests;
