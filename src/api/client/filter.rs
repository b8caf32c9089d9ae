//! Filters for later requests to name.
use std::rc::Rc;

use ruma::api::client::filter::{create_filter, get_filter};

use super::config::own;
use crate::{
    api::ApiError,
    homeserver::{Homeserver, filters, sessions::Session},
};

/// `POST /_matrix/client/v3/user/{userId}/filter` (client-server API, "Filtering")
pub async fn create_filter(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: create_filter::v3::Request,
) -> Result<create_filter::v3::Response, ApiError> {
    own(&session, &request.user_id)?;
    let filter_id = filters::create(homeserver, &session.user_id, &request.filter).await?;
    Ok(create_filter::v3::Response::new(filter_id))
}

/// `GET /_matrix/client/v3/user/{userId}/filter/{filterId}` (client-server API, "Filtering")
pub async fn get_filter(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_filter::v3::Request,
) -> Result<get_filter::v3::Response, ApiError> {
    own(&session, &request.user_id)?;
    let filter = filters::get(homeserver, &session.user_id, &request.filter_id).await?;
    Ok(get_filter::v3::Response::new(filter))
}
