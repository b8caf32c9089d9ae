//! Lazy-loaded members (client-server API, "Lazy-loading room members"): which membership events a device has been sent.
use std::{cell::RefCell, num::NonZeroUsize};

use lru::LruCache;
use ruma::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};

use crate::homeserver::sessions::Session;

/// Membership events remembered as sent, of all devices together. What is forgotten is sent again.
const MEMBERS_SENT_CACHED: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

/// Devices whose first sync is remembered. A device that is forgotten begins anew.
const DEVICES_CACHED: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

type Device = (OwnedUserId, OwnedDeviceId);
type Key = (Device, OwnedRoomId, OwnedUserId);

pub struct LazyMembers {
    /// By device, room and member: the event that was sent and the `next_batch` it went out with.
    sent: RefCell<LruCache<Key, (OwnedEventId, u64)>>,
    /// The `next_batch` from which on each device remembers what it was sent.
    began: RefCell<LruCache<Device, u64>>,
}

impl Default for LazyMembers {
    fn default() -> Self {
        Self {
            sent: RefCell::new(LruCache::new(MEMBERS_SENT_CACHED)),
            began: RefCell::new(LruCache::new(DEVICES_CACHED)),
        }
    }
}

impl LazyMembers {
    /// A device syncs from `since`, or for the first time up to `until`: then it has nothing of what it was sent before.
    pub fn begin(&self, session: &Session, since: Option<u64>, until: u64) {
        let mut began = self.began.borrow_mut();
        match since {
            None => drop(began.put(device(session), until)),
            Some(since) => drop(began.get_or_insert(device(session), || since)),
        }
    }

    /// Whether the device has the member's event: it was sent with a `next_batch` the device has confirmed by continuing
    /// from there or later. An answer that got lost on the way is asked for again from before.
    pub fn has(
        &self,
        session: &Session,
        room: &RoomId,
        member: &UserId,
        event: &OwnedEventId,
        confirmed: Option<u64>,
    ) -> bool {
        let Some(began) = self.began.borrow_mut().get(&device(session)).copied() else { return false };
        let mut sent = self.sent.borrow_mut();
        let known = sent.get(&key(session, room, member));
        known.is_some_and(|(id, at)| id == event && *at >= began && confirmed.is_some_and(|since| *at <= since))
    }

    pub fn note(&self, session: &Session, room: &RoomId, member: &UserId, event: &OwnedEventId, next_batch: u64) {
        let began = self.began.borrow_mut().get(&device(session)).copied().unwrap_or(next_batch);
        let mut sent = self.sent.borrow_mut();
        let key = key(session, room, member);
        // Sent again unchanged, it is still there from the first time.
        if sent.get(&key).is_none_or(|(id, at)| id != event || *at < began) {
            sent.put(key, (event.clone(), next_batch));
        }
    }
}

fn device(session: &Session) -> Device {
    (session.user_id.clone(), session.device_id.clone())
}

fn key(session: &Session, room: &RoomId, member: &UserId) -> Key {
    (device(session), room.to_owned(), member.to_owned())
}

#[cfg(test)]
mod tests {
    use ruma::{device_id, event_id, room_id, user_id};

    use super::*;

    #[test]
    fn only_what_a_device_confirmed_is_not_sent_again() {
        let members = LazyMembers::default();
        let session = Session {
            user_id: user_id!("@a:x.alt").to_owned(),
            device_id: device_id!("D").to_owned(),
            standing: Default::default(),
            request_id: None,
        };
        let (room, bob) = (room_id!("!r:x.alt"), user_id!("@b:x.alt"));
        let (joined, renamed) = (event_id!("$1").to_owned(), event_id!("$2").to_owned());
        let has = |event, since| members.has(&session, room, bob, event, since);
        members.begin(&session, None, 10);
        assert!(!has(&joined, Some(10)));
        members.note(&session, room, bob, &joined, 12);
        assert!(!has(&joined, Some(10)), "the answer may have got lost");
        members.note(&session, room, bob, &joined, 14);
        assert!(has(&joined, Some(12)));
        assert!(!has(&renamed, Some(12)));
        members.begin(&session, Some(12), 20);
        assert!(has(&joined, Some(20)));
        members.begin(&session, None, 30);
        assert!(!has(&joined, Some(30)), "the device has begun anew");
        members.note(&session, room, bob, &joined, 31);
        assert!(has(&joined, Some(31)));
    }
}
