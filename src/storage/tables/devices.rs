//! The devices of each user and the token each is logged in with.
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Devices;

impl Table for Devices {
    const ID: u8 = 6;
    type Key = (OwnedUserId, OwnedDeviceId);
    type Row = DeviceRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceRow {
    #[serde(default)]
    pub display_name: Option<String>,
    /// SHA-256 of the access token.
    pub token_hash: [u8; 32],
    #[serde(default)]
    pub last_seen_ms: Option<u64>,
}
