//! An event and what happened around it.
use std::rc::Rc;

use ruma::api::client::context::get_context;

use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        client_event::{Style, format_state, format_with_relations},
        messages,
        sessions::Session,
    },
};

/// `GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}` (client-server API, "Event Context")
pub async fn get_context(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_context::v3::Request,
) -> Result<get_context::v3::Response, ApiError> {
    let get_context::v3::Request { room_id, event_id, limit, filter, .. } = request;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let context = messages::context(homeserver, &room_id, &session.user_id, &event_id, limit, &filter).await?;
    let mut response = get_context::v3::Response::new();
    response.start = Some(context.start.to_string());
    response.end = Some(context.end.to_string());
    response.event = format_with_relations(homeserver, &session, Style::TIMELINE, &[context.event]).await?.pop();
    response.events_before = format_with_relations(homeserver, &session, Style::TIMELINE, &context.before).await?;
    response.events_after = format_with_relations(homeserver, &session, Style::TIMELINE, &context.after).await?;
    response.state = format_state(homeserver, &session, Style::STATE, &context.state).await?;
    Ok(response)
}
