//! Where each user's notifications are pushed to, by the application's id and the key it is reached by.
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Pushers;

impl Table for Pushers {
    const ID: u8 = 51;
    type Key = (OwnedUserId, String, String);
    type Row = PusherRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PusherRow {
    /// Whose device set it: it goes when the device does.
    pub device_id: OwnedDeviceId,
    pub app_display_name: String,
    pub device_display_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_tag: Option<String>,
    pub lang: String,
    pub url: String,
    /// What the client has for its gateway beside the URL, `format` included.
    #[serde(default)]
    pub data: serde_json::Map<String, serde_json::Value>,
    pub set_ms: u64,
    /// The stream position through which everything was sent or passed over.
    pub through: u64,
    /// How much was unread as the gateway was last told.
    #[serde(default)]
    pub told_unread: u32,
}
