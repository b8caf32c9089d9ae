//! Messages to single devices that wait for the device to say it has them, in order.
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct ToDevice;

impl Table for ToDevice {
    const ID: u8 = 101;
    /// Whose, and the stream position.
    type Key = (OwnedUserId, OwnedDeviceId, u64);
    type Row = ToDeviceRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToDeviceRow {
    pub sender: OwnedUserId,
    pub kind: String,
    pub content: serde_json::Map<String, serde_json::Value>,
}
