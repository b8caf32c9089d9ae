//! The latest receipt of each user in a room, by type and thread (empty: unthreaded).
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Receipts;

impl Table for Receipts {
    const ID: u8 = 21;
    type Key = (OwnedRoomId, OwnedUserId, String, String);
    type Row = ReceiptRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReceiptRow {
    pub event_id: OwnedEventId,
    pub ts_ms: u64,
    /// When it arrived, as a stream position.
    pub position: u64,
    /// The receipted event's place in the timeline, if we have it.
    #[serde(default)]
    pub order: Option<i64>,
}
