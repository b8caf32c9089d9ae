//! Which device an access token stands for, by the token's SHA-256.
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct AccessTokens;

impl Table for AccessTokens {
    const ID: u8 = 5;
    type Key = [u8; 32];
    type Row = AccessTokenRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessTokenRow {
    pub user_id: OwnedUserId,
    pub device_id: OwnedDeviceId,
    /// When it ends; `None` if it lasts until the device is logged out.
    #[serde(default)]
    pub expires_ms: Option<u64>,
    /// Whether its first use ends the tokens that the device had before.
    #[serde(default)]
    pub supersedes: bool,
}
