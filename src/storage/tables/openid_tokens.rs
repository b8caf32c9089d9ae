//! Tokens by which others learn who a user is, by the tokens' SHA-256.
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct OpenIdTokens;

impl Table for OpenIdTokens {
    const ID: u8 = 61;
    type Key = [u8; 32];
    type Row = OpenIdTokenRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenIdTokenRow {
    pub user_id: OwnedUserId,
    pub expires_ms: u64,
}
