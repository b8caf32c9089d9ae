//! Account data of each user: global (empty room) or of a room, by event type.
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct AccountData;

impl Table for AccountData {
    const ID: u8 = 9;
    type Key = (OwnedUserId, String, String);
    type Row = AccountDataRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountDataRow {
    /// When it was last set, as a stream position.
    pub position: u64,
    pub content: serde_json::Value,
}
