//! What servers published as their keys, so that what they signed before can be checked while they are away.
use ruma::{CanonicalJsonObject, OwnedServerName};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct ServerKeys;

impl Table for ServerKeys {
    const ID: u8 = 100;
    type Key = OwnedServerName;
    type Row = ServerKeysRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerKeysRow {
    /// Newest first.
    pub answers: Vec<KeysAnswerRow>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeysAnswerRow {
    /// In milliseconds since the Unix epoch.
    pub fetched_ms: u64,
    /// As it was signed.
    pub object: CanonicalJsonObject,
}
