//! The threads of a room by the place of the latest event in each: their roots.
use ruma::OwnedEventId;

use crate::storage::Table;

pub struct Threads;

impl Table for Threads {
    const ID: u8 = 42;
    type Key = (u64, i64);
    type Row = OwnedEventId;
}
