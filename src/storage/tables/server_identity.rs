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
}
