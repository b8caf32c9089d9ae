//! What a seed decides of a run before it begins: how many servers and people, how bad the network and the clocks are.
use warren::domain::room_version::SUPPORTED;

use super::{network::Weather, number, random::Random};

/// Members of the largest rooms.
const MEMBERS_MAX: u64 = 100;

/// Runs in which a server lies, in percent, unless `LIARS` says otherwise.
const LIARS: u64 = 25;

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Homeservers that people act on.
    pub servers: usize,
    /// Users on each of them.
    pub users: usize,
    /// Users on a homeserver that went away for good after they joined, and is still in the room.
    pub ghosts: usize,
    pub room_version: String,
    pub actions: u64,
    pub weather: Weather,
    /// Clocks are off by up to this many milliseconds either way, and jump as far.
    pub skew_max_ms: u64,
    /// The power of somebody in the room on one further homeserver, which lies; `None`: nobody lies.
    pub liar: Option<i64>,
}

impl Plan {
    pub fn draw(seed: u64) -> Self {
        let random = Random::new(seed ^ 0x0071_A500);
        // Most runs are small, because small ones are told fast and find most; some are as large as they get.
        let servers = match random.below(20) {
            0..13 => random.between(3, 6),
            13..18 => random.between(6, 10),
            _ => random.between(10, 13),
        };
        let (users, ghosts) = match random.below(20) {
            0..12 => (1, 0),
            12..17 => (random.between(2, 5), random.below(6)),
            17..19 => (1, MEMBERS_MAX - servers),
            _ => (MEMBERS_MAX / servers, MEMBERS_MAX % servers),
        };
        let stormy = random.chance(30);
        let weather = Weather {
            loss: random.below(if stormy { 25 } else { 8 }),
            duplication: random.below(15),
            late: random.below(if stormy { 10 } else { 3 }),
        };
        Self {
            seed,
            servers: servers as usize,
            users: users as usize,
            ghosts: ghosts as usize,
            room_version: random.pick(&SUPPORTED).to_string(),
            actions: random.between(25, 50),
            weather,
            skew_max_ms: *random.pick(&[5_000, 5_000, 10 * 60_000, 24 * 60 * 60_000]),
            liar: random.chance(number("LIARS").unwrap_or(LIARS)).then(|| *random.pick(&[0, 0, 50])),
        }
    }
}
