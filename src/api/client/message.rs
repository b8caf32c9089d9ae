//! Sending messages and scrolling through those sent before.
use std::rc::Rc;

use http::Method;
use ruma::{
    CanonicalJsonObject, EventId, OwnedEventId,
    api::{
        Direction, IncomingRequest, Metadata,
        client::message::{get_message_events, send_message_event},
        error::DeserializationError,
    },
    events::TimelineEventType,
};

use super::{
    canonical_content,
    delayed_events::{MaybeDelayed, SentOrDelayed},
    query::Query,
};
use crate::{
    api::ApiError,
    domain::event_filter::RelatedBy,
    homeserver::{
        Homeserver,
        client_event::{Style, format_state, format_with_relations},
        delayed_events,
        edus::presence,
        messages::{self, Scroll},
        rooms::send::{self, ClientTxn, Message},
        sessions::Session,
    },
};

/// `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}` (client-server API, "Sending events to a room")
pub async fn send_message_event(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: MaybeDelayed<send_message_event::v3::Request>,
) -> Result<SentOrDelayed<send_message_event::v3::Response>, ApiError> {
    let (delay_ms, request) = (request.delay_ms()?, request.request);
    let txn = ClientTxn {
        device_id: session.device_id,
        scope: match delay_ms {
            None => format!("send/{}/{}", request.room_id, request.event_type),
            Some(_) => format!("send later/{}/{}", request.room_id, request.event_type),
        },
        txn_id: request.txn_id.to_string(),
    };
    let kind: TimelineEventType = request.event_type.to_string().into();
    let mut content = canonical_content(request.body.json())?;
    if let Some(delay_ms) = delay_ms {
        let (room_id, kind) = (request.room_id, kind.to_string());
        let delayed = delayed_events::Request { room_id, kind, state_key: None, content, delay_ms };
        let delay_id = delayed_events::schedule(homeserver, &session.user_id, delayed, Some(txn)).await?;
        return Ok(SentOrDelayed::Delayed(delay_id));
    }
    // Where the target goes is for the room version to say, and whether the user may is checked as for any redaction.
    let redacts = (kind == TimelineEventType::RoomRedaction).then(|| take_redacts(&mut content)).transpose()?;
    let sender = session.user_id;
    let message = Message { sender: sender.clone(), kind, state_key: None, content, redacts };
    let event_id = send::send(homeserver, &request.room_id, message, Some(txn)).await?;
    presence::active(homeserver, &sender).await?;
    Ok(SentOrDelayed::Sent(send_message_event::v3::Response::new(event_id)))
}

fn take_redacts(content: &mut CanonicalJsonObject) -> Result<OwnedEventId, ApiError> {
    let redacts = content.remove("redacts").ok_or_else(|| ApiError::missing_param("`redacts` is missing."))?;
    let redacts = redacts.as_str().and_then(|redacts| EventId::parse(redacts).ok());
    redacts.ok_or_else(|| ApiError::invalid_param("`redacts` is not an event id."))
}

/// `GET /_matrix/client/v3/rooms/{roomId}/messages` (client-server API, "Syncing")
pub async fn get_message_events(
    homeserver: &Rc<Homeserver>,
    session: Session,
    Scrolling { request, related }: Scrolling,
) -> Result<get_message_events::v3::Response, ApiError> {
    let related = related.map_err(|error| ApiError::invalid_param(format!("`filter`: {error}.")))?;
    let scroll = Scroll {
        from: request.from.as_deref().map(str::parse).transpose()?,
        to: request.to.as_deref().map(str::parse).transpose()?,
        backward: request.dir == Direction::Backward,
        limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
        filter: &request.filter,
        related: &related,
    };
    let scrolled = messages::scroll(homeserver, &request.room_id, &session.user_id, scroll).await?;
    let mut response = get_message_events::v3::Response::new();
    response.start = scrolled.start.to_string();
    response.end = scrolled.end.map(|end| end.to_string());
    response.chunk = format_with_relations(homeserver, &session, Style::TIMELINE, &scrolled.events).await?;
    response.state = format_state(homeserver, &session, Style::STATE, &scrolled.members).await?;
    Ok(response)
}

/// What is asked of `/messages`, with the part of the filter that ruma does not know.
pub struct Scrolling {
    request: get_message_events::v3::Request,
    related: Result<RelatedBy, serde_json::Error>,
}

impl Metadata for Scrolling {
    const METHOD: Method = get_message_events::v3::Request::METHOD;
    const RATE_LIMITED: bool = get_message_events::v3::Request::RATE_LIMITED;
    type Authentication = <get_message_events::v3::Request as Metadata>::Authentication;
    type PathBuilder = <get_message_events::v3::Request as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = get_message_events::v3::Request::PATH_BUILDER;
}

impl IncomingRequest for Scrolling {
    type EndpointError = <get_message_events::v3::Request as IncomingRequest>::EndpointError;
    type OutgoingResponse = get_message_events::v3::Response;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let filter = Query::of(&request).get("filter");
        let related = filter.map_or_else(|| Ok(RelatedBy::default()), |filter| serde_json::from_str(&filter));
        Ok(Self { request: IncomingRequest::try_from_http_request_inner(request, path_args)?, related })
    }
}
