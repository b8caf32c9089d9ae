//! Messages to single devices.
use std::{collections::BTreeMap, rc::Rc};

use ruma::api::client::to_device::send_event_to_device::v3;

use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        sessions::Session,
        to_device::{self, Messages},
    },
};

/// `PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}` (client-server API, "Send-to-Device messaging")
pub async fn send_event_to_device(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: v3::Request,
) -> Result<v3::Response, ApiError> {
    let mut messages = Messages::new();
    for (user, devices) in request.messages {
        let mut contents = BTreeMap::new();
        for (device, content) in devices {
            let content = serde_json::from_str(content.json().get())
                .map_err(|_| ApiError::bad_json("The content of a message is an object."))?;
            contents.insert(device.to_string(), content);
        }
        messages.insert(user, contents);
    }
    let kind = request.event_type.to_string();
    to_device::send(homeserver, &session, &kind, request.txn_id.as_str(), messages).await?;
    Ok(v3::Response::new())
}
