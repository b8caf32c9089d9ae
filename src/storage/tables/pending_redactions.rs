//! Redactions that arrived before the event they redact.
use ruma::{OwnedEventId, OwnedRoomId};

use crate::storage::Table;

pub struct PendingRedactions;

impl Table for PendingRedactions {
    const ID: u8 = 25;
    type Key = (OwnedRoomId, OwnedEventId);
    type Row = OwnedEventId;
}
