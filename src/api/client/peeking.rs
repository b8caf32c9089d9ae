//! Looking into rooms: snapshots of them and what happens next, for older clients and for those who are not in them.
use std::{borrow::Cow, rc::Rc};

use http::{HeaderValue, Method};
use ruma::{
    EventId, RoomId,
    api::{
        IncomingRequest, Metadata, OutgoingResponse,
        auth_scheme::AccessToken,
        client::{
            peeking::get_current_state::v3::{PaginationChunk, Request as RoomRequest, Response as RoomResponse},
            room::Visibility,
        },
        error::{DeserializationError, Error, IntoHttpError},
        path_builder::SinglePath,
    },
    events::AnyTimelineEvent,
    serde::Raw,
};
use serde_json::{Value, json};

use super::{json::Json, query::Query};
use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        client_event::{Style, format_seen, format_state},
        sessions::Session,
        snapshots::{self, MESSAGES_DEFAULT, Snapshot},
        sync::streams::presence,
    },
};

/// Rooms told before other work gets a turn.
const ROOMS_PER_SLICE: usize = 20;

/// `GET /_matrix/client/v3/rooms/{roomId}/initialSync` (client-server API, "Room Previews")
pub async fn get_current_state(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: RoomRequest,
) -> Result<RoomResponse, ApiError> {
    let snapshot = snapshots::of_room(homeserver, &request.room_id, &session.user_id, MESSAGES_DEFAULT).await?;
    let mut response = RoomResponse::new(request.room_id);
    let chunk = format_seen(homeserver, &session, Style::TIMELINE, &snapshot.messages).await?;
    let mut messages = PaginationChunk::new(chunk, snapshot.end.to_string());
    messages.start = snapshot.start.map(|start| start.to_string());
    response.messages = Some(messages);
    response.state = format_state(homeserver, &session, Style::STATE, &snapshot.state).await?;
    response.visibility = Some(if snapshot.published { Visibility::Public } else { Visibility::Private });
    response.account_data = snapshot.account_data.iter().map(raw).collect();
    response.membership = snapshot.membership;
    Ok(response)
}

/// `GET /_matrix/client/v3/initialSync` (client-server API, "Syncing"; deprecated)
pub async fn initial_sync(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: InitialSync,
) -> Result<Answer, ApiError> {
    let limit =
        request.0.number("limit")?.map_or(MESSAGES_DEFAULT, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let archived = match request.0.get("archived").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(ApiError::invalid_param("`archived` is neither true nor false.")),
    };
    // Read before the rooms: what comes while they are told is told again.
    let end = homeserver.positions.visible();
    let mut rooms = Vec::new();
    for (index, held) in snapshots::rooms_of(homeserver, &session.user_id, archived).await?.into_iter().enumerate() {
        if index % ROOMS_PER_SLICE == ROOMS_PER_SLICE - 1 {
            homeserver.environment.clock.yield_now().await;
        }
        let mut room = json!({ "room_id": held.room_id, "membership": held.membership });
        if let Some(invite) = held.invite {
            room["invite"] = invite;
        } else if let Ok(snapshot) = snapshots::of_room(homeserver, &held.room_id, &session.user_id, limit).await {
            fill(homeserver, &session, &mut room, snapshot).await?;
        }
        rooms.push(room);
    }
    let account_data = snapshots::account_data(homeserver, &session.user_id, "").await?;
    let presence = presence::here(homeserver, &session.user_id).await?;
    Ok(Answer(json!({
        "end": crate::domain::sync_token::StreamToken(end).to_string(),
        "presence": presence,
        "rooms": rooms,
        "account_data": account_data,
    })))
}

async fn fill(
    homeserver: &Homeserver,
    session: &Session,
    room: &mut Value,
    snapshot: Snapshot,
) -> Result<(), ApiError> {
    let chunk: Vec<Raw<AnyTimelineEvent>> =
        format_seen(homeserver, session, Style::TIMELINE, &snapshot.messages).await?;
    let state: Vec<Raw<AnyTimelineEvent>> = format_state(homeserver, session, Style::STATE, &snapshot.state).await?;
    let mut messages = json!({ "chunk": chunk, "end": snapshot.end.to_string() });
    if let Some(start) = snapshot.start {
        messages["start"] = json!(start.to_string());
    }
    room["messages"] = messages;
    room["state"] = json!(state);
    room["visibility"] = json!(if snapshot.published { "public" } else { "private" });
    room["account_data"] = json!(snapshot.account_data);
    Ok(())
}

/// `GET /_matrix/client/v3/events` (client-server API, "Room Previews" with a room; deprecated without one)
pub async fn listen_to_new_events(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: Events,
) -> Result<Answer, ApiError> {
    let room_id = request.0.get("room_id").map(|room_id| RoomId::parse(&*room_id)).transpose();
    let room_id = room_id.map_err(|error| ApiError::invalid_param(format!("`room_id`: {error}.")))?;
    if session.standing.guest && room_id.is_none() {
        return Err(ApiError::guest_access_forbidden("Guests look at one room: `room_id` says which."));
    }
    let from = request.0.get("from").map(|from| from.parse()).transpose()?;
    let timeout_ms = request.0.number("timeout")?.unwrap_or(0);
    let news = snapshots::follow(homeserver, &session, room_id.as_deref(), from, timeout_ms).await?;
    let chunk: Vec<Raw<AnyTimelineEvent>> = format_seen(homeserver, &session, Style::TIMELINE, &news.events).await?;
    Ok(Answer(json!({ "start": news.start.to_string(), "chunk": chunk, "end": news.end.to_string() })))
}

/// `GET /_matrix/client/v3/events/{eventId}` (client-server API, "Syncing"; deprecated)
pub async fn get_one_event(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OneEvent,
) -> Result<Answer, ApiError> {
    let event_id =
        EventId::parse(request.0).map_err(|error| ApiError::invalid_param(format!("`eventId`: {error}.")))?;
    let seen = snapshots::event(homeserver, &session.user_id, &event_id).await?;
    let event: Option<Raw<AnyTimelineEvent>> = format_seen(homeserver, &session, Style::TIMELINE, &[seen]).await?.pop();
    Ok(Answer(json!(event.ok_or_else(|| ApiError::internal("an event has no format"))?)))
}

fn raw<T>(event: &Value) -> Raw<T> {
    Raw::from_json(serde_json::value::to_raw_value(event).expect("a JSON value is JSON"))
}

/// What `/initialSync` is asked.
pub struct InitialSync(Query);
/// What `/events` is asked.
pub struct Events(Query);
/// The id of the event that is asked for.
pub struct OneEvent(String);

/// A route with a token, by GET, that answers with JSON.
macro_rules! route_of {
    ($request:ty, $path:literal) => {
        impl Metadata for $request {
            const METHOD: Method = Method::GET;
            const RATE_LIMITED: bool = false;
            type Authentication = AccessToken;
            type PathBuilder = SinglePath;
            const PATH_BUILDER: SinglePath = SinglePath::new($path);
        }
    };
}

route_of!(InitialSync, "/_matrix/client/v3/initialSync");
route_of!(Events, "/_matrix/client/v3/events");
route_of!(OneEvent, "/_matrix/client/v3/events/{event_id}");

impl IncomingRequest for InitialSync {
    type EndpointError = Error;
    type OutgoingResponse = Answer;

    fn try_from_http_request_inner(request: http::Request<&[u8]>, _: &[&str]) -> Result<Self, DeserializationError> {
        Ok(Self(Query::of(&request)))
    }
}

impl IncomingRequest for Events {
    type EndpointError = Error;
    type OutgoingResponse = Answer;

    fn try_from_http_request_inner(request: http::Request<&[u8]>, _: &[&str]) -> Result<Self, DeserializationError> {
        Ok(Self(Query::of(&request)))
    }
}

impl IncomingRequest for OneEvent {
    type EndpointError = Error;
    type OutgoingResponse = Answer;

    fn try_from_http_request_inner(_: http::Request<&[u8]>, args: &[&str]) -> Result<Self, DeserializationError> {
        Ok(Self(args.first().copied().map(Cow::from).unwrap_or_default().into_owned()))
    }
}

/// A JSON answer that ruma has no type for.
pub struct Answer(Value);

impl OutgoingResponse for Answer {
    type Body = Json;

    fn try_into_http_response_inner(self) -> Result<http::Response<Json>, IntoHttpError> {
        let mut response = http::Response::new(Json(serde_json::to_vec(&self.0)?));
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        Ok(response)
    }
}
