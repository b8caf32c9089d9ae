//! The accounts of this homeserver and their profiles.
use std::collections::BTreeMap;

use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Users;

impl Table for Users {
    const ID: u8 = 4;
    type Key = OwnedUserId;
    type Row = UserRow;
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserRow {
    pub created_ms: u64,
    /// A PHC string; `None` if the account has no password.
    #[serde(default)]
    pub password_hash: Option<String>,
    #[serde(default)]
    pub guest: bool,
    #[serde(default)]
    pub deactivated: bool,
    /// `displayname`, `avatar_url` and any further profile field.
    #[serde(default)]
    pub profile: BTreeMap<String, serde_json::Value>,
}
