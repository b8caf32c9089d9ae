//! Account data, global and of rooms.
use std::rc::Rc;

use ruma::{
    UserId,
    api::client::config::{
        get_global_account_data, get_room_account_data, set_global_account_data, set_room_account_data,
    },
    serde::Raw,
};
use serde_json::Value;

use crate::{
    api::ApiError,
    homeserver::{Homeserver, account_data, sessions::Session},
};

/// `GET /_matrix/client/v3/user/{userId}/account_data/{type}` (client-server API, "Client Config")
pub async fn get_global_account_data(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_global_account_data::v3::Request,
) -> Result<get_global_account_data::v3::Response, ApiError> {
    own(&session, &request.user_id)?;
    let content = account_data::get(homeserver, &session.user_id, None, &request.event_type.to_string()).await?;
    Ok(get_global_account_data::v3::Response::new(found(content)?))
}

/// `PUT /_matrix/client/v3/user/{userId}/account_data/{type}` (client-server API, "Client Config")
pub async fn set_global_account_data(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: set_global_account_data::v3::Request,
) -> Result<set_global_account_data::v3::Response, ApiError> {
    own(&session, &request.user_id)?;
    let content = content_of(&request.data)?;
    account_data::set(homeserver, &session.user_id, None, &request.event_type.to_string(), content).await?;
    Ok(set_global_account_data::v3::Response::new())
}

/// `GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}` (client-server API, "Client Config")
pub async fn get_room_account_data(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_room_account_data::v3::Request,
) -> Result<get_room_account_data::v3::Response, ApiError> {
    own(&session, &request.user_id)?;
    let kind = request.event_type.to_string();
    let content = account_data::get(homeserver, &session.user_id, Some(&request.room_id), &kind).await?;
    Ok(get_room_account_data::v3::Response::new(found(content)?))
}

/// `PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}` (client-server API, "Client Config")
pub async fn set_room_account_data(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: set_room_account_data::v3::Request,
) -> Result<set_room_account_data::v3::Response, ApiError> {
    own(&session, &request.user_id)?;
    let (kind, content) = (request.event_type.to_string(), content_of(&request.data)?);
    account_data::set(homeserver, &session.user_id, Some(&request.room_id), &kind, content).await?;
    Ok(set_room_account_data::v3::Response::new())
}

/// Nobody reads or writes what another user keeps here.
pub(super) fn own(session: &Session, user_id: &UserId) -> Result<(), ApiError> {
    if session.user_id == user_id { Ok(()) } else { Err(ApiError::forbidden("That belongs to another user.")) }
}

fn content_of<T>(data: &Raw<T>) -> Result<Value, ApiError> {
    data.deserialize_as_unchecked().map_err(|error| ApiError::bad_json(error.to_string()))
}

fn found<T>(content: Option<Value>) -> Result<Raw<T>, ApiError> {
    let content = content.ok_or_else(|| ApiError::not_found("There is no account data of this type."))?;
    let json = serde_json::value::to_raw_value(&content).expect("a JSON value is JSON");
    Ok(Raw::from_json(json))
}
