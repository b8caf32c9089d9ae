//! Backward extremities: events we lack that events in the timeline follow, with the earliest such follower's order.
use ruma::OwnedEventId;
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Gaps;

impl Table for Gaps {
    const ID: u8 = 23;
    type Key = (u64, OwnedEventId);
    type Row = GapRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GapRow {
    pub order: i64,
}
