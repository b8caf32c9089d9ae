//! Which device a refresh token stands for, by the token's SHA-256.
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct RefreshTokens;

impl Table for RefreshTokens {
    const ID: u8 = 60;
    type Key = [u8; 32];
    type Row = RefreshTokenRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefreshTokenRow {
    pub user_id: OwnedUserId,
    pub device_id: OwnedDeviceId,
}
