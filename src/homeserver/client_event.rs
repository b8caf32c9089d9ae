//! A stored event in the format clients get (client-server API, "Room event format"). The only place that writes it.
use std::{collections::BTreeMap, rc::Rc};

use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, RoomId, UserId,
    events::{TimelineEventType, room::member::MembershipState},
    serde::Raw,
};
use serde::Serialize;
use serde_json::value::RawValue as RawJsonValue;

use super::{
    Homeserver,
    events::StoredEvent,
    relations::bundle::{self, Bundles},
    sessions::Session,
    visibility::Seen,
};
use crate::{domain::event::Pdu, ports::StoreError};

/// What an event looks like where it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Sync leaves `room_id` out: the room is named around the events.
    pub room_id: bool,
    /// Events of a timeline say what the state was before them; events that are the state do not.
    pub previous: bool,
    /// The event as other servers get it, with what clients are told beside it.
    pub federation: bool,
}

impl Style {
    pub const SYNC_TIMELINE: Self = Self { room_id: false, previous: true, federation: false };
    pub const SYNC_STATE: Self = Self { room_id: false, previous: false, federation: false };
    pub const TIMELINE: Self = Self { room_id: true, previous: true, federation: false };
    pub const STATE: Self = Self { room_id: true, previous: false, federation: false };
}

#[derive(Serialize)]
struct ClientEvent<'a> {
    content: &'a RawJsonValue,
    event_id: &'a EventId,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacts: Option<&'a EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<&'a RoomId>,
    sender: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_key: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'a TimelineEventType,
    unsigned: Unsigned<'a>,
}

#[derive(Serialize)]
struct Unsigned<'a> {
    /// Milliseconds since the event was sent, by this server's clock.
    age: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<&'a MembershipState>,
    #[serde(rename = "m.relations", skip_serializing_if = "Option::is_none")]
    relations: Option<&'a RawJsonValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_content: Option<&'a RawJsonValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_sender: Option<&'a UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted_because: Option<Box<RawJsonValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces_state: Option<&'a EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<&'a str>,
    /// MSC4140, for the sender only.
    #[serde(rename = "org.matrix.msc4140.delay_id", skip_serializing_if = "Option::is_none")]
    delay_id: Option<&'a str>,
}

/// Events of a timeline as `session`'s device sees them.
pub async fn format_seen<T>(
    server: &Homeserver,
    session: &Session,
    style: Style,
    seen: &[Seen],
) -> Result<Vec<Raw<T>>, StoreError> {
    let events: Vec<_> = seen.iter().map(|seen| (&seen.event, Some(&seen.membership))).collect();
    format(server, session, style, &events, &Bundles::new()).await
}

/// As `format_seen`, with what relates to the events bundled.
pub async fn format_with_relations<T>(
    server: &Homeserver,
    session: &Session,
    style: Style,
    seen: &[Seen],
) -> Result<Vec<Raw<T>>, StoreError> {
    let bundles = bundle::bundles(server, session, style, seen).await?;
    let events: Vec<_> = seen.iter().map(|seen| (&seen.event, Some(&seen.membership))).collect();
    format(server, session, style, &events, &bundles).await
}

/// Events of a state, without regard to when they happened.
pub async fn format_state<T>(
    server: &Homeserver,
    session: &Session,
    style: Style,
    events: &[Rc<StoredEvent>],
) -> Result<Vec<Raw<T>>, StoreError> {
    let events: Vec<_> = events.iter().map(|event| (event, None)).collect();
    format(server, session, style, &events, &Bundles::new()).await
}

/// An event as push rules see it: what clients get of it, without what depends on who and when.
pub fn plain(pdu: &Pdu) -> serde_json::Value {
    let mut event = serde_json::json!({
        "content": &pdu.content,
        "event_id": pdu.event_id,
        "origin_server_ts": pdu.origin_server_ts,
        "room_id": pdu.room_id,
        "sender": pdu.sender,
        "type": pdu.kind,
    });
    if let Some(state_key) = &pdu.state_key {
        event["state_key"] = state_key.as_str().into();
    }
    if let Some(redacts) = &pdu.redacts {
        event["redacts"] = redacts.as_str().into();
    }
    event
}

async fn format<T>(
    server: &Homeserver,
    session: &Session,
    style: Style,
    events: &[(&Rc<StoredEvent>, Option<&MembershipState>)],
    bundles: &Bundles,
) -> Result<Vec<Raw<T>>, StoreError> {
    let mut previous = BTreeMap::new();
    let mut wanted: Vec<OwnedEventId> = Vec::new();
    for (event, _) in events {
        if let Some(id) = previous_state_event(server, style, event).await? {
            wanted.push(id.clone());
            previous.insert(event.pdu.event_id.clone(), id);
        }
        wanted.extend(event.header.redacted_by.clone());
    }
    let found = server.rooms.events.get_many(&wanted).await?;
    let found: BTreeMap<OwnedEventId, Rc<StoredEvent>> =
        wanted.into_iter().zip(found).filter_map(|(id, event)| Some((id, event?))).collect();

    let now_ms = server.environment.clock.now_ms();
    let formatted = events.iter().map(|(event, membership)| {
        let previous = previous.get(&event.pdu.event_id).and_then(|id| found.get(id));
        // What was before it need not be told, and whether this user may see it whole is not known here.
        let erased = |event: &&Rc<StoredEvent>| server.erasures.of(&event.pdu.sender, &event.pdu.room_id).is_some();
        let previous = previous.filter(|event| !erased(event));
        let redaction = event.header.redacted_by.as_ref().and_then(|id| found.get(id));
        let unsigned = Unsigned {
            age: age(now_ms, &event.pdu),
            membership: *membership,
            relations: bundles.get(&event.pdu.event_id).map(|bundle| &**bundle),
            prev_content: previous.map(|previous| &*previous.pdu.content),
            prev_sender: previous.map(|previous| &*previous.pdu.sender),
            redacted_because: redaction.map(|redaction| redacted_because(now_ms, style, &redaction.pdu)),
            replaces_state: previous.map(|previous| &*previous.pdu.event_id),
            transaction_id: transaction_id(session, event),
            delay_id: event.header.delay_id.as_deref().filter(|_| event.pdu.sender == session.user_id),
        };
        Raw::from_json(write(style, &event.pdu, unsigned))
    });
    Ok(formatted.collect())
}

/// The event that held the place of a state event before it.
async fn previous_state_event(
    server: &Homeserver,
    style: Style,
    event: &StoredEvent,
) -> Result<Option<OwnedEventId>, StoreError> {
    let Some((kind, key)) = event.pdu.state_map_key().filter(|_| style.previous) else { return Ok(None) };
    let Some(before) = event.header.state_before else { return Ok(None) };
    Ok(server.rooms.states.load(before).await?.get(&kind, &key).cloned())
}

fn redacted_because(now_ms: u64, style: Style, redaction: &Pdu) -> Box<RawJsonValue> {
    let unsigned = Unsigned {
        age: age(now_ms, redaction),
        membership: None,
        relations: None,
        prev_content: None,
        prev_sender: None,
        redacted_because: None,
        replaces_state: None,
        transaction_id: None,
        delay_id: None,
    };
    write(style, redaction, unsigned)
}

fn write(style: Style, pdu: &Pdu, unsigned: Unsigned<'_>) -> Box<RawJsonValue> {
    if style.federation {
        return write_for_federation(pdu, unsigned);
    }
    let event = ClientEvent {
        content: &pdu.content,
        event_id: &pdu.event_id,
        origin_server_ts: pdu.origin_server_ts,
        // Beside the content too where the room version keeps it inside, for clients that look there only.
        redacts: pdu.redacts.as_deref(),
        room_id: style.room_id.then_some(&*pdu.room_id),
        sender: &pdu.sender,
        state_key: pdu.state_key.as_deref(),
        kind: &pdu.kind,
        unsigned,
    };
    serde_json::value::to_raw_value(&event).expect("an event has string keys and finite numbers")
}

/// The event as its server signed it. Its id is added, which clients could not tell, and what is said beside it.
fn write_for_federation(pdu: &Pdu, unsigned: Unsigned<'_>) -> Box<RawJsonValue> {
    let unsigned = serde_json::value::to_raw_value(&unsigned).expect("it has string keys and finite numbers");
    let event_id = serde_json::value::to_raw_value(&pdu.event_id).expect("a string is JSON");
    let json = pdu.raw();
    let mut fields: BTreeMap<String, &RawJsonValue> =
        serde_json::from_str(json.get()).expect("the JSON of a PDU was parsed once");
    fields.insert("event_id".to_owned(), &event_id);
    fields.insert("unsigned".to_owned(), &unsigned);
    serde_json::value::to_raw_value(&fields).expect("an event has string keys and finite numbers")
}

fn age(now_ms: u64, pdu: &Pdu) -> u64 {
    now_ms.saturating_sub(pdu.origin_server_ts.get().into())
}

/// The transaction id an event was sent with, which only the device that sent it gets to know.
fn transaction_id<'a>(session: &Session, event: &'a StoredEvent) -> Option<&'a str> {
    let (device_id, txn_id) = event.header.client_txn.as_ref()?;
    (event.pdu.sender == session.user_id && *device_id == session.device_id).then_some(txn_id.as_str())
}
