//! Reporting rooms, events and users to whoever runs this homeserver.
use std::rc::Rc;

use ruma::api::client::{
    reporting::report_user,
    room::{report_content, report_room},
};

use serde::de::Error;
use serde_json::{Map, Value};

use super::reshaped::{Reshape, Reshaped};
use crate::{
    api::ApiError,
    homeserver::{Homeserver, reports, sessions::Session},
};

/// `POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}` (client-server API, "Reporting Content")
pub async fn report_content(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: report_content::v3::Request,
) -> Result<report_content::v3::Response, ApiError> {
    let report_content::v3::Request { room_id, event_id, reason, .. } = request;
    let reason = reason.unwrap_or_default();
    reports::report_event(homeserver, &session.user_id, room_id, event_id, reason).await?;
    Ok(report_content::v3::Response::new())
}

/// A reason may be blank, and must be there; ruma's parser takes a report of a room without one.
pub struct WithReason;

impl Reshape for WithReason {
    fn reshape(body: &[u8], _: &[&str]) -> Result<Vec<u8>, serde_json::Error> {
        let fields: Map<String, Value> = serde_json::from_slice(body)?;
        if !fields.contains_key("reason") {
            return Err(Error::missing_field("reason"));
        }
        serde_json::to_vec(&fields)
    }
}

/// `POST /_matrix/client/v3/rooms/{roomId}/report` (client-server API, "Reporting Content")
pub async fn report_room(
    homeserver: &Rc<Homeserver>,
    session: Session,
    Reshaped { request, .. }: Reshaped<report_room::v3::Request, WithReason>,
) -> Result<report_room::v3::Response, ApiError> {
    reports::report_room(homeserver, &session.user_id, request.room_id, request.reason).await?;
    Ok(report_room::v3::Response::new())
}

/// `POST /_matrix/client/v3/users/{userId}/report` (client-server API, "Reporting Content")
pub async fn report_user(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: report_user::v3::Request,
) -> Result<report_user::v3::Response, ApiError> {
    reports::report_user(homeserver, &session.user_id, request.user_id, request.reason).await?;
    Ok(report_user::v3::Response::new())
}
