//! What of local users' presence outlives a restart.
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Presence;

impl Table for Presence {
    const ID: u8 = 53;
    type Key = OwnedUserId;
    type Row = PresenceRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PresenceRow {
    #[serde(default)]
    pub status_msg: Option<String>,
    #[serde(default)]
    pub last_active_ms: Option<u64>,
}
