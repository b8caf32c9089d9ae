//! Typing notifications.
use std::rc::Rc;

use ruma::api::client::typing::create_typing_event::{self, v3::Typing};

use super::config::own;
use crate::{
    api::ApiError,
    homeserver::{Homeserver, edus::typing, sessions::Session},
};

/// `PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}` (client-server API, "Typing Notifications")
pub async fn create_typing_event(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: create_typing_event::v3::Request,
) -> Result<create_typing_event::v3::Response, ApiError> {
    own(&session, &request.user_id)?;
    let timeout_ms = match request.state {
        Typing::No => None,
        Typing::Yes(info) => Some(u64::try_from(info.timeout.as_millis()).unwrap_or(u64::MAX)),
    };
    typing::set(homeserver, &request.room_id, &session.user_id, timeout_ms).await?;
    Ok(create_typing_event::v3::Response::new())
}
