//! Joins that are under way: of one room one at a time, and what is asked twice is done once.
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use futures::{
    FutureExt,
    future::{LocalBoxFuture, Shared, WeakShared},
    lock::Mutex,
};
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomId};

use super::JoinError;

/// What tells one join from another: repeated word for word it is the same.
pub type Asked = (OwnedRoomId, OwnedUserId, Vec<OwnedServerName>);

type Joining = LocalBoxFuture<'static, Result<(), JoinError>>;

#[derive(Default)]
pub struct Joins {
    rooms: RefCell<BTreeMap<OwnedRoomId, Rc<Mutex<()>>>>,
    /// What those who asked wait for, as long as one of them does.
    asked: RefCell<BTreeMap<Asked, WeakShared<Joining>>>,
    /// Held from reading to committing by whoever notes a membership in a room of which we have no part.
    pub outside: Mutex<()>,
}

impl Joins {
    pub(in crate::homeserver::rooms) fn lock_of(&self, room_id: &RoomId) -> Rc<Mutex<()>> {
        let mut locks = self.rooms.borrow_mut();
        locks.retain(|_, lock| Rc::strong_count(lock) > 1);
        locks.entry(room_id.to_owned()).or_default().clone()
    }

    /// Waits for a join of the room to end, if one is under way: servers in the room speak to us from the moment they let
    /// us in, which is before we know what they speak of.
    pub async fn settled(&self, room_id: &RoomId) {
        let lock = self.rooms.borrow().get(room_id).cloned();
        if let Some(lock) = lock {
            drop(lock.lock().await);
        }
    }

    /// What `join` comes to, or the same join that is under way already.
    pub(super) async fn once(&self, asked: Asked, join: Joining) -> Result<(), JoinError> {
        let joining = self.under_way(asked, join);
        joining.await
    }

    fn under_way(&self, asked: Asked, join: Joining) -> Shared<Joining> {
        let mut under_way = self.asked.borrow_mut();
        under_way.retain(|_, joining| joining.upgrade().is_some_and(|joining| joining.peek().is_none()));
        if let Some(joining) = under_way.get(&asked).and_then(WeakShared::upgrade) {
            return joining;
        }
        let joining = join.shared();
        under_way.extend(joining.downgrade().map(|weak| (asked, weak)));
        joining
    }
}
