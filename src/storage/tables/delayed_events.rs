//! Events that users have asked to be sent later, and for a while what became of them.
use ruma::{CanonicalJsonObject, OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct DelayedEvents;

impl Table for DelayedEvents {
    const ID: u8 = 43;
    /// The delay id.
    type Key = String;
    type Row = DelayedEventRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DelayedEventRow {
    pub user: OwnedUserId,
    pub room: OwnedRoomId,
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_key: Option<String>,
    pub content: CanonicalJsonObject,
    pub delay_ms: u64,
    /// When it was scheduled, or restarted last.
    pub running_since_ms: u64,
    /// `None` while it is to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finalised: Option<FinalisedRow>,
}

impl DelayedEventRow {
    pub fn due_ms(&self) -> u64 {
        self.running_since_ms.saturating_add(self.delay_ms)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinalisedRow {
    pub at_ms: u64,
    /// Whether somebody asked for it, not the time.
    pub by_action: bool,
    pub outcome: DelayedOutcome,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DelayedOutcome {
    Sent(OwnedEventId),
    Cancelled,
    Failed { errcode: String, error: String },
}
