//! Who is typing where, until when: state without a clock. Deadlines are milliseconds of any clock, always the same.
use std::collections::{BTreeMap, BTreeSet};

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

/// The longest anyone types without saying so again, in milliseconds: a client or peer that asks for more gets this.
pub const TYPING_TIMEOUT_MAX_MS: u64 = 120_000;
/// The most users shown typing in one room; further ones are ignored until somebody stops.
pub const TYPING_USERS_PER_ROOM_MAX: usize = 100;

/// Everybody now typing, by room.
#[derive(Clone, Debug, Default)]
pub struct Typing {
    rooms: BTreeMap<OwnedRoomId, BTreeMap<OwnedUserId, u64>>,
}

impl Typing {
    /// `user` types in `room` for `timeout_ms` from `now_ms` on, at most [`TYPING_TIMEOUT_MAX_MS`]. Returns whether
    /// the list of typing users changed: clients are told then, and not when a deadline moves.
    pub fn start(&mut self, room: &RoomId, user: &UserId, now_ms: u64, timeout_ms: u64) -> bool {
        let deadline_ms = now_ms.saturating_add(timeout_ms.min(TYPING_TIMEOUT_MAX_MS));
        let users = self.rooms.entry(room.to_owned()).or_default();
        if let Some(deadline) = users.get_mut(user) {
            *deadline = deadline_ms;
            return false;
        }
        if users.len() >= TYPING_USERS_PER_ROOM_MAX {
            return false;
        }
        users.insert(user.to_owned(), deadline_ms);
        true
    }

    /// `user` no longer types in `room`. Returns whether the list changed.
    pub fn stop(&mut self, room: &RoomId, user: &UserId) -> bool {
        let Some(users) = self.rooms.get_mut(room) else { return false };
        let changed = users.remove(user).is_some();
        if users.is_empty() {
            self.rooms.remove(room);
        }
        changed
    }

    /// Forgets everybody whose time is up at `now_ms`. Returns whom, room by room.
    pub fn expire(&mut self, now_ms: u64) -> BTreeMap<OwnedRoomId, BTreeSet<OwnedUserId>> {
        let mut expired: BTreeMap<OwnedRoomId, BTreeSet<OwnedUserId>> = BTreeMap::new();
        self.rooms.retain(|room, users| {
            users.retain(|user, deadline_ms| {
                let goes_on = *deadline_ms > now_ms;
                if !goes_on {
                    expired.entry(room.clone()).or_default().insert(user.clone());
                }
                goes_on
            });
            !users.is_empty()
        });
        expired
    }

    /// When [`Typing::expire`] next has something to do.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.rooms.values().flat_map(|users| users.values()).min().copied()
    }

    /// Who types in `room`, in a stable order.
    pub fn users(&self, room: &RoomId) -> Vec<OwnedUserId> {
        self.rooms.get(room).into_iter().flat_map(|users| users.keys()).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_room::user;

    fn room(n: u8) -> OwnedRoomId {
        format!("!room{n}:example.org").try_into().unwrap()
    }

    #[test]
    fn only_a_change_of_the_list_is_a_change() {
        let mut typing = Typing::default();
        assert!(typing.start(&room(1), &user(1), 0, 10));
        assert!(!typing.start(&room(1), &user(1), 5, 10), "goes on typing");
        assert!(typing.start(&room(1), &user(2), 5, 10));
        assert_eq!(typing.users(&room(2)), [] as [OwnedUserId; 0]);
        assert_eq!(typing.users(&room(1)).len(), 2);
        assert!(
            typing.stop(&room(1), &user(1)) && !typing.stop(&room(1), &user(1)) && !typing.stop(&room(3), &user(1))
        );
        assert_eq!(typing.users(&room(1)), [user(2)]);
    }

    #[test]
    fn nobody_types_for_ever() {
        let mut typing = Typing::default();
        typing.start(&room(1), &user(1), 0, 10);
        typing.start(&room(1), &user(2), 0, 30);
        typing.start(&room(2), &user(1), 0, u64::MAX);
        assert_eq!(typing.next_deadline_ms(), Some(10));
        assert!(typing.expire(9).is_empty());
        assert_eq!(typing.expire(10), [(room(1), [user(1)].into())].into());
        assert_eq!(typing.users(&room(1)), [user(2)]);
        typing.start(&room(1), &user(2), 20, 20);
        assert!(typing.expire(30).is_empty(), "said so again in time");
        assert_eq!(typing.expire(TYPING_TIMEOUT_MAX_MS).len(), 2);
        assert_eq!((typing.next_deadline_ms(), typing.rooms.len()), (None, 0));
    }

    #[test]
    fn a_room_shows_so_many_and_no_more() {
        let mut typing = Typing::default();
        let user = |n: usize| UserId::parse(format!("@u{n}:example.org")).unwrap();
        for n in 0..TYPING_USERS_PER_ROOM_MAX {
            assert!(typing.start(&room(1), &user(n), 0, 10));
        }
        assert!(!typing.start(&room(1), &user(TYPING_USERS_PER_ROOM_MAX), 0, 10));
        assert!(typing.stop(&room(1), &user(0)));
        assert!(typing.start(&room(1), &user(TYPING_USERS_PER_ROOM_MAX), 0, 10));
    }
}
