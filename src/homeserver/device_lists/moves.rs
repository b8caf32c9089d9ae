//! Who comes to share a room with whom, and who no longer does: whose devices clients must look at again or need not know
//! any longer (client-server API, "Tracking the device list for a user"), and of whom we keep no copy any more.
use std::{collections::BTreeSet, rc::Rc};

use ruma::{
    OwnedUserId, UserId,
    events::{StateEventType, room::member::MembershipState},
};

use super::{Tie, is_encrypted, put_uncopied, resync, tie};
use crate::{
    homeserver::{
        Homeserver,
        edus::{may_be_told_of, presence},
        rooms::Room,
        user_rows,
    },
    ports::{Batch, StoreError},
    storage::tables::{DeviceListCopy, DeviceLists as Table},
};

/// What a user's clients are told of others' devices.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Whose devices or keys are other than before, as far as the client needs to know, or who is new in its rooms.
    pub changed: BTreeSet<OwnedUserId>,
    /// Who shares no encrypted room, or no room at all, any more.
    pub left: BTreeSet<OwnedUserId>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.left.is_empty()
    }
}

/// Up to where everything is known, as a stream position; `None` if that is before `told`.
pub fn now(server: &Homeserver, told: u64) -> Option<u64> {
    Some(server.positions.visible()).filter(|now| *now >= told)
}

/// What happened after `since` and not after `until`, as stream positions.
///
/// Of each user and each room it is known when something happened last: what happened in between and once more after
/// `until` belongs to what comes after `until`. Of a room that was forgotten nothing is known.
pub async fn between(server: &Homeserver, viewer: &UserId, since: u64, until: u64) -> Result<Changes, StoreError> {
    let window = Window { since, until };
    let mut changes = Changes { changed: updated(server, viewer, window).await?, left: BTreeSet::new() };
    let mut gone: Vec<(OwnedUserId, bool)> = Vec::new();
    for (room_id, row) in user_rows::memberships(server, viewer).await?.iter() {
        // Whoever moves does so by an event.
        let quiet = server
            .rooms
            .newest_order(room_id)
            .is_none_or(|newest| i64::try_from(since).is_ok_and(|since| newest <= since));
        if quiet || !matches!(row.membership, MembershipState::Join | MembershipState::Leave | MembershipState::Ban) {
            continue;
        }
        let Some(room) = server.rooms.get(room_id).await? else { continue };
        look_at(server, &room, viewer, window, &mut changes.changed, &mut gone).await?;
    }
    changes.left = no_longer_around(server, viewer, gone).await?;
    changes.left.remove(viewer);
    changes.changed.retain(|user| may_be_told_of(user));
    changes.left.retain(|user| may_be_told_of(user));
    Ok(changes)
}

#[derive(Clone, Copy)]
struct Window {
    since: u64,
    until: u64,
}

impl Window {
    fn has(self, position: u64) -> bool {
        self.since < position && position <= self.until
    }
}

/// Who changed devices or keys, of those who share a room with the viewer, and the viewer.
async fn updated(server: &Homeserver, viewer: &UserId, window: Window) -> Result<BTreeSet<OwnedUserId>, StoreError> {
    let users: BTreeSet<_> = server.device_lists.changed(window.since, window.until).into_iter().collect();
    let own = users.contains(viewer);
    let mut updated = presence::shown_to(server, viewer, users).await?;
    if own {
        updated.insert(viewer.to_owned());
    }
    Ok(updated)
}

/// Notes who came into a room of the viewer's, and who went, with whether the room is encrypted; all of them if the viewer
/// came or went.
async fn look_at(
    server: &Homeserver,
    room: &Room,
    viewer: &UserId,
    window: Window,
    changed: &mut BTreeSet<OwnedUserId>,
    gone: &mut Vec<(OwnedUserId, bool)>,
) -> Result<(), StoreError> {
    let encrypted = is_encrypted(room);
    let now_encrypted = encrypted && became_encrypted(server, room, window).await?;
    let live = room.live().clone();
    let Some(own) = live.members.get(viewer).cloned() else { return Ok(()) };
    let own_moved = window.has(own.moved_at);
    if !own_moved && !now_encrypted && live.members.moved_at() <= window.since {
        return Ok(());
    }
    let is_here = own.membership == MembershipState::Join;
    for (user, member) in live.members.iter().filter(|(user, _)| *user != viewer) {
        let (here, moved) = (member.membership == MembershipState::Join, window.has(member.moved_at));
        let concerns = match is_here {
            true => moved || (here && (own_moved || now_encrypted)),
            false => own_moved && (here || moved),
        };
        if concerns && is_here && here {
            changed.insert(user.clone());
        } else if concerns {
            gone.push((user.clone(), encrypted));
        }
    }
    Ok(())
}

async fn became_encrypted(server: &Homeserver, room: &Room, window: Window) -> Result<bool, StoreError> {
    let event_id = room.live().state.get(&StateEventType::RoomEncryption, "").cloned();
    let Some(event_id) = event_id else { return Ok(false) };
    let order = server.rooms.events.get(&event_id).await?.and_then(|event| event.header.order);
    Ok(order.and_then(|order| u64::try_from(order).ok()).is_some_and(|position| window.has(position)))
}

/// Those with whom the viewer now shares no room, or no encrypted one any more if it was one that they shared.
async fn no_longer_around(
    server: &Homeserver,
    viewer: &UserId,
    gone: Vec<(OwnedUserId, bool)>,
) -> Result<BTreeSet<OwnedUserId>, StoreError> {
    let mut left: BTreeSet<OwnedUserId> = gone.iter().map(|(user, _)| user.clone()).collect();
    let from_encrypted: BTreeSet<_> =
        gone.into_iter().filter(|(_, encrypted)| *encrypted).map(|(user, _)| user).collect();
    if left.is_empty() {
        return Ok(left);
    }
    for room_id in user_rows::joined_rooms(server, viewer).await? {
        let Some(room) = server.rooms.get(&room_id).await? else { continue };
        let encrypted = is_encrypted(&room);
        left.retain(|user| !room.is_joined(user) || (from_encrypted.contains(user) && !encrypted));
    }
    Ok(left)
}

/// Users have come into a room, or gone: what is kept of those whom no user of ours meets any longer is forgotten. Called
/// after the commit.
pub fn moved(server: &Homeserver, room: &Rc<Room>, came: &[OwnedUserId], went: &[OwnedUserId]) {
    let own = server.server_name();
    let kept = |user: &&OwnedUserId| user.server_name() != own && server.device_lists.row(user).is_some();
    let came: Vec<OwnedUserId> = came.iter().filter(kept).cloned().collect();
    let mut gone: BTreeSet<OwnedUserId> = went.iter().filter(kept).cloned().collect();
    if !room.live().resident && went.iter().any(|user| user.server_name() == own) {
        gone.extend(room.live().members.iter().map(|(user, _)| user).filter(kept).cloned());
    }
    let Some(server) = server.itself.upgrade().filter(|_| !came.is_empty() || !gone.is_empty()) else { return };
    let (tasks, room) = (server.environment.tasks.clone(), room.clone());
    tasks.spawn(Box::pin(async move {
        if let Err(error) = settle(&server, &room, came, gone).await {
            tracing::warn!(%error, "what is kept of users' devices was not brought in line with who is in our rooms");
        }
    }));
}

async fn settle(
    server: &Rc<Homeserver>,
    room: &Room,
    came: Vec<OwnedUserId>,
    gone: BTreeSet<OwnedUserId>,
) -> Result<(), StoreError> {
    for user in gone {
        let _writing = server.device_lists.writing.lock().await;
        if tie(server, &user).await? == Tie::None {
            forget(server, &user).await?;
        }
    }
    for user in came {
        let _writing = server.device_lists.writing.lock().await;
        let Some(row) = server.device_lists.row(&user).filter(|row| row.copy == DeviceListCopy::Good) else { continue };
        if !is_elsewhere(server, &user, room).await? {
            // It stopped before it was forgotten: nobody told us of what changed meanwhile.
            resync::set_stale(server, &user, row).await?;
            resync::wake(server, &user);
        }
    }
    Ok(())
}

async fn is_elsewhere(server: &Homeserver, user: &UserId, but: &Room) -> Result<bool, StoreError> {
    for room_id in server.rooms.ids() {
        let Some(room) = server.rooms.get(&room_id).await? else { continue };
        if room.id != but.id && room.live().resident && room.is_joined(user) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn forget(server: &Homeserver, user: &UserId) -> Result<(), StoreError> {
    let Some(mut row) = server.device_lists.row(user) else { return Ok(()) };
    let mut batch = Batch::default();
    put_uncopied(server, &mut batch, user, &mut row).await?;
    batch.delete::<Table>(&user.to_owned());
    server.database.commit(batch).await?;
    server.device_lists.adopt(user, None);
    resync::forget(server, user);
    Ok(())
}
