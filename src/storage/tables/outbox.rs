//! What waits to be sent to each server, in order.
use ruma::{OwnedEventId, OwnedServerName};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Outbox;

impl Table for Outbox {
    const ID: u8 = 18;
    type Key = (OwnedServerName, u64);
    type Row = OutboxRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxRow {
    Pdu(OwnedEventId),
    Edu(serde_json::Value),
}
