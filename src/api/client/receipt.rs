//! Read receipts.
use std::rc::Rc;

use ruma::{
    api::client::receipt::create_receipt::{self, v3::ReceiptType},
    events::receipt::{ReceiptThread, ReceiptType as ReadType},
};

use super::read_marker::set_fully_read;
use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        edus::{
            presence,
            receipt::{self, Read},
        },
        sessions::Session,
    },
};

/// `POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}` (client-server API, "Receipts")
pub async fn create_receipt(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: create_receipt::v3::Request,
) -> Result<create_receipt::v3::Response, ApiError> {
    let create_receipt::v3::Request { room_id, receipt_type, event_id, thread, .. } = request;
    let kind = match receipt_type {
        ReceiptType::Read => ReadType::Read,
        ReceiptType::ReadPrivate => ReadType::ReadPrivate,
        ReceiptType::FullyRead if thread == ReceiptThread::Unthreaded => {
            set_fully_read(homeserver, &session, &room_id, &event_id).await?;
            return Ok(create_receipt::v3::Response::new());
        }
        ReceiptType::FullyRead => return Err(ApiError::invalid_param("A read marker is of no thread.")),
        other => return Err(ApiError::invalid_param(format!("There is no receipt of the type {other}."))),
    };
    receipt::read(homeserver, &room_id, &session.user_id, Read { kind, event_id, thread }).await?;
    presence::active(homeserver, &session.user_id).await?;
    Ok(create_receipt::v3::Response::new())
}
