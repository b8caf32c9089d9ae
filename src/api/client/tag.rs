//! Tags a user gives to rooms.
use std::rc::Rc;

use ruma::{
    api::client::tag::{create_tag, delete_tag, get_tags},
    events::tag::TagInfo,
};

use super::config::own;
use crate::{
    api::ApiError,
    homeserver::{Homeserver, sessions::Session, tags},
};

/// `GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags` (client-server API, "Room Tagging")
pub async fn get_tags(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_tags::v3::Request,
) -> Result<get_tags::v3::Response, ApiError> {
    own(&session, &request.user_id)?;
    let tags = tags::of_room(homeserver, &session.user_id, &request.room_id).await?;
    // Account data is the client's: a tag whose content makes no sense is still a tag.
    let info = |value| serde_json::from_value(value).unwrap_or_else(|_| TagInfo::new());
    Ok(get_tags::v3::Response::new(tags.into_iter().map(|(tag, value)| (tag.into(), info(value))).collect()))
}

/// `PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}` (client-server API, "Room Tagging")
pub async fn create_tag(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: create_tag::v3::Request,
) -> Result<create_tag::v3::Response, ApiError> {
    own(&session, &request.user_id)?;
    let info = serde_json::to_value(&request.tag_info).map_err(|error| ApiError::bad_json(error.to_string()))?;
    tags::put(homeserver, &session.user_id, &request.room_id, request.tag, info).await?;
    Ok(create_tag::v3::Response::new())
}

/// `DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}` (client-server API, "Room Tagging")
pub async fn delete_tag(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: delete_tag::v3::Request,
) -> Result<delete_tag::v3::Response, ApiError> {
    own(&session, &request.user_id)?;
    tags::delete(homeserver, &session.user_id, &request.room_id, &request.tag).await?;
    Ok(delete_tag::v3::Response::new())
}
