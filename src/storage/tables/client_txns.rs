//! What a client's transaction was answered, so that a repeat gets the same answer. Keys: user, device, digest of path and transaction id.
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct ClientTxns;

impl Table for ClientTxns {
    const ID: u8 = 10;
    type Key = (OwnedUserId, OwnedDeviceId, String);
    type Row = ClientTxnRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientTxnRow {
    /// The event id, or the room id of a room that was created.
    pub answer: String,
    pub at_ms: u64,
}
