//! Sending messages.
use std::rc::Rc;

use ruma::api::client::message::send_message_event;

use super::canonical_content;
use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        rooms::send::{self, ClientTxn, Message},
        sessions::Session,
    },
};

/// `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}` (client-server API, "Sending events to a room")
pub async fn send_message_event(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: send_message_event::v3::Request,
) -> Result<send_message_event::v3::Response, ApiError> {
    let txn = ClientTxn {
        device_id: session.device_id,
        scope: format!("send/{}/{}", request.room_id, request.event_type),
        txn_id: request.txn_id.to_string(),
    };
    let message = Message {
        sender: session.user_id,
        kind: request.event_type.to_string().into(),
        state_key: None,
        content: canonical_content(request.body.json())?,
        redacts: None,
    };
    let event_id = send::send(homeserver, &request.room_id, message, Some(txn)).await?;
    Ok(send_message_event::v3::Response::new(event_id))
}
