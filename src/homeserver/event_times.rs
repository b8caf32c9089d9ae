//! When our events say they were made: no two of them at once.
//!
//! State resolution puts conflicting events in order by their time, and by their id if that is equal. Somebody who
//! leaves within the millisecond of their joining (browsers give time in steps of up to 100 ms) must not be found to
//! have joined last.
use std::cell::Cell;

use ruma::{MilliSecondsSinceUnixEpoch, UInt};

/// How far events may run ahead of the clock; a clock that is further behind has been set back, and is believed.
const LEAD_MAX_MS: u64 = 10_000;

#[derive(Debug, Default)]
pub struct EventTimes {
    last_ms: Cell<u64>,
}

impl EventTimes {
    /// The time for a new event when the clock says `now_ms`: that, or just after the last event.
    pub fn next(&self, now_ms: u64) -> MilliSecondsSinceUnixEpoch {
        let after_last = self.last_ms.get() + 1;
        let next = if after_last > now_ms + LEAD_MAX_MS { now_ms } else { now_ms.max(after_last) };
        self.last_ms.set(next);
        MilliSecondsSinceUnixEpoch(UInt::try_from(next).unwrap_or(UInt::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_events_are_at_once_and_a_clock_set_back_is_believed() {
        let times = EventTimes::default();
        let next = |now_ms: u64| u64::from(times.next(now_ms).get());
        assert_eq!([next(50_000), next(50_000), next(50_001), next(50_010)], [50_000, 50_001, 50_002, 50_010]);
        assert_eq!(next(49_000), 50_011, "a clock corrected by a little does not reorder events");
        assert_eq!([next(7_000), next(7_000)], [7_000, 7_001]);
    }
}
