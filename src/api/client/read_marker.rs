//! Read markers: how far a user has read a room, for the user's own clients.
use std::rc::Rc;

use ruma::{
    EventId, RoomId,
    api::client::read_marker::set_read_marker,
    events::receipt::{ReceiptThread, ReceiptType},
};
use serde_json::json;

use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        account_data::{self, AccountDataError},
        edus::receipt::{self, Read},
        sessions::Session,
    },
};

/// `POST /_matrix/client/v3/rooms/{roomId}/read_markers` (client-server API, "Fully read markers")
pub async fn set_read_marker(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: set_read_marker::v3::Request,
) -> Result<set_read_marker::v3::Response, ApiError> {
    if let Some(event_id) = &request.fully_read {
        set_fully_read(homeserver, &session, &request.room_id, event_id).await?;
    }
    let read = [(ReceiptType::Read, request.read_receipt), (ReceiptType::ReadPrivate, request.private_read_receipt)];
    for (kind, event_id) in read {
        if let Some(event_id) = event_id {
            let read = Read { kind, event_id, thread: ReceiptThread::Unthreaded };
            receipt::read(homeserver, &request.room_id, &session.user_id, read).await?;
        }
    }
    Ok(set_read_marker::v3::Response::new())
}

pub(super) async fn set_fully_read(
    homeserver: &Rc<Homeserver>,
    session: &Session,
    room_id: &RoomId,
    event_id: &EventId,
) -> Result<(), ApiError> {
    receipt::check_marker(homeserver, room_id, &session.user_id, event_id).await?;
    let content = json!({ "event_id": event_id });
    let change = |_| Ok::<_, AccountDataError>(content);
    account_data::update(homeserver, &session.user_id, Some(room_id), "m.fully_read", change).await?;
    Ok(())
}
