//! Single-use tokens for `m.login.token`, by their SHA-256.
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct LoginTokens;

impl Table for LoginTokens {
    const ID: u8 = 7;
    type Key = [u8; 32];
    type Row = LoginTokenRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoginTokenRow {
    pub user_id: OwnedUserId,
    pub expires_ms: u64,
}
