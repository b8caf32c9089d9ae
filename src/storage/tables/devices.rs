//! The devices of each user and the token each is logged in with.
use core::net::IpAddr;

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
    /// SHA-256 of the refresh token, if the device was given one.
    #[serde(default)]
    pub refresh_hash: Option<[u8; 32]>,
    /// What a refresh made and nobody has used yet: until then the tokens before are good too.
    #[serde(default)]
    pub next: Option<NextTokens>,
    #[serde(default)]
    pub last_seen_ms: Option<u64>,
    /// What the client called itself when it was last seen, and its address if the shell knows such.
    #[serde(default)]
    pub user_agent: Option<String>,
    #[serde(default)]
    pub last_seen_ip: Option<IpAddr>,
}

/// SHA-256 of an access token and of the refresh token that came with it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextTokens {
    pub access_hash: [u8; 32],
    pub refresh_hash: [u8; 32],
}

impl DeviceRow {
    /// Every access token that is the device's.
    pub fn access_hashes(&self) -> Vec<[u8; 32]> {
        [self.token_hash].into_iter().chain(self.next.map(|next| next.access_hash)).collect()
    }

    /// Every refresh token that is the device's.
    pub fn refresh_hashes(&self) -> Vec<[u8; 32]> {
        self.refresh_hash.into_iter().chain(self.next.map(|next| next.refresh_hash)).collect()
    }
}
