//! Every PDU we keep and what we concluded about it. The PDU is stored as canonical JSON behind a small JSON header.
use ruma::{OwnedDeviceId, OwnedEventId};
use serde::{Deserialize, Serialize};

use crate::storage::{Row, Table};

pub struct Events;

impl Table for Events {
    const ID: u8 = 15;
    type Key = OwnedEventId;
    type Row = EventRow;
}

#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    pub header: EventHeader,
    /// Canonical JSON of the PDU as federated: its redacted form if the hash did not match or it was redacted.
    pub json: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventHeader {
    /// The `num` of the room.
    #[serde(rename = "r")]
    pub room: u64,
    /// The place in the timeline; `None` for events known only as state or ancestry (outliers).
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub order: Option<i64>,
    /// The state before the event, a key of `states`; `None` for outliers.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub state_before: Option<u64>,
    /// The state after the event; the same as before unless it is an accepted state event.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub state_after: Option<u64>,
    /// What the room's current state became with the event, where that is not `state_after`: another branch of the room
    /// was resolved with it.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub state_current: Option<u64>,
    #[serde(rename = "v")]
    pub verdict: StoredVerdict,
    /// The redaction that was applied to it.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub redacted_by: Option<OwnedEventId>,
    /// The device of ours that sent it and the transaction id it used.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub client_txn: Option<(OwnedDeviceId, String)>,
    /// The id by which our user had it delayed.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub delay_id: Option<String>,
}

/// The outcome of the checks on receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredVerdict {
    #[serde(rename = "a")]
    Accepted,
    #[serde(rename = "s")]
    SoftFailed,
    #[serde(rename = "r")]
    Rejected,
}

impl Row for EventRow {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(&self.header).expect("a header serializes");
        bytes.extend_from_slice(self.json.as_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<EventHeader>();
        let header = values.next().ok_or_else(|| serde::de::Error::custom("empty row"))??;
        let json = bytes.get(values.byte_offset()..).unwrap_or_default();
        let json = std::str::from_utf8(json).map_err(serde::de::Error::custom)?.to_owned();
        Ok(Self { header, json })
    }
}
