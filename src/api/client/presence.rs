//! Presence: how users are shown to those they share rooms with.
use std::{rc::Rc, time::Duration};

use ruma::{
    api::client::presence::{get_presence, set_presence},
    presence::PresenceState,
};

use super::config::own;
use crate::{
    api::ApiError,
    homeserver::{Homeserver, edus::presence, sessions::Session},
};

/// `GET /_matrix/client/v3/presence/{userId}/status` (client-server API, "Presence")
pub async fn get_presence(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_presence::v3::Request,
) -> Result<get_presence::v3::Response, ApiError> {
    let status = presence::get(homeserver, &session.user_id, &request.user_id).await?;
    let now_ms = homeserver.environment.clock.now_ms();
    let mut response = get_presence::v3::Response::new(status.presence);
    response.status_msg = status.status_msg;
    response.currently_active = Some(status.currently_active);
    response.last_active_ago = status.last_active_ms.map(|at_ms| Duration::from_millis(now_ms.saturating_sub(at_ms)));
    Ok(response)
}

/// `PUT /_matrix/client/v3/presence/{userId}/status` (client-server API, "Presence")
pub async fn set_presence(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: set_presence::v3::Request,
) -> Result<set_presence::v3::Response, ApiError> {
    own(&session, &request.user_id)?;
    let wanted = request.presence;
    if !matches!(wanted, PresenceState::Online | PresenceState::Unavailable | PresenceState::Offline) {
        return Err(ApiError::invalid_param("`presence` is none of online, unavailable and offline."));
    }
    presence::set(homeserver, &session, &wanted, request.status_msg).await?;
    Ok(set_presence::v3::Response::new())
}
