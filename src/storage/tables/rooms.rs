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
    #[serde(default)]
    pub relations: RelationsIndex,
}

/// How far the room's timeline is in the tables of relations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelationsIndex {
    /// Not at all: the room was written before there was such an index.
    #[default]
    Absent,
    /// Whole but for the events with `oldest <= order <= next`, which are gone through from the newest to the oldest.
    Building {
        next: i64,
        oldest: i64,
    },
    /// Whole, and nothing relates to anything.
    Empty,
    Whole,
}
