//! How far the words of `user_terms` have caught up with each room, by its short number; 0 stands for the accounts here.
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct IndexedRooms;

impl Table for IndexedRooms {
    const ID: u8 = 71;
    type Key = u64;
    type Row = IndexedRoomRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexedRoomRow {
    /// The state whose members have their words, a key of `states`.
    pub state: u64,
    /// Whether whoever wants may join the room or read it.
    pub open: bool,
}
