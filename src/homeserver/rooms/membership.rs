//! Membership changes that this server makes by itself: leaving, kicking, banning, forgetting, following a profile.
use std::rc::Rc;

use ruma::{
    CanonicalJsonObject, OwnedRoomId, OwnedUserId, RoomId, UserId,
    events::{TimelineEventType, room::member::MembershipState},
};
use thiserror::Error;

use super::{
    join::JoinError,
    purge,
    send::{Message, SendError, resident_room, send},
    through,
};
use crate::{
    homeserver::Homeserver,
    ports::{Batch, StoreError},
    storage::tables::{MembershipRow, Memberships, Users},
};

#[derive(Debug, Error)]
pub enum MembershipError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Send(#[from] SendError),
    /// What was asked does not fit the target's membership.
    #[error("{0}")]
    Forbidden(String),
    #[error("you have never been in or invited to this room")]
    NotFound,
    #[error("leave the room before forgetting it")]
    StillIn,
}

/// What one user may do to another's membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sanction {
    Kick,
    Ban,
    Unban,
}

pub async fn sanction(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    sender: &OwnedUserId,
    target: &UserId,
    sanction: Sanction,
    reason: Option<String>,
) -> Result<(), MembershipError> {
    let room = resident_room(server, room_id).await?;
    let current = room.membership(target);
    let fits = match sanction {
        Sanction::Kick => {
            matches!(current, Some(MembershipState::Join | MembershipState::Invite | MembershipState::Knock))
        }
        Sanction::Ban => true,
        Sanction::Unban => current == Some(MembershipState::Ban),
    };
    if !fits {
        let state = current.map_or_else(|| "not in the room".to_owned(), |current| format!("in state {current}"));
        let action = if sanction == Sanction::Kick { "kick" } else { "unban" };
        return Err(MembershipError::Forbidden(format!("cannot {action} {target}, who is {state}")));
    }
    let membership = if sanction == Sanction::Ban { MembershipState::Ban } else { MembershipState::Leave };
    set_membership(server, &room.id, sender, target, member_content(membership, reason)).await
}

/// Leaves a room, declines an invite or takes a knock back. A room whose servers cannot be reached is left here all the same.
pub async fn leave(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &OwnedUserId,
    reason: Option<String>,
) -> Result<(), MembershipError> {
    let key = (user.clone(), room_id.to_owned());
    let row = server.database.get::<Memberships>(&key).await?.ok_or(MembershipError::NotFound)?;
    match row.membership {
        MembershipState::Join | MembershipState::Invite | MembershipState::Knock => {}
        MembershipState::Ban => return Err(MembershipError::Forbidden("you are banned from this room".to_owned())),
        _ => return Ok(()),
    }
    if let Some(room) = server.rooms.get(room_id).await?
        && room.live().resident
    {
        return set_membership(server, &room.id, user, user, member_content(MembershipState::Leave, reason)).await;
    }
    decline(server, &key, row, reason).await
}

/// Forgets a room the user has left. Once nobody here remembers it, it is deleted.
pub async fn forget(server: &Rc<Homeserver>, room_id: &RoomId, user: &OwnedUserId) -> Result<(), MembershipError> {
    let key = (user.clone(), room_id.to_owned());
    let mut row = server.database.get::<Memberships>(&key).await?.ok_or(MembershipError::NotFound)?;
    if !matches!(row.membership, MembershipState::Leave | MembershipState::Ban) {
        return Err(MembershipError::StillIn);
    }
    row.forgotten = true;
    let mut batch = Batch::strict();
    batch.put::<Memberships>(&key, &row);
    server.database.commit(batch).await?;
    server.notifier.notify();
    Ok(purge::if_unremembered(server, room_id).await?)
}

/// Repeats a local user's display name and avatar in every room the user is in. Rooms that refuse keep the old ones.
pub async fn update_member_profile(server: &Rc<Homeserver>, user: &OwnedUserId) -> Result<(), StoreError> {
    let profile = profile_content(server, user).await?;
    for ((_, room_id), row) in server.database.scan_all::<Memberships, _>(user).await? {
        if row.membership != MembershipState::Join {
            continue;
        }
        let mut content = member_content(MembershipState::Join, None);
        content.extend(profile.clone());
        if let Err(error) = set_membership(server, &room_id, user, user, content).await {
            tracing::warn!(room = %room_id, %user, %error, "the new profile could not be told to a room");
        }
    }
    Ok(())
}

/// `displayname` and `avatar_url` as membership events carry them.
pub async fn profile_content(server: &Homeserver, user: &OwnedUserId) -> Result<CanonicalJsonObject, StoreError> {
    let profile = server.database.get::<Users>(user).await?.map(|row| row.profile).unwrap_or_default();
    let fields = ["displayname", "avatar_url"].into_iter().filter_map(|field| {
        let value = profile.get(field)?.as_str()?;
        Some((field.to_owned(), value.to_owned().into()))
    });
    Ok(fields.collect())
}

pub fn member_content(membership: MembershipState, reason: Option<String>) -> CanonicalJsonObject {
    let mut content = CanonicalJsonObject::from([("membership".to_owned(), membership.to_string().into())]);
    if let Some(reason) = reason {
        content.insert("reason".to_owned(), reason.into());
    }
    content
}

pub(super) async fn set_membership(
    server: &Rc<Homeserver>,
    room_id: &OwnedRoomId,
    sender: &OwnedUserId,
    target: &UserId,
    content: CanonicalJsonObject,
) -> Result<(), MembershipError> {
    let message = Message {
        sender: sender.clone(),
        kind: TimelineEventType::RoomMember,
        state_key: Some(target.to_string()),
        content,
        redacts: None,
    };
    send(server, room_id, message, None).await?;
    Ok(())
}

/// Declines an invite to a room we have no part in, or takes a knock on it back: through the inviter's server or the one
/// we knocked through if it answers, here in any case.
async fn decline(
    server: &Rc<Homeserver>,
    key: &(OwnedUserId, OwnedRoomId),
    row: MembershipRow,
    reason: Option<String>,
) -> Result<(), MembershipError> {
    let via = row.knocked_via.clone().unwrap_or_else(|| row.sender.server_name().to_owned());
    let event_id = match through::leave_through(server, &key.1, &key.0, &via, reason).await {
        Ok(event_id) => event_id,
        Err(JoinError::Store(error)) => return Err(error.into()),
        Err(error) => {
            tracing::warn!(room = %key.1, %error, "the invite is declined, or the knock taken back, here only");
            row.event_id.clone()
        }
    };
    let _outside = server.joins.outside.lock().await;
    let position = server.positions.next().await?;
    let declined = MembershipRow {
        membership: MembershipState::Leave,
        event_id,
        sender: key.0.clone(),
        position: position.value(),
        stripped_state: Vec::new(),
        invite_event: None,
        knocked_via: None,
        earlier_invite: None,
        ..row
    };
    let mut batch = Batch::strict();
    batch.put::<Memberships>(key, &declined);
    server.database.commit(batch).await?;
    drop(position);
    server.notifier.notify();
    Ok(())
}
