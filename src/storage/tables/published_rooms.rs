//! Rooms in this server's public directory.
use ruma::OwnedRoomId;

use crate::storage::Table;

pub struct PublishedRooms;

impl Table for PublishedRooms {
    const ID: u8 = 12;
    type Key = OwnedRoomId;
    type Row = ();
}
