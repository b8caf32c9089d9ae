//! Who is what in a room's current state, so that members need not be read from events.
use ruma::{OwnedEventId, OwnedUserId, events::room::member::MembershipState};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct RoomMembers;

impl Table for RoomMembers {
    const ID: u8 = 16;
    type Key = (u64, OwnedUserId);
    type Row = RoomMemberRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoomMemberRow {
    pub membership: MembershipState,
    pub event_id: OwnedEventId,
    #[serde(default)]
    pub displayname: Option<String>,
    #[serde(default)]
    pub avatar_url: Option<String>,
    /// When the user last came into the room or went, as a stream position; 0 if never since that is noted.
    #[serde(default)]
    pub moved_at: u64,
}
