//! Joining, knocking, inviting and leaving across servers.
pub mod v1;

use std::rc::Rc;

use ruma::{
    OwnedServerName,
    api::federation::membership::{
        RawStrippedState, create_invite::v2 as invite_v2, create_join_event::v2 as join_v2,
        create_knock_event::v1 as send_knock, create_leave_event::v2 as leave_v2, prepare_join_event::v1 as make_join,
        prepare_knock_event::v1 as make_knock, prepare_leave_event::v1 as make_leave,
    },
    events::room::member::MembershipState,
};

use crate::{
    api::ApiError,
    domain::event::Pdu,
    homeserver::{
        Homeserver,
        rooms::{handshake, invite},
    },
};

/// `GET /_matrix/federation/v1/make_join/{roomId}/{userId}` (server-server API, "Joining Rooms")
pub async fn prepare_join_event(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: make_join::Request,
) -> Result<make_join::Response, ApiError> {
    let make_join::Request { room_id, user_id, ver, .. } = request;
    let (version, event) =
        handshake::template(homeserver, &room_id, &user_id, MembershipState::Join, Some(&ver), &origin).await?;
    let mut response = make_join::Response::new(event);
    response.room_version = Some(version);
    Ok(response)
}

/// `PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}` (server-server API, "Joining Rooms")
pub async fn create_join_event(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: join_v2::Request,
) -> Result<join_v2::Response, ApiError> {
    let join_v2::Request { room_id, event_id, pdu, omit_members, .. } = request;
    let welcome = handshake::accept_join(homeserver, &room_id, &event_id, &pdu, &origin, omit_members).await?;
    let raw = |pdus: Vec<Rc<Pdu>>| pdus.iter().map(|pdu| pdu.raw()).collect();
    let mut state = join_v2::RoomState::new();
    state.event = Some(welcome.event.raw());
    state.members_omitted = omit_members;
    state.servers_in_room = omit_members.then(|| welcome.servers.iter().map(ToString::to_string).collect());
    state.state = raw(welcome.state);
    state.auth_chain = raw(welcome.auth_chain);
    Ok(join_v2::Response::new(state))
}

/// `PUT /_matrix/federation/v2/invite/{roomId}/{eventId}` (server-server API, "Inviting to a room")
pub async fn create_invite(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: invite_v2::Request,
) -> Result<invite_v2::Response, ApiError> {
    let invite_v2::Request { room_id, event_id, room_version, event, invite_room_state, .. } = request;
    let signed =
        invite::receive_invite(homeserver, &origin, &room_id, &event_id, &room_version, &event, invite_room_state)
            .await?;
    Ok(invite_v2::Response::new(signed))
}

/// `GET /_matrix/federation/v1/make_leave/{roomId}/{userId}` (server-server API, "Leaving Rooms")
pub async fn prepare_leave_event(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: make_leave::Request,
) -> Result<make_leave::Response, ApiError> {
    let make_leave::Request { room_id, user_id, .. } = request;
    let (version, event) =
        handshake::template(homeserver, &room_id, &user_id, MembershipState::Leave, None, &origin).await?;
    Ok(make_leave::Response::new(Some(version), event))
}

/// `PUT /_matrix/federation/v2/send_leave/{roomId}/{eventId}` (server-server API, "Leaving Rooms")
pub async fn create_leave_event(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: leave_v2::Request,
) -> Result<leave_v2::Response, ApiError> {
    let leave_v2::Request { room_id, event_id, pdu, .. } = request;
    handshake::accept_leave(homeserver, &room_id, &event_id, &pdu, &origin).await?;
    Ok(leave_v2::Response::new())
}

/// `GET /_matrix/federation/v1/make_knock/{roomId}/{userId}` (server-server API, "Knocking upon a room")
pub async fn prepare_knock_event(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: make_knock::Request,
) -> Result<make_knock::Response, ApiError> {
    let make_knock::Request { room_id, user_id, ver, .. } = request;
    let (version, event) =
        handshake::template(homeserver, &room_id, &user_id, MembershipState::Knock, Some(&ver), &origin).await?;
    Ok(make_knock::Response::new(version, event))
}

/// `PUT /_matrix/federation/v1/send_knock/{roomId}/{eventId}` (server-server API, "Knocking upon a room")
pub async fn create_knock_event(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: send_knock::Request,
) -> Result<send_knock::Response, ApiError> {
    let send_knock::Request { room_id, event_id, pdu, .. } = request;
    let stripped = handshake::accept_knock(homeserver, &room_id, &event_id, &pdu, &origin).await?;
    Ok(send_knock::Response::new(stripped.iter().map(|pdu| RawStrippedState::Pdu(pdu.raw())).collect()))
}
