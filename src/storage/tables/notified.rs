//! What each user was notified of, by stream position: the list of notifications, and what pushers have yet to send.
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Notified;

impl Table for Notified {
    const ID: u8 = 50;
    type Key = (OwnedUserId, u64);
    type Row = NotifiedRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotifiedRow {
    pub room_id: OwnedRoomId,
    pub event_id: OwnedEventId,
    pub ts_ms: u64,
    /// What the push rule said to do; `None` for `notify` and nothing else, as most do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<serde_json::Value>>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub highlight: bool,
    /// Whether it is an invite to the user, who then was not in the room.
    #[serde(default, skip_serializing_if = "is_false")]
    pub invite: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}
