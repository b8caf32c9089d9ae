//! Which rooms a local user joined, left or is invited to, whether or not we have a copy of the room.
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomVersionId, events::room::member::MembershipState,
};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Memberships;

impl Table for Memberships {
    const ID: u8 = 17;
    type Key = (OwnedUserId, OwnedRoomId);
    type Row = MembershipRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MembershipRow {
    pub membership: MembershipState,
    pub event_id: OwnedEventId,
    pub sender: OwnedUserId,
    /// When it changed, as a stream position.
    pub position: u64,
    /// The stripped state that came with an invite (or that we saw of the room we knock on).
    #[serde(default)]
    pub stripped_state: Vec<serde_json::Value>,
    /// The whole invite event, if we have no copy of the room it belongs to.
    #[serde(default)]
    pub invite_event: Option<serde_json::Value>,
    /// The server through which we knocked on a room of which we have no copy.
    #[serde(default)]
    pub knocked_via: Option<OwnedServerName>,
    #[serde(default)]
    pub room_version: Option<RoomVersionId>,
    #[serde(default)]
    pub forgotten: bool,
    /// The invite that this one, which another server sent, took the place of. Which of the two the room knows of we cannot
    /// tell from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier_invite: Option<Box<MembershipRow>>,
}
