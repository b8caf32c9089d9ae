//! Setting room state.
use std::rc::Rc;

use ruma::{CanonicalJsonValue, UserId, api::client::state::send_state_event, events::StateEventType};

use super::canonical_content;
use crate::{
    api::ApiError,
    homeserver::{
        Homeserver, aliases,
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
    request: send_state_event::v3::Request,
) -> Result<send_state_event::v3::Response, ApiError> {
    let mut content = canonical_content(request.body.json())?;
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
        return Ok(send_state_event::v3::Response::new(event_id));
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
    Ok(send_state_event::v3::Response::new(event_id))
}
