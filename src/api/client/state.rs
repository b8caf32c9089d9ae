//! Room state: setting it and reading it, as it is or, for those who left, as it was then.
use std::rc::Rc;

use ruma::{
    CanonicalJsonValue, UserId,
    api::client::state::{
        get_state_event_for_key::{self, v3::StateEventFormat},
        get_state_events, send_state_event,
    },
    events::{AnyStateEvent, StateEventType},
    serde::Raw,
};

use super::{
    canonical_content,
    delayed_events::{MaybeDelayed, SentOrDelayed},
};
use crate::{
    api::ApiError,
    homeserver::{
        Homeserver, aliases,
        client_event::{Style, format_state},
        delayed_events,
        room_view::RoomView,
        rooms::{
            invite,
            send::{self, Message},
        },
        sessions::Session,
    },
};

/// `PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}` (client-server API, "Sending events to a room")
pub async fn send_state_event(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: MaybeDelayed<send_state_event::v3::Request>,
) -> Result<SentOrDelayed<send_state_event::v3::Response>, ApiError> {
    let (delay_ms, request) = (request.delay_ms()?, request.request);
    let mut content = canonical_content(request.body.json())?;
    if let Some(delay_ms) = delay_ms {
        let (room_id, kind, state_key) = (request.room_id, request.event_type.to_string(), Some(request.state_key));
        let delayed = delayed_events::Request { room_id, kind, state_key, content, delay_ms };
        let delay_id = delayed_events::schedule(homeserver, &session.user_id, delayed, None).await?;
        return Ok(SentOrDelayed::Delayed(delay_id));
    }
    let membership = content.get("membership").and_then(CanonicalJsonValue::as_str);
    if request.event_type == StateEventType::RoomMember && membership == Some("invite") {
        // An invite is more than its event: the invited user's server must hear of it.
        let target = UserId::parse(&request.state_key).map_err(|error| ApiError::invalid_param(error.to_string()))?;
        content.remove("membership");
        invite::invite(homeserver, &request.room_id, &session.user_id, &target, content).await?;
        let event_id = homeserver.rooms.get(&request.room_id).await?.and_then(|room| {
            let live = room.live();
            live.state.get(&StateEventType::RoomMember, target.as_str()).cloned()
        });
        let event_id = event_id.ok_or_else(|| ApiError::internal("an invite left no event"))?;
        return Ok(SentOrDelayed::Sent(send_state_event::v3::Response::new(event_id)));
    }
    if request.event_type == StateEventType::RoomCanonicalAlias {
        aliases::check_canonical(homeserver, &request.room_id, &content).await?;
    }
    let message = Message {
        sender: session.user_id,
        kind: request.event_type.to_string().into(),
        state_key: Some(request.state_key),
        content,
        redacts: None,
    };
    let event_id = send::send(homeserver, &request.room_id, message, None).await?;
    Ok(SentOrDelayed::Sent(send_state_event::v3::Response::new(event_id)))
}

/// `GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}` (client-server API, "Getting events for a room")
pub async fn get_state_event_for_key(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_state_event_for_key::v3::Request,
) -> Result<get_state_event_for_key::v3::Response, ApiError> {
    let view = RoomView::open(homeserver, &request.room_id, &session.user_id).await?;
    let event = view.state_event(homeserver, &request.event_type, &request.state_key).await?;
    if request.format != StateEventFormat::Event {
        return Ok(get_state_event_for_key::v3::Response::new(event.pdu.content.clone()));
    }
    let event: Option<Raw<AnyStateEvent>> = format_state(homeserver, &session, Style::STATE, &[event]).await?.pop();
    Ok(event.ok_or_else(|| ApiError::internal("an event has no format"))?.into())
}

/// `GET /_matrix/client/v3/rooms/{roomId}/state` (client-server API, "Getting events for a room")
pub async fn get_state_events(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_state_events::v3::Request,
) -> Result<get_state_events::v3::Response, ApiError> {
    let view = RoomView::open(homeserver, &request.room_id, &session.user_id).await?;
    let events = view.state_events(homeserver).await?;
    let events = format_state(homeserver, &session, Style::STATE, &events).await?;
    Ok(get_state_events::v3::Response::new(events))
}
