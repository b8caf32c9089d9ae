//! Room states as bounded chains of differences.
use ruma::OwnedEventId;
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct States;

impl Table for States {
    const ID: u8 = 26;
    type Key = u64;
    type Row = StateRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateRow {
    /// The state this one differs from; `None` if `changes` is the whole state.
    #[serde(default)]
    pub base: Option<u64>,
    /// How many states followed each other since one was written whole.
    #[serde(default)]
    pub hops: u32,
    /// Entries set: type, state key, event.
    #[serde(default)]
    pub changes: Vec<(String, String, OwnedEventId)>,
    /// Entries of `base` that are absent here: type, state key.
    #[serde(default)]
    pub removals: Vec<(String, String)>,
}
