//! The rooms this server has a copy of, and where each stands.
use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Rooms;

impl Table for Rooms {
    const ID: u8 = 13;
    type Key = OwnedRoomId;
    type Row = RoomRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomRow {
    /// Short for the room in other tables' keys.
    pub num: u64,
    pub version: RoomVersionId,
    pub create_event: OwnedEventId,
    /// Forward extremities.
    pub heads: Vec<OwnedEventId>,
    /// The current resolved state, a key of `states`.
    pub state: u64,
    /// Whether a local user is joined, so that other servers send us the room's events.
    pub resident: bool,
    /// The order of the newest timeline event; 0 if there is none.
    #[serde(default)]
    pub newest_order: i64,
}
