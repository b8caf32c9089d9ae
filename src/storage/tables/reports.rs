//! What users of ours reported to whoever runs this homeserver, by when it came.
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Reports;

impl Table for Reports {
    const ID: u8 = 80;
    /// A stream position.
    type Key = u64;
    type Row = ReportRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportRow {
    pub reporter: OwnedUserId,
    pub about: Reported,
    pub reason: String,
    pub at_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Reported {
    Room { room_id: OwnedRoomId },
    Event { room_id: OwnedRoomId, event_id: OwnedEventId },
    User { user_id: OwnedUserId },
}
