//! What servers that are not in a room, as far as we know, may have us write of it: events that were right once and are not
//! any more. They are soft-failed and kept as any other, for whoever follows them, up to a measure.
use std::{cell::RefCell, num::NonZeroUsize};

use ruma::{OwnedRoomId, RoomId};

use crate::domain::rate_limit::{Buckets, Rate};

/// Events written of one room, those they rest on among them: so many at once, and then one in ten minutes.
pub const LATE_EVENTS: Rate = Rate { burst: 50, refill_ms: 10 * 60 * 1_000 };
/// Rooms of which is remembered what was written.
const ROOMS_REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");

pub struct Late(RefCell<Buckets<OwnedRoomId>>);

impl Default for Late {
    fn default() -> Self {
        Self(RefCell::new(Buckets::new(LATE_EVENTS, ROOMS_REMEMBERED)))
    }
}

impl Late {
    /// Whether so many events more of the room may be written; they count as written then.
    pub fn may_write(&self, room_id: &RoomId, events: usize, now_ms: u64) -> bool {
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        events <= LATE_EVENTS.burst && self.0.borrow_mut().take(room_id.to_owned(), events, now_ms).is_ok()
    }
}
