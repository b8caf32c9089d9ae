//! Aliases of this server.
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Aliases;

impl Table for Aliases {
    const ID: u8 = 11;
    type Key = OwnedRoomAliasId;
    type Row = AliasRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AliasRow {
    pub room_id: OwnedRoomId,
    pub creator: OwnedUserId,
}
