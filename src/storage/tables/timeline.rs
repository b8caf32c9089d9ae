//! The events clients see, in order: `order` is a stream position for live events, negative for history fetched later.
use ruma::OwnedEventId;

use crate::storage::Table;

pub struct Timeline;

impl Table for Timeline {
    const ID: u8 = 14;
    type Key = (u64, i64);
    type Row = OwnedEventId;
}
