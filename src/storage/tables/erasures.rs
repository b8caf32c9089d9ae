//! How far each room had come when a user of this homeserver had what they sent erased.
use ruma::{OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Erasures;

impl Table for Erasures {
    const ID: u8 = 63;
    type Key = (OwnedUserId, OwnedRoomId);
    type Row = ErasureRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErasureRow {
    /// The order of the room's newest event then.
    pub order: i64,
}
