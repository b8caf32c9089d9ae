//! Profiles of users here and elsewhere.
use std::rc::Rc;

use ruma::{
    api::client::profile::{delete_profile_field, get_profile, get_profile_field, set_profile_field},
    profile::ProfileFieldValue,
};
use serde::de::Error;
use serde_json::{Map, Value};

use super::{
    config::own,
    reshaped::{Reshape, Reshaped},
};
use crate::{
    api::ApiError,
    homeserver::{Homeserver, profiles, sessions::Session},
};

/// The one field that the path names. ruma's parser stumbles over any other, and over `null`, with which older clients
/// remove a display name or an avatar.
pub struct NamedField;

impl Reshape for NamedField {
    fn reshape(body: &[u8], path_args: &[&str]) -> Result<Vec<u8>, serde_json::Error> {
        let name = path_args.last().copied().unwrap_or_default();
        let mut fields: Map<String, Value> = serde_json::from_slice(body)?;
        let mut value = fields.remove(name).ok_or_else(|| Error::custom(format!("missing field `{name}`")))?;
        if value.is_null() && matches!(name, "displayname" | "avatar_url") {
            value = "".into();
        }
        serde_json::to_vec(&Map::from_iter([(name.to_owned(), value)]))
    }
}

/// `GET /_matrix/client/v3/profile/{userId}` (client-server API, "Profiles")
pub async fn get_profile(
    homeserver: &Rc<Homeserver>,
    _: (),
    request: get_profile::v3::Request,
) -> Result<get_profile::v3::Response, ApiError> {
    Ok(profiles::of_user(homeserver, &request.user_id).await?.into_iter().collect())
}

/// `GET /_matrix/client/v3/profile/{userId}/{keyName}` (client-server API, "Profiles")
pub async fn get_profile_field(
    homeserver: &Rc<Homeserver>,
    _: (),
    request: get_profile_field::v3::Request,
) -> Result<get_profile_field::v3::Response, ApiError> {
    let name = request.field.to_string();
    let value = profiles::field(homeserver, &request.user_id, &name).await?;
    let value = ProfileFieldValue::new(&name, value);
    // Another server may say anything; a local profile was checked when it was set.
    let value = value.map_err(|_| ApiError::not_found("The field is not of the type it must have."))?;
    Ok(get_profile_field::v3::Response::new(value))
}

/// `PUT /_matrix/client/v3/profile/{userId}/{keyName}` (client-server API, "Profiles")
pub async fn set_profile_field(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: Reshaped<set_profile_field::v3::Request, NamedField>,
) -> Result<set_profile_field::v3::Response, ApiError> {
    let request = request.request;
    own(&session, &request.user_id)?;
    let (name, value) = (request.value.field_name(), request.value.value().into_owned());
    if session.standing.guest && name.as_ref() != "displayname" {
        return Err(ApiError::guest_access_forbidden("Guests have a display name and nothing else."));
    }
    profiles::set_field(homeserver, &session.user_id, name.as_ref(), value).await?;
    Ok(set_profile_field::v3::Response::new())
}

/// `DELETE /_matrix/client/v3/profile/{userId}/{keyName}` (client-server API, "Profiles")
pub async fn delete_profile_field(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: delete_profile_field::v3::Request,
) -> Result<delete_profile_field::v3::Response, ApiError> {
    own(&session, &request.user_id)?;
    profiles::delete_field(homeserver, &session.user_id, request.field.as_ref()).await?;
    Ok(delete_profile_field::v3::Response::new())
}
