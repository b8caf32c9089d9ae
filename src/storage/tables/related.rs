//! What relates to an event, in numbers, so that showing the event does not take looking at each of its children.
use std::collections::BTreeMap;

use ruma::{OwnedEventId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Related;

impl Table for Related {
    const ID: u8 = 41;
    /// The room's number and the parent.
    type Key = (u64, OwnedEventId);
    type Row = RelatedRow;
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelatedRow {
    /// How many children there are by the type of their relation.
    #[serde(rename = "k", default)]
    pub kinds: BTreeMap<String, u32>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<ThreadTally>,
}

/// A thread in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadTally {
    /// Events by sender.
    #[serde(rename = "s")]
    pub senders: BTreeMap<OwnedUserId, u32>,
    /// Events of senders for whom there was no more room.
    #[serde(rename = "o", default)]
    pub others: u32,
    /// The place of the latest in the timeline.
    #[serde(rename = "l")]
    pub latest: i64,
}
