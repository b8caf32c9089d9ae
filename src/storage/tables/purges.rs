//! Rooms that nobody here remembers, whose events are being deleted, by the room's number.
use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Purges;

impl Table for Purges {
    const ID: u8 = 81;
    type Key = u64;
    type Row = PurgeRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PurgeRow {
    pub room_id: OwnedRoomId,
    /// So that what is left of the room's events can be read until they are gone.
    pub version: RoomVersionId,
    /// The room's last state, a key of `states`.
    pub state: u64,
    /// Words of the user directory up to this one have been looked at, a key of `user_terms`.
    #[serde(default)]
    pub word: Option<(String, String, u64)>,
    /// Whether all of them have.
    #[serde(default)]
    pub words_done: bool,
    /// Events up to this one have been looked at.
    #[serde(default)]
    pub cursor: Option<OwnedEventId>,
}
