//! Guests: people without an account, who take part only where a room lets them in (client-server API, "Guest Access").
use std::rc::Rc;

use ruma::{
    OwnedServerName, OwnedUserId, RoomId, UserId,
    events::{StateEventType, room::member::MembershipState},
};
use serde::Deserialize;
use thiserror::Error;

use super::{
    Homeserver, room_facts,
    rooms::{Room, membership},
    spaces::{Budget, foreign},
    user_rows,
};
use crate::{ports::StoreError, storage::tables::Users};

#[derive(Debug, Error)]
pub enum GuestError {
    #[error("the room does not let guests in, or this homeserver cannot tell")]
    Forbidden,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Refuses a guest whom the room does not let in. Of a room that this homeserver is not in, `via` and whoever invited the
/// guest are asked; what the room itself says is looked at once it is joined ([`joined`]).
pub async fn check_may_join(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    guest: &UserId,
    via: &[OwnedServerName],
) -> Result<(), GuestError> {
    let may_join = match room_facts::resident(server, room_id).await? {
        Some(room) => lets_guests_in(server, &room).await?,
        None => {
            let row = user_rows::membership(server, guest, room_id).await?;
            let inviter = row.as_ref().filter(|row| row.membership == MembershipState::Invite);
            let inviter = inviter.map(|row| row.sender.server_name().to_owned());
            let asked: Vec<_> = inviter.into_iter().chain(via.iter().cloned()).collect();
            let told = foreign::ask(server, room_id, &asked, false, &mut Budget::for_one(server)).await?;
            told.is_some_and(|told| told.room.facts.guest_can_join)
        }
    };
    if may_join { Ok(()) } else { Err(GuestError::Forbidden) }
}

/// Looks again at a room that a guest has joined: it may have closed to guests in the meantime.
pub async fn joined(server: &Rc<Homeserver>, room_id: &RoomId) -> Result<(), StoreError> {
    match server.rooms.get(room_id).await? {
        Some(room) => put_out(server, &room).await,
        None => Ok(()),
    }
}

/// Whether the room's `m.room.guest_access` says `can_join`.
async fn lets_guests_in(server: &Homeserver, room: &Room) -> Result<bool, StoreError> {
    #[derive(Deserialize)]
    struct Content {
        guest_access: String,
    }
    let event_id = room.live().state.get(&StateEventType::RoomGuestAccess, "").cloned();
    let Some(event_id) = event_id else { return Ok(false) };
    let event = server.rooms.events.get(&event_id).await?;
    let content = event.and_then(|event| serde_json::from_str::<Content>(event.pdu.content.get()).ok());
    Ok(content.is_some_and(|content| content.guest_access == "can_join"))
}

/// Takes our guests out of a room whose `m.room.guest_access` has changed, unless it lets them in, in the background.
pub fn access_changed(server: &Homeserver, room: &Rc<Room>) {
    if !server.options.guests {
        return;
    }
    let (itself, room) = (server.itself.clone(), room.clone());
    server.environment.tasks.spawn(Box::pin(async move {
        let Some(server) = itself.upgrade() else { return };
        if let Err(error) = put_out(&server, &room).await {
            tracing::warn!(room = %room.id, %error, "guests could not be taken out of a room");
        }
    }));
}

async fn put_out(server: &Rc<Homeserver>, room: &Rc<Room>) -> Result<(), StoreError> {
    if lets_guests_in(server, room).await? {
        return Ok(());
    }
    let joined: Vec<OwnedUserId> = {
        let live = room.live();
        live.members.residents().cloned().collect()
    };
    let rows = server.database.get_many::<Users>(&joined).await?;
    for (user, row) in joined.iter().zip(rows) {
        if row.is_some_and(|row| row.guest)
            && let Err(error) = membership::leave(server, &room.id, user, None).await
        {
            tracing::warn!(room = %room.id, %user, %error, "a guest could not be taken out of a room");
        }
    }
    Ok(())
}

/// Looks at the rooms of every guest again: the homeserver may have stopped before it took them out.
pub async fn resume(server: &Rc<Homeserver>) -> Result<(), StoreError> {
    if !server.options.guests {
        return Ok(());
    }
    let users = server.database.scan_all::<Users, _>(&()).await?;
    for (user, _) in users.iter().filter(|(_, row)| row.guest && !row.deactivated) {
        for room_id in user_rows::joined_rooms(server, user).await? {
            if let Some(room) = server.rooms.get(&room_id).await? {
                access_changed(server, &room);
            }
        }
    }
    Ok(())
}
