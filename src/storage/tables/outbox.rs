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
    /// An event of a room the server is in.
    Pdu(OwnedEventId),
    /// An invite to one of its users that it has not yet been told of; delivered with the invite request.
    Invite(OwnedEventId),
    Edu(serde_json::Value),
}
