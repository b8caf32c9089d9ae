//! Joining, inviting, leaving and being made to; who is in a room, and in which rooms one is.
use std::rc::Rc;

use ruma::{
    CanonicalJsonObject, OwnedRoomId, OwnedServerName, RoomAliasId, RoomId, RoomOrAliasId, UInt,
    api::client::membership::{
        ThirdPartySigned, ban_user, forget_room, get_member_events, get_mutual_rooms,
        invite_user::{self, v3::InvitationRecipient},
        join_room_by_id, join_room_by_id_or_alias, joined_members, joined_rooms, kick_user, leave_room, unban_user,
    },
};

use crate::{
    api::ApiError,
    homeserver::{
        Homeserver, aliases,
        client_event::{Style, format_state},
        guests,
        messages::order_of,
        mutual_rooms,
        room_view::{self, RoomView},
        rooms::{
            invite, join,
            membership::{self, Sanction},
            third_party_invites::{self, Shown},
        },
        server_notices,
        sessions::Session,
        user_rows,
    },
};

/// `POST /_matrix/client/v3/rooms/{roomId}/join` (client-server API, "Joining rooms")
pub async fn join_room_by_id(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: join_room_by_id::v3::Request,
) -> Result<join_room_by_id::v3::Response, ApiError> {
    let join_room_by_id::v3::Request { room_id, third_party_signed, reason, .. } = request;
    join(homeserver, &session, &room_id, &[], reason, third_party_signed).await?;
    Ok(join_room_by_id::v3::Response::new(room_id))
}

/// `POST /_matrix/client/v3/join/{roomIdOrAlias}` (client-server API, "Joining rooms")
pub async fn join_room_by_id_or_alias(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: join_room_by_id_or_alias::v3::Request,
) -> Result<join_room_by_id_or_alias::v3::Response, ApiError> {
    let (room_id, via) = named_room(homeserver, &request.room_id_or_alias, request.via).await?;
    join(homeserver, &session, &room_id, &via, request.reason, request.third_party_signed).await?;
    Ok(join_room_by_id_or_alias::v3::Response::new(room_id))
}

/// An invite to an address that is shown becomes one to the user before anything else: what does not, lets nobody in. Guests join only where guests may (client-server API, "Guest Access").
async fn join(
    homeserver: &Rc<Homeserver>,
    session: &Session,
    room_id: &RoomId,
    via: &[OwnedServerName],
    reason: Option<String>,
    shown: Option<ThirdPartySigned>,
) -> Result<(), ApiError> {
    if session.standing.guest {
        guests::check_may_join(homeserver, room_id, &session.user_id, via).await?;
    }
    if let Some(ThirdPartySigned { sender, mxid, token, signatures, .. }) = shown {
        let shown = Shown { sender, mxid, token, signatures };
        third_party_invites::redeem(homeserver, room_id, &session.user_id, shown).await?;
    }
    join::join(homeserver, room_id, &session.user_id, via, reason).await?;
    if session.standing.guest {
        guests::joined(homeserver, room_id).await?;
    }
    Ok(())
}

/// The room a path names by its id or an alias, and servers through which it may be entered.
pub(super) async fn named_room(
    homeserver: &Rc<Homeserver>,
    named: &RoomOrAliasId,
    via: Vec<OwnedServerName>,
) -> Result<(OwnedRoomId, Vec<OwnedServerName>), ApiError> {
    match <&RoomAliasId>::try_from(named.as_str()) {
        Ok(alias) => {
            let (room_id, servers) = aliases::resolve(homeserver, &alias.to_owned()).await?;
            Ok((room_id, servers.into_iter().chain(via).collect()))
        }
        Err(_) => {
            let room_id = RoomId::parse(named.as_str()).map_err(|error| ApiError::invalid_param(error.to_string()))?;
            Ok((room_id, via))
        }
    }
}

/// `POST /_matrix/client/v3/rooms/{roomId}/invite` (client-server API, "Joining rooms")
pub async fn invite_user(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: invite_user::v3::Request,
) -> Result<invite_user::v3::Response, ApiError> {
    let InvitationRecipient::UserId(recipient) = request.recipient else {
        return Err(ApiError::forbidden("Inviting by e-mail or phone needs an identity server, and there is none."));
    };
    let mut content = CanonicalJsonObject::new();
    if let Some(reason) = recipient.reason {
        content.insert("reason".to_owned(), reason.into());
    }
    invite::invite(homeserver, &request.room_id, &session.user_id, &recipient.user_id, content).await?;
    Ok(invite_user::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/leave` (client-server API, "Leaving rooms")
pub async fn leave_room(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: leave_room::v3::Request,
) -> Result<leave_room::v3::Response, ApiError> {
    if server_notices::is_undeclinable(homeserver, &session.user_id, &request.room_id).await? {
        return Err(ApiError::cannot_leave_server_notices());
    }
    membership::leave(homeserver, &request.room_id, &session.user_id, request.reason).await?;
    Ok(leave_room::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/forget` (client-server API, "Leaving rooms")
pub async fn forget_room(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: forget_room::v3::Request,
) -> Result<forget_room::v3::Response, ApiError> {
    membership::forget(homeserver, &request.room_id, &session.user_id).await?;
    Ok(forget_room::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/kick` (client-server API, "Leaving rooms")
pub async fn kick_user(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: kick_user::v3::Request,
) -> Result<kick_user::v3::Response, ApiError> {
    let kick_user::v3::Request { room_id, user_id, reason, .. } = request;
    membership::sanction(homeserver, &room_id, &session.user_id, &user_id, Sanction::Kick, reason).await?;
    Ok(kick_user::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/ban` (client-server API, "Banning users in a room")
pub async fn ban_user(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: ban_user::v3::Request,
) -> Result<ban_user::v3::Response, ApiError> {
    let ban_user::v3::Request { room_id, user_id, reason, .. } = request;
    membership::sanction(homeserver, &room_id, &session.user_id, &user_id, Sanction::Ban, reason).await?;
    Ok(ban_user::v3::Response::new())
}

/// `POST /_matrix/client/v3/rooms/{roomId}/unban` (client-server API, "Banning users in a room")
pub async fn unban_user(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: unban_user::v3::Request,
) -> Result<unban_user::v3::Response, ApiError> {
    let unban_user::v3::Request { room_id, user_id, reason, .. } = request;
    membership::sanction(homeserver, &room_id, &session.user_id, &user_id, Sanction::Unban, reason).await?;
    Ok(unban_user::v3::Response::new())
}

/// `GET /_matrix/client/v3/rooms/{roomId}/members` (client-server API, "Getting events for a room")
pub async fn get_member_events(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_member_events::v3::Request,
) -> Result<get_member_events::v3::Response, ApiError> {
    let get_member_events::v3::Request { room_id, at, membership, not_membership, .. } = request;
    let at = at.as_deref().map(str::parse).transpose()?.map(order_of);
    let view = RoomView::open(homeserver, &room_id, &session.user_id).await?;
    let wanted = |current: &_| {
        membership.as_ref().is_none_or(|wanted| wanted == current) && not_membership.as_ref() != Some(current)
    };
    let members = view.members(homeserver, at, wanted).await?;
    let chunk = format_state(homeserver, &session, Style::STATE, &members).await?;
    Ok(get_member_events::v3::Response::new(chunk))
}

/// `GET /_matrix/client/v3/rooms/{roomId}/joined_members` (client-server API, "Getting events for a room")
pub async fn joined_members(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: joined_members::v3::Request,
) -> Result<joined_members::v3::Response, ApiError> {
    let members = room_view::joined_members(homeserver, &request.room_id, &session.user_id).await?;
    Ok(joined_members::v3::Response::new(members.into_iter().collect()))
}

/// `GET /_matrix/client/v3/joined_rooms` (client-server API, "Joining rooms")
pub async fn joined_rooms(
    homeserver: &Rc<Homeserver>,
    session: Session,
    _request: joined_rooms::v3::Request,
) -> Result<joined_rooms::v3::Response, ApiError> {
    let rooms = user_rows::joined_rooms(homeserver, &session.user_id).await?;
    Ok(joined_rooms::v3::Response::new(rooms))
}

/// `GET /_matrix/client/v1/mutual_rooms` (client-server API, "Mutual rooms")
pub async fn get_mutual_rooms(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_mutual_rooms::v1::Request,
) -> Result<get_mutual_rooms::v1::Response, ApiError> {
    let shared =
        mutual_rooms::of_users(homeserver, &session.user_id, &request.user_id, request.from.as_deref()).await?;
    let count = UInt::try_from(shared.count).unwrap_or(UInt::MAX);
    let mut response = get_mutual_rooms::v1::Response::new(count, shared.joined);
    response.next_batch = shared.next_batch;
    Ok(response)
}

/// `GET /_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms` (MSC2666)
pub async fn get_mutual_rooms_unstable(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_mutual_rooms::unstable::Request,
) -> Result<get_mutual_rooms::unstable::Response, ApiError> {
    let shared =
        mutual_rooms::of_users(homeserver, &session.user_id, &request.user_id, request.from.as_deref()).await?;
    let mut response = get_mutual_rooms::unstable::Response::new(shared.joined);
    response.next_batch = shared.next_batch;
    Ok(response)
}
