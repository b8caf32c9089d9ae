//! Where other servers may be reached, so that a tab that starts finds them without the link that led to them.
use ruma::OwnedServerName;
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct ServerAddresses;

impl Table for ServerAddresses {
    const ID: u8 = 27;
    type Key = OwnedServerName;
    type Row = ServerAddressesRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerAddressesRow {
    /// Multiaddresses, best first.
    pub addresses: Vec<String>,
    /// When they were last heard of, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}
