//! Which events of a room's timeline relate to which: by the room's number, the parent, the type of the relation and the
//! child's place in the timeline.
use ruma::{OwnedEventId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Relations;

impl Table for Relations {
    const ID: u8 = 40;
    type Key = (u64, OwnedEventId, String, i64);
    type Row = RelationRow;
}

/// What is asked of a child before it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationRow {
    #[serde(rename = "e")]
    pub event_id: OwnedEventId,
    #[serde(rename = "t")]
    pub kind: String,
    #[serde(rename = "s")]
    pub sender: OwnedUserId,
    #[serde(rename = "ts")]
    pub ts_ms: u64,
    /// Of an annotation: its key.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}
