//! The profile's secret key and the suffix of its name, written before anything is signed with it.
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
    pub suffix: String,
}
