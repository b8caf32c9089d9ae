//! Who is typing (client-server API, "Typing Notifications"): kept in memory, expired by one task.
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::{Rc, Weak},
};

use futures::future::select;
use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId,
    api::federation::transactions::edu::{Edu, TypingContent},
};
use thiserror::Error;

use super::{room_for, tell_room};
use crate::{
    domain::typing::Typing as Users,
    homeserver::{Homeserver, notifier::Notifier, rooms::Room},
    ports::StoreError,
};

/// How long a user of another server is shown typing unless that server says so again.
pub const REMOTE_TYPING_TIMEOUT_MS: u64 = 60_000;
/// How often other servers are told that a user of ours goes on typing; less than they wait.
pub const TYPING_REPEATED_EVERY_MS: u64 = 40_000;

#[derive(Debug, Error)]
pub enum TypingError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("you are not in this room")]
    NotInRoom,
}

#[derive(Default)]
pub struct Typing {
    users: RefCell<Users>,
    /// When the list of a room last changed, as a stream position.
    changed: RefCell<BTreeMap<OwnedRoomId, u64>>,
    /// When other servers were last told that a user of ours types, in milliseconds.
    told_ms: RefCell<BTreeMap<(OwnedRoomId, OwnedUserId), u64>>,
    expiring: Cell<bool>,
    deadlines: Notifier,
}

impl Typing {
    /// Who types in the room, and since which stream position the list is so; `None` if nobody did since the start.
    pub fn in_room(&self, room_id: &RoomId) -> Option<(u64, Vec<OwnedUserId>)> {
        let position = *self.changed.borrow().get(room_id)?;
        Some((position, self.users.borrow().users(room_id)))
    }
}

/// A local user types for `timeout_ms`, or stops (`None`).
pub async fn set(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &UserId,
    timeout_ms: Option<u64>,
) -> Result<(), TypingError> {
    let room = server.rooms.get(room_id).await?.ok_or(TypingError::NotInRoom)?;
    if !room.is_joined(user) {
        return Err(TypingError::NotInRoom);
    }
    let changed = apply(server, &room, user, timeout_ms).await?;
    let now_ms = server.environment.clock.now_ms();
    let key = (room.id.clone(), user.to_owned());
    let told_ms = server.typing.told_ms.borrow().get(&key).copied();
    let repeat = timeout_ms.is_some() && told_ms.is_some_and(|told| now_ms >= told + TYPING_REPEATED_EVERY_MS);
    if changed || repeat {
        tell(server, &room, user, timeout_ms.is_some());
    }
    Ok(())
}

/// Takes in what `origin` says. What it may not say, or we have no room for, is ignored.
pub async fn apply_incoming(
    server: &Rc<Homeserver>,
    origin: &ServerName,
    content: TypingContent,
) -> Result<(), StoreError> {
    let Some(room) = room_for(server, origin, &content.room_id, &content.user_id).await? else { return Ok(()) };
    let timeout_ms = content.typing.then_some(REMOTE_TYPING_TIMEOUT_MS);
    apply(server, &room, &content.user_id, timeout_ms).await?;
    Ok(())
}

async fn apply(
    server: &Rc<Homeserver>,
    room: &Room,
    user: &UserId,
    timeout_ms: Option<u64>,
) -> Result<bool, StoreError> {
    let now_ms = server.environment.clock.now_ms();
    let typing = &server.typing;
    let changed = match timeout_ms {
        Some(timeout_ms) => typing.users.borrow_mut().start(&room.id, user, now_ms, timeout_ms),
        None => typing.users.borrow_mut().stop(&room.id, user),
    };
    // Before a restart clients may have been told of somebody typing whom we no longer know of: the first word on a
    // room since then counts.
    let first = !typing.changed.borrow().contains_key(&room.id);
    if changed || first {
        mark_changed(server, std::iter::once(room.id.clone())).await?;
    }
    if timeout_ms.is_some() {
        expire_later(server);
    }
    Ok(changed)
}

async fn mark_changed(server: &Homeserver, rooms: impl Iterator<Item = OwnedRoomId>) -> Result<(), StoreError> {
    let position = server.positions.next().await?;
    server.typing.changed.borrow_mut().extend(rooms.map(|room| (room, position.value())));
    drop(position);
    server.notifier.notify();
    Ok(())
}

fn tell(server: &Homeserver, room: &Room, user: &UserId, typing: bool) {
    let key = (room.id.clone(), user.to_owned());
    let mut told_ms = server.typing.told_ms.borrow_mut();
    if typing {
        told_ms.insert(key, server.environment.clock.now_ms());
    } else {
        told_ms.remove(&key);
    }
    tell_room(server, room, &Edu::Typing(TypingContent::new(room.id.clone(), user.to_owned(), typing)));
}

/// Sees to it that whoever stops without saying so is forgotten in time.
fn expire_later(server: &Rc<Homeserver>) {
    let typing = &server.typing;
    typing.deadlines.notify();
    if !typing.expiring.replace(true) {
        server.environment.tasks.spawn(Box::pin(expire(Rc::downgrade(server))));
    }
}

async fn expire(server: Weak<Homeserver>) {
    loop {
        let (sleep, earlier) = {
            let Some(server) = server.upgrade() else { return };
            let Some(deadline_ms) = server.typing.users.borrow().next_deadline_ms() else {
                server.typing.expiring.set(false);
                return;
            };
            let earlier = server.typing.deadlines.listen();
            let wait_ms = deadline_ms.saturating_sub(server.environment.clock.now_ms());
            (server.environment.clock.sleep_ms(wait_ms), earlier)
        };
        select(sleep, earlier).await;
        let Some(server) = server.upgrade() else { return };
        if let Err(error) = expire_now(&server).await {
            tracing::warn!(%error, "typing users are forgotten late");
        }
    }
}

async fn expire_now(server: &Rc<Homeserver>) -> Result<(), StoreError> {
    let expired = server.typing.users.borrow_mut().expire(server.environment.clock.now_ms());
    if expired.is_empty() {
        return Ok(());
    }
    mark_changed(server, expired.keys().cloned()).await?;
    for (room_id, users) in expired {
        let Some(room) = server.rooms.get(&room_id).await? else { continue };
        for user in users.iter().filter(|user| user.server_name() == server.server_name()) {
            tell(server, &room, user, false);
        }
    }
    Ok(())
}
