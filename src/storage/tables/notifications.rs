//! Events a user was notified of and has not read, by room and timeline order.
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Notifications;

impl Table for Notifications {
    const ID: u8 = 24;
    type Key = (OwnedUserId, OwnedRoomId, i64);
    type Row = NotificationRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotificationRow {
    pub event_id: OwnedEventId,
    pub highlight: bool,
    /// The root of the thread the event belongs to; `None` for the main timeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<OwnedEventId>,
}
