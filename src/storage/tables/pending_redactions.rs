//! Redactions that arrived before the event they redact: the last of each user, as only some may turn out to be allowed.
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};

use crate::storage::Table;

pub struct PendingRedactions;

impl Table for PendingRedactions {
    const ID: u8 = 25;
    type Key = (OwnedRoomId, OwnedEventId, OwnedUserId);
    type Row = OwnedEventId;
}
