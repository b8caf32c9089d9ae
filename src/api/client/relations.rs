//! Events that relate to an event.
use std::rc::Rc;

use ruma::{
    OwnedEventId, OwnedRoomId, UInt,
    api::{
        Direction,
        client::relations::{
            get_relating_events, get_relating_events_with_rel_type, get_relating_events_with_rel_type_and_event_type,
        },
    },
    events::AnyMessageLikeEvent,
    serde::Raw,
};

use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        client_event::{Style, format_with_relations},
        relations::children::{self, Asked, RECURSION_DEPTH},
        sessions::Session,
    },
    storage,
};

/// What the three endpoints ask alike.
struct Query {
    room_id: OwnedRoomId,
    event_id: OwnedEventId,
    rel_type: Option<String>,
    kind: Option<String>,
    from: Option<String>,
    to: Option<String>,
    dir: Direction,
    limit: Option<UInt>,
    recurse: bool,
}

/// What the three endpoints answer alike.
struct Answer {
    chunk: Vec<Raw<AnyMessageLikeEvent>>,
    next_batch: Option<String>,
    prev_batch: Option<String>,
    recursion_depth: Option<UInt>,
}

async fn answer(homeserver: &Rc<Homeserver>, session: &Session, query: Query) -> Result<Answer, ApiError> {
    let asked = Asked {
        rel_type: query.rel_type.as_deref(),
        kind: query.kind.as_deref(),
        from: query.from.as_deref().map(str::parse).transpose()?,
        to: query.to.as_deref().map(str::parse).transpose()?,
        direction: match query.dir {
            Direction::Backward => storage::Direction::Descending,
            Direction::Forward => storage::Direction::Ascending,
        },
        limit: super::positive_limit(query.limit)?,
        recurse: query.recurse,
    };
    let page = children::page(homeserver, &query.room_id, &session.user_id, &query.event_id, asked).await?;
    Ok(Answer {
        chunk: format_with_relations(homeserver, session, Style::TIMELINE, &page.events).await?,
        next_batch: page.next.map(|next| next.to_string()),
        prev_batch: page.previous.map(|previous| previous.to_string()),
        recursion_depth: query.recurse.then_some(UInt::from(RECURSION_DEPTH)),
    })
}

/// `GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}` (client-server API, "Relationships API")
pub async fn get_relating_events(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_relating_events::v1::Request,
) -> Result<get_relating_events::v1::Response, ApiError> {
    let get_relating_events::v1::Request { room_id, event_id, from, dir, to, limit, recurse, .. } = request;
    let query = Query { room_id, event_id, rel_type: None, kind: None, from, to, dir, limit, recurse };
    let answer = answer(homeserver, &session, query).await?;
    let mut response = get_relating_events::v1::Response::new(answer.chunk);
    response.next_batch = answer.next_batch;
    response.prev_batch = answer.prev_batch;
    response.recursion_depth = answer.recursion_depth;
    Ok(response)
}

/// `GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}` (client-server API, "Relationships API")
pub async fn get_relating_events_with_rel_type(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_relating_events_with_rel_type::v1::Request,
) -> Result<get_relating_events_with_rel_type::v1::Response, ApiError> {
    let get_relating_events_with_rel_type::v1::Request {
        room_id,
        event_id,
        rel_type,
        from,
        dir,
        to,
        limit,
        recurse,
        ..
    } = request;
    let rel_type = Some(rel_type.to_string());
    let query = Query { room_id, event_id, rel_type, kind: None, from, to, dir, limit, recurse };
    let answer = answer(homeserver, &session, query).await?;
    let mut response = get_relating_events_with_rel_type::v1::Response::new(answer.chunk);
    response.next_batch = answer.next_batch;
    response.prev_batch = answer.prev_batch;
    response.recursion_depth = answer.recursion_depth;
    Ok(response)
}

/// `GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}` (client-server API, "Relationships
/// API")
pub async fn get_relating_events_with_rel_type_and_event_type(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_relating_events_with_rel_type_and_event_type::v1::Request,
) -> Result<get_relating_events_with_rel_type_and_event_type::v1::Response, ApiError> {
    let get_relating_events_with_rel_type_and_event_type::v1::Request {
        room_id,
        event_id,
        rel_type,
        event_type,
        from,
        dir,
        to,
        limit,
        recurse,
        ..
    } = request;
    let (rel_type, kind) = (Some(rel_type.to_string()), Some(event_type.to_string()));
    let query = Query { room_id, event_id, rel_type, kind, from, to, dir, limit, recurse };
    let answer = answer(homeserver, &session, query).await?;
    let mut response = get_relating_events_with_rel_type_and_event_type::v1::Response::new(answer.chunk);
    response.next_batch = answer.next_batch;
    response.prev_batch = answer.prev_batch;
    response.recursion_depth = answer.recursion_depth;
    Ok(response)
}
