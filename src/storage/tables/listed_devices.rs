//! Devices of other servers' users, as their servers tell of them.
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct ListedDevices;

impl Table for ListedDevices {
    const ID: u8 = 104;
    type Key = (OwnedUserId, OwnedDeviceId);
    type Row = ListedDeviceRow;
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListedDeviceRow {
    #[serde(default)]
    pub display_name: Option<String>,
    /// As the device signed them; `None` of one that does not encrypt.
    #[serde(default)]
    pub keys: Option<serde_json::Map<String, serde_json::Value>>,
}
