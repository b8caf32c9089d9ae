//! The accounts of this homeserver and their profiles.
use std::collections::BTreeMap;

use ruma::{OwnedRoomId, OwnedUserId};
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
    #[serde(default)]
    pub admin: bool,
    /// May read, and little else, until an administrator says otherwise.
    #[serde(default)]
    pub suspended: bool,
    /// May do nothing until an administrator says otherwise.
    #[serde(default)]
    pub locked: bool,
    /// Where the server tells the user what it has to say.
    #[serde(default)]
    pub notices_room: Option<OwnedRoomId>,
    /// `displayname`, `avatar_url` and any further profile field.
    #[serde(default)]
    pub profile: BTreeMap<String, serde_json::Value>,
}
