//! Typing notifications.
use std::rc::Rc;

use ruma::api::client::typing::create_typing_event::{self, v3::Typing};

use serde_json::{Map, Value};

use super::{
    config::own,
    reshaped::{Reshape, Reshaped},
};
use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        edus::{presence, typing},
        sessions::Session,
    },
};

/// How long somebody types who does not say for how long.
const TIMEOUT_DEFAULT_MS: u64 = 30_000;

/// The specification asks for no timeout, ruma's parser does.
pub struct WithTimeout;

impl Reshape for WithTimeout {
    fn reshape(body: &[u8], _: &[&str]) -> Result<Vec<u8>, serde_json::Error> {
        let mut fields: Map<String, Value> = serde_json::from_slice(body)?;
        fields.entry("timeout").or_insert(TIMEOUT_DEFAULT_MS.into());
        serde_json::to_vec(&fields)
    }
}

/// `PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}` (client-server API, "Typing Notifications")
pub async fn create_typing_event(
    homeserver: &Rc<Homeserver>,
    session: Session,
    Reshaped { request, .. }: Reshaped<create_typing_event::v3::Request, WithTimeout>,
) -> Result<create_typing_event::v3::Response, ApiError> {
    own(&session, &request.user_id)?;
    let timeout_ms = match request.state {
        Typing::No => None,
        Typing::Yes(info) => Some(u64::try_from(info.timeout.as_millis()).unwrap_or(u64::MAX)),
    };
    typing::set(homeserver, &request.room_id, &session.user_id, timeout_ms).await?;
    presence::active(homeserver, &session.user_id).await?;
    Ok(create_typing_event::v3::Response::new())
}
