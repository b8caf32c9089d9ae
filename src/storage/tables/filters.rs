//! Filters that clients uploaded.
use ruma::OwnedUserId;

use crate::storage::Table;

pub struct Filters;

impl Table for Filters {
    const ID: u8 = 8;
    type Key = (OwnedUserId, String);
    type Row = serde_json::Value;
}
