//! Invites, both ways. An invite to somebody whose server is away is part of the room at once and delivered later.
use std::rc::Rc;

use ruma::{
    CanonicalJsonObject, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, RoomVersionId, UserId,
    api::federation::membership::{RawStrippedState, create_invite},
    events::{StateEventType, room::member::MembershipState},
};
use serde_json::value::RawValue as RawJsonValue;
use thiserror::Error;

use super::{
    acl,
    apart::{self, Apart},
    append::{Append, AppendError, Audience, Placement},
    create::state_draft,
    membership::member_content,
    policy,
    send::{SendError, resident_room},
    stripped::{self, StrippedError},
};
use crate::{
    domain::{
        event::{Pdu, check::DropReason, draft::countersign},
        room::admit::Verdict,
        room_version::{self, UnsupportedRoomVersion},
    },
    homeserver::{Homeserver, key_ring::verify, notifications, peers::PeerError, user_rows},
    ports::{Batch, Lane, Reach, StoreError},
    storage::tables::{MembershipRow, Memberships, Users},
};

/// The most invites to rooms of other servers that wait for one user's answer; the inviter's server tries again later.
pub const INVITES_HELD_MAX: usize = 200;

#[derive(Debug, Error)]
pub enum InviteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("{0} is already in the room")]
    AlreadyJoined(OwnedUserId),
    #[error("{0} is not known here")]
    NoSuchUser(OwnedUserId),
    #[error("{0} wants no invites")]
    Blocked(OwnedUserId),
    #[error(transparent)]
    Apart(#[from] Apart),
    /// The invited user's server said no.
    #[error("{0}")]
    Refused(PeerError),
}

impl From<AppendError> for InviteError {
    fn from(error: AppendError) -> Self {
        Self::Send(error.into())
    }
}

/// Invites `target`; `content` holds what goes beside the membership (reason, is_direct).
pub async fn invite(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    sender: &OwnedUserId,
    target: &OwnedUserId,
    content: CanonicalJsonObject,
) -> Result<(), InviteError> {
    let room = resident_room(server, room_id).await?;
    if room.is_joined(target) {
        return Err(InviteError::AlreadyJoined(target.clone()));
    }
    let mut content: CanonicalJsonObject =
        member_content(MembershipState::Invite, None).into_iter().chain(content).collect();
    let draft = |content| state_draft(&room.id, sender, StateEventType::RoomMember, target.to_string(), content);
    let destination = target.server_name().to_owned();
    if destination == server.server_name() {
        if server.database.get::<Users>(target).await?.is_none_or(|user| user.deactivated) {
            return Err(InviteError::NoSuchUser(target.clone()));
        }
        if user_rows::digest(server, target).await?.blocks_invites {
            return Err(InviteError::Blocked(target.clone()));
        }
        content.extend(super::membership::profile_content(server, target).await?);
        let append = Append::begin(server, &room).await;
        let (mut append, pdu) = policy::sealed(server, &room, append, draft(content)).await?;
        append.append_local(pdu, None).await?;
        return Ok(append.commit().await?);
    }
    apart::from_us(server, &destination)?;
    apart::in_room(server, &room, &destination)?;
    if room.has_joined_server(&destination) || server.environment.transport.reach(&destination) != Reach::Now {
        return invite_later(server, &room, draft(content), &destination).await;
    }
    let append = Append::begin(server, &room).await;
    let (append, pdu) = policy::sealed(server, &room, append, draft(content.clone())).await?;
    let pdu = Rc::new(pdu);
    let stripped = append.stripped_events(&pdu).await?;
    drop(append);
    match ask_to_sign(server, &destination, &pdu, &room.version, stripped).await {
        Ok(signed) => {
            let mut append = Append::begin(server, &room).await;
            match append.receive(signed, Placement::Live, Audience::Room { except: None }).await? {
                Verdict::Accepted => Ok(append.commit().await?),
                Verdict::SoftFailed { rule } | Verdict::Rejected { rule } => Err(AppendError::Forbidden(rule).into()),
            }
        }
        Err(error) if error.is_temporary() => invite_later(server, &room, draft(content), &destination).await,
        Err(error) => Err(InviteError::Refused(error)),
    }
}

async fn invite_later(
    server: &Rc<Homeserver>,
    room: &Rc<super::Room>,
    draft: crate::domain::event::draft::Draft,
    destination: &OwnedServerName,
) -> Result<(), InviteError> {
    let append = Append::begin(server, room).await;
    let (mut append, pdu) = policy::sealed(server, room, append, draft).await?;
    let pdu = append.append_local(pdu, None).await?;
    append.queue_invite(destination, pdu.event_id.clone()).await?;
    Ok(append.commit().await?)
}

/// Delivers an invite from the outbox. Ok also when there is nothing left to deliver.
pub async fn deliver(
    server: &Rc<Homeserver>,
    destination: &OwnedServerName,
    event_id: &OwnedEventId,
) -> Result<Result<(), PeerError>, StoreError> {
    let Some(event) = server.rooms.events.get(event_id).await? else { return Ok(Ok(())) };
    let Some(room) = server.rooms.get(&event.pdu.room_id).await? else { return Ok(Ok(())) };
    let still_invited = event
        .pdu
        .target()
        .is_some_and(|user| room.live().members.get(user).is_some_and(|member| member.event_id == *event_id));
    if !still_invited {
        return Ok(Ok(()));
    }
    let append = Append::begin(server, &room).await;
    let stripped = match append.stripped_events(&event.pdu).await {
        Ok(stripped) => stripped,
        Err(AppendError::Store(error)) => return Err(error),
        Err(error) => return Ok(Err(PeerError::Unsendable(error.to_string()))),
    };
    drop(append);
    Ok(ask_to_sign(server, destination, &event.pdu, &room.version, stripped).await.map(drop))
}

/// Sends the invite request; answers with the event signed by both servers.
async fn ask_to_sign(
    server: &Rc<Homeserver>,
    destination: &OwnedServerName,
    pdu: &Pdu,
    version: &RoomVersionId,
    stripped: Vec<Rc<Pdu>>,
) -> Result<Pdu, PeerError> {
    let request = create_invite::v2::Request::new(
        pdu.room_id.clone(),
        pdu.event_id.clone(),
        version.clone(),
        pdu.raw(),
        stripped.iter().map(|event| RawStrippedState::Pdu(event.raw())).collect(),
    );
    let response = server.ask(destination, Lane::Queries, request).await?;
    let malformed = |reason: String| server.malformed(destination, reason);
    let rules = room_version::rules(version).map_err(|error| malformed(error.to_string()))?;
    let checked = verify::check_received(server, &response.event, &pdu.room_id, &rules)
        .await
        .map_err(|error| malformed(error.to_string()))?;
    if checked.pdu.event_id != pdu.event_id || checked.redacted {
        return Err(malformed("it signed another event".to_owned()));
    }
    Ok(checked.pdu)
}

#[derive(Debug, Error)]
pub enum ReceiveInviteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Version(#[from] UnsupportedRoomVersion),
    #[error("not a valid invite: {0}")]
    Dropped(#[from] DropReason),
    #[error("not a valid invite: {0}")]
    Stripped(#[from] StrippedError),
    #[error("not a valid invite: {0}")]
    Invalid(&'static str),
    #[error("{0} does not exist here")]
    NoSuchUser(OwnedUserId),
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("{0} wants no invites")]
    Blocked(OwnedUserId),
    #[error("{0} has {INVITES_HELD_MAX} invites to answer first")]
    TooMany(OwnedUserId),
}

/// An invite request from another server: checks it, keeps it for the user, answers with our signature on it.
pub async fn receive_invite(
    server: &Rc<Homeserver>,
    origin: &OwnedServerName,
    room_id: &OwnedRoomId,
    event_id: &OwnedEventId,
    version: &RoomVersionId,
    event: &RawJsonValue,
    room_state: Vec<RawStrippedState>,
) -> Result<Box<RawJsonValue>, ReceiveInviteError> {
    let rules = room_version::rules(version)?;
    let checked = verify::check_received(server, event, room_id, &rules).await?;
    if checked.redacted {
        return Err(ReceiveInviteError::Invalid("its content is not what was hashed"));
    }
    let pdu = checked.pdu;
    if pdu.event_id != *event_id {
        return Err(ReceiveInviteError::Invalid("the event has another id"));
    }
    if pdu.membership() != Some(MembershipState::Invite) {
        return Err(ReceiveInviteError::Invalid("the event is no invite"));
    }
    if pdu.sender.server_name() != origin {
        return Err(ReceiveInviteError::Forbidden("the inviter is not of your server"));
    }
    let user = pdu.target().map(UserId::to_owned).ok_or(ReceiveInviteError::Invalid("it invites nobody"))?;
    if user.server_name() != server.server_name() {
        return Err(ReceiveInviteError::Invalid("the invited user is not of this server"));
    }
    if server.database.get::<Users>(&user).await?.is_none_or(|row| row.deactivated) {
        return Err(ReceiveInviteError::NoSuchUser(user));
    }
    if user_rows::digest(server, &user).await?.blocks_invites {
        return Err(ReceiveInviteError::Blocked(user));
    }
    let room = server.rooms.get(room_id).await?.filter(|room| room.live().resident);
    if let Some(room) = &room
        && acl::denies_origin(server, room, origin).await?
    {
        return Err(ReceiveInviteError::Forbidden("your server is denied by the room's ACL"));
    }
    let signed =
        countersign(&pdu, &server.identity, &rules).map_err(|_| ReceiveInviteError::Invalid("it cannot be signed"))?;
    if room.is_some() {
        // We see for ourselves who is invited: the event comes with the room's other events, and is judged like them.
        return Ok(signed.raw());
    }
    let key = (user.clone(), room_id.clone());
    let _outside = server.joins.outside.lock().await;
    if invites_held(server, &user, room_id).await? >= INVITES_HELD_MAX {
        return Err(ReceiveInviteError::TooMany(user));
    }
    let mut stripped = stripped::all(server, room_state, room_id, &rules).await?;
    // The invite itself is what we checked, whatever the inviter sent beside it.
    let own_key = serde_json::Value::from(user.as_str());
    stripped.retain(|event| event["type"] != "m.room.member" || event["state_key"] != own_key);
    stripped.push(super::append::strip(&pdu));
    let position = server.positions.next().await?;
    let row = MembershipRow {
        membership: MembershipState::Invite,
        event_id: pdu.event_id.clone(),
        sender: pdu.sender.clone(),
        position: position.value(),
        stripped_state: stripped,
        invite_event: serde_json::from_str(signed.json()).ok(),
        knocked_via: None,
        room_version: Some(version.clone()),
        forgotten: false,
        earlier_invite: earlier_invite(server.database.get::<Memberships>(&key).await?, origin).map(Box::new),
    };
    let mut batch = Batch::strict();
    batch.put::<Memberships>(&key, &row);
    let notified = notifications::keep_invite(server, &mut batch, &user, position.value(), &pdu, 0).await?;
    server.database.commit(batch).await?;
    drop(position);
    server.notifier.notify();
    if notified {
        server.pushes.wake(&user);
    }
    Ok(signed.raw())
}

/// The invite that one of `origin` takes the place of, of those that other servers sent: the first of them, so that nobody
/// makes it forgotten by inviting twice.
fn earlier_invite(held: Option<MembershipRow>, origin: &OwnedServerName) -> Option<MembershipRow> {
    let mut held = held.filter(|row| row.membership == MembershipState::Invite && row.invite_event.is_some())?;
    let first = held.earlier_invite.take().map(|first| *first);
    [first, Some(held)].into_iter().flatten().find(|row| row.sender.server_name() != origin)
}

/// How many invites to other rooms of which we have no part the user holds.
async fn invites_held(server: &Homeserver, user: &OwnedUserId, room_id: &RoomId) -> Result<usize, StoreError> {
    let rows = server.database.scan_all::<Memberships, _>(user).await?;
    Ok(rows.iter().filter(|((_, room), row)| room != room_id && row.invite_event.is_some()).count())
}
