//! Taking back what was said.
use std::rc::Rc;

use ruma::{CanonicalJsonObject, EventId, api::client::redact::redact_event, events::TimelineEventType};

use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        rooms::send::{self, ClientTxn, Message},
        sessions::Session,
    },
};

/// `PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}` (client-server API, "Redactions")
pub async fn redact_event(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: redact_event::v3::Request,
) -> Result<redact_event::v3::Response, ApiError> {
    if session.standing.suspended && !is_own(homeserver, &session, &request.event_id).await? {
        return Err(ApiError::suspended());
    }
    let txn = ClientTxn {
        device_id: session.device_id,
        scope: format!("redact/{}/{}", request.room_id, request.event_id),
        txn_id: request.txn_id.to_string(),
    };
    let mut content = CanonicalJsonObject::new();
    if let Some(reason) = request.reason {
        content.insert("reason".to_owned(), reason.into());
    }
    let message = Message {
        sender: session.user_id,
        kind: TimelineEventType::RoomRedaction,
        state_key: None,
        content,
        redacts: Some(request.event_id),
    };
    let event_id = send::send(homeserver, &request.room_id, message, Some(txn)).await?;
    Ok(redact_event::v3::Response::new(event_id))
}

async fn is_own(homeserver: &Homeserver, session: &Session, event_id: &EventId) -> Result<bool, ApiError> {
    let event = homeserver.rooms.events.get(event_id).await?;
    Ok(event.is_some_and(|event| event.pdu.sender == session.user_id))
}
