//! The keys by which users vouch for their devices (client-server API, "Cross-signing"), of users here and elsewhere.
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct CrossSigningKeys;

impl Table for CrossSigningKeys {
    const ID: u8 = 130;
    type Key = OwnedUserId;
    type Row = CrossSigningRow;
}

/// Both as they were signed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CrossSigningRow {
    #[serde(default)]
    pub master: Option<serde_json::Map<String, serde_json::Value>>,
    /// Signed with the master key above.
    #[serde(default)]
    pub self_signing: Option<serde_json::Map<String, serde_json::Value>>,
}
