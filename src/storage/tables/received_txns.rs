//! The last transaction each server sent and our answer, so that a repeat gets the same one.
use ruma::OwnedServerName;
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct ReceivedTxns;

impl Table for ReceivedTxns {
    const ID: u8 = 20;
    type Key = OwnedServerName;
    type Row = ReceivedTxnRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReceivedTxnRow {
    pub txn_id: String,
    pub answer: serde_json::Value,
}
