//! The profile's secret key and its name, written before anything is signed with it.
use ruma::OwnedServerName;
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct ServerIdentity;

impl Table for ServerIdentity {
    const ID: u8 = 2;
    type Key = ();
    type Row = ServerIdentityRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerIdentityRow {
    /// The ed25519 secret.
    pub seed: [u8; 32],
    /// What a name made of the key ends in.
    pub suffix: String,
    /// A name that is not made of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_name: Option<OwnedServerName>,
    /// The version part of the id of the key, if it is not that of a name made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_version: Option<String>,
    /// The keys before it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_keys: Vec<FormerKeyRow>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FormerKeyRow {
    pub id: String,
    pub key: [u8; 32],
    /// In milliseconds since the Unix epoch.
    pub expired_ms: u64,
}
