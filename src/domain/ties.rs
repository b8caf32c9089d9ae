//! How much another homeserver matters to us: by the rooms we share with it, and by how recently there was something.
//!
//! What counts most cannot be had without us: a room that is entered by invitation only. Rooms that anybody can join count
//! little however many they are, and events count by the time of the last, not by their number. So nobody who joins
//! what we are in, or floods it, becomes clearly more wanted than a friend who is silent.

/// What we have to do with another homeserver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ties {
    /// Rooms shared that are entered by invitation only.
    pub private_rooms: usize,
    /// Other rooms shared.
    pub open_rooms: usize,
    /// How long ago, in milliseconds, one of its users or of ours last sent an event to a room shared; `None` if that is not
    /// known.
    pub quiet_ms: Option<u64>,
}

/// One server is clearly more wanted than another when their weights differ by this much; below that it is not worth
/// giving up a connection for.
pub const CLEARLY_MORE_WANTED: u32 = 2;

const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;
const WEEK_MS: u64 = 7 * DAY_MS;

impl Ties {
    /// 0 for a server we share no room with, from 2 to 6 for one that we share open rooms with only, from 5 to 10 for others.
    pub fn weight(&self) -> u32 {
        let rooms = match (self.private_rooms, self.open_rooms) {
            (0, 0) => return 0,
            (0, 1) => 2,
            (0, _) => 3,
            (1, _) => 5,
            (2 | 3, _) => 6,
            _ => 7,
        };
        let recency = match self.quiet_ms {
            Some(0..HOUR_MS) => 3,
            Some(HOUR_MS..DAY_MS) => 2,
            Some(DAY_MS..WEEK_MS) => 1,
            _ => 0,
        };
        rooms + recency
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ties(private_rooms: usize, open_rooms: usize, quiet_ms: Option<u64>) -> Ties {
        Ties { private_rooms, open_rooms, quiet_ms }
    }

    #[test]
    fn more_rooms_and_fresher_events_weigh_more() {
        assert_eq!(ties(0, 0, Some(0)).weight(), 0);
        let rising = [
            ties(0, 1, None),
            ties(0, 1, Some(WEEK_MS - 1)),
            ties(0, 2, Some(DAY_MS - 1)),
            ties(0, 2, Some(HOUR_MS - 1)),
            ties(1, 0, Some(DAY_MS - 1)),
            ties(2, 0, Some(DAY_MS - 1)),
            ties(4, 0, Some(0)),
        ];
        assert!(rising.is_sorted_by(|less, more| less.weight() < more.weight()));
    }

    proptest! {
        #[test]
        fn joining_and_flooding_open_rooms_never_beats_a_silent_friend(
            rooms in 0..10_000usize, quiet_ms in 0..WEEK_MS, friends in 1..100usize, silence in proptest::option::of(0..9 * WEEK_MS)
        ) {
            let (hostile, friend) = (ties(0, rooms, Some(quiet_ms)), ties(friends, 0, silence));
            prop_assert!(hostile.weight() < friend.weight() + CLEARLY_MORE_WANTED);
        }

        #[test]
        fn whoever_shares_a_room_is_clearly_more_wanted_than_who_does_not(private in 0..9usize, open in 1..9usize) {
            prop_assert!(ties(private, open, None).weight() >= CLEARLY_MORE_WANTED);
        }
    }
}
