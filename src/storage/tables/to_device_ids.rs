//! Which messages to devices a server has sent us already, so that one sent again is not told again.
use ruma::OwnedServerName;
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct ToDeviceIds;

impl Table for ToDeviceIds {
    const ID: u8 = 102;
    /// The server, and the id it gave the message.
    type Key = (OwnedServerName, String);
    type Row = ToDeviceIdRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToDeviceIdRow {
    /// The stream position at which it came.
    pub position: u64,
}
