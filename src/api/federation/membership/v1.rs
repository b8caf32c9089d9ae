//! Memberships as servers of old send them: the answers come in a list behind a status that says nothing.
use std::{marker::PhantomData, rc::Rc};

use http::Method;
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, RoomVersionId,
    api::{
        IncomingRequest, Metadata,
        error::{DeserializationError, Error},
        federation::{authentication::ServerSignatures, membership::RawStrippedState},
        path_builder::SinglePath,
    },
};
use serde::Deserialize;
use serde_json::{json, value::RawValue as RawJsonValue};

use crate::{
    api::{ApiError, client::json::Json},
    domain::event::Pdu,
    homeserver::{
        Homeserver,
        rooms::{handshake, invite},
    },
};

/// A path of before there were others.
pub trait OldPath {
    const PATH: &'static str;
}

pub struct SendJoin;
pub struct SendLeave;
pub struct Invite;

impl OldPath for SendJoin {
    const PATH: &'static str = "/_matrix/federation/v1/send_join/{room_id}/{event_id}";
}

impl OldPath for SendLeave {
    const PATH: &'static str = "/_matrix/federation/v1/send_leave/{room_id}/{event_id}";
}

impl OldPath for Invite {
    const PATH: &'static str = "/_matrix/federation/v1/invite/{room_id}/{event_id}";
}

/// An event as a whole, at such a path.
pub struct EventAt<P> {
    room_id: OwnedRoomId,
    event_id: OwnedEventId,
    pdu: Box<RawJsonValue>,
    path: PhantomData<P>,
}

impl<P: OldPath> Metadata for EventAt<P> {
    const METHOD: Method = Method::PUT;
    const RATE_LIMITED: bool = false;
    type Authentication = ServerSignatures;
    type PathBuilder = SinglePath;
    const PATH_BUILDER: SinglePath = SinglePath::new(P::PATH);
}

impl<P: OldPath> IncomingRequest for EventAt<P> {
    type EndpointError = Error;
    type OutgoingResponse = Json;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let argument = |index: usize| path_args.get(index).copied().unwrap_or_default();
        Ok(Self {
            room_id: RoomId::parse(argument(0))?,
            event_id: EventId::parse(argument(1))?,
            pdu: serde_json::from_slice(request.body())?,
            path: PhantomData,
        })
    }
}

/// `PUT /_matrix/federation/v1/send_join/{roomId}/{eventId}` (server-server API until v1.16, "Joining Rooms")
pub async fn create_join_event(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: EventAt<SendJoin>,
) -> Result<Json, ApiError> {
    let EventAt { room_id, event_id, pdu, .. } = request;
    let welcome = handshake::accept_join(homeserver, &room_id, &event_id, &pdu, &origin, false).await?;
    let raw = |pdus: Vec<Rc<Pdu>>| pdus.iter().map(|pdu| pdu.raw()).collect::<Vec<_>>();
    Ok(Json::of(&(
        200,
        json!({
            "origin": homeserver.server_name(),
            "event": welcome.event.raw(),
            "state": raw(welcome.state),
            "auth_chain": raw(welcome.auth_chain),
        }),
    )))
}

/// `PUT /_matrix/federation/v1/send_leave/{roomId}/{eventId}` (server-server API until v1.16, "Leaving Rooms")
pub async fn create_leave_event(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: EventAt<SendLeave>,
) -> Result<Json, ApiError> {
    handshake::accept_leave(homeserver, &request.room_id, &request.event_id, &request.pdu, &origin).await?;
    Ok(Json::of(&(200, json!({}))))
}

/// `PUT /_matrix/federation/v1/invite/{roomId}/{eventId}` (server-server API, "Inviting to a room"): of rooms of versions 1
/// and 2, whose events look the same.
pub async fn create_invite(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: EventAt<Invite>,
) -> Result<Json, ApiError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Unsigned {
        invite_room_state: Vec<RawStrippedState>,
    }
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        unsigned: Unsigned,
    }
    let EventAt { room_id, event_id, pdu, .. } = request;
    let body: Body = serde_json::from_str(pdu.get()).map_err(|error| ApiError::bad_json(error.to_string()))?;
    let state = body.unsigned.invite_room_state;
    let version = RoomVersionId::V1;
    let signed = invite::receive_invite(homeserver, &origin, &room_id, &event_id, &version, &pdu, state).await?;
    Ok(Json::of(&(200, json!({ "event": signed }))))
}
