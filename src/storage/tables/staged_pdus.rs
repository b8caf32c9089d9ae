//! PDUs received whose ancestry we lack: acknowledged to the sender, so kept until they can be judged.
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct StagedPdus;

impl Table for StagedPdus {
    const ID: u8 = 22;
    type Key = (OwnedRoomId, OwnedEventId);
    type Row = StagedPduRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StagedPduRow {
    pub json: String,
    pub origin: OwnedServerName,
    pub received_ms: u64,
}
