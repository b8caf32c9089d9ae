//! Tokens with which accounts may be made, by the token itself: administrators read them back.
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct RegistrationTokens;

impl Table for RegistrationTokens {
    const ID: u8 = 64;
    type Key = String;
    type Row = RegistrationTokenRow;
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RegistrationTokenRow {
    /// How many accounts may be made with it; `None` for any number.
    #[serde(default)]
    pub uses_allowed: Option<u64>,
    /// How many were.
    #[serde(default)]
    pub completed: u64,
    #[serde(default)]
    pub expires_ms: Option<u64>,
}
