//! The aliases of this server.
use std::rc::Rc;

use ruma::api::client::alias::{create_alias, delete_alias, get_alias};

use crate::{
    api::ApiError,
    homeserver::{Homeserver, aliases, sessions::Session},
};

/// `PUT /_matrix/client/v3/directory/room/{roomAlias}` (client-server API, "Room aliases")
pub async fn create_alias(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: create_alias::v3::Request,
) -> Result<create_alias::v3::Response, ApiError> {
    aliases::create(homeserver, &session.user_id, &request.room_alias, &request.room_id).await?;
    Ok(create_alias::v3::Response::new())
}

/// `GET /_matrix/client/v3/directory/room/{roomAlias}` (client-server API, "Room aliases")
pub async fn get_alias(
    homeserver: &Rc<Homeserver>,
    _: (),
    request: get_alias::v3::Request,
) -> Result<get_alias::v3::Response, ApiError> {
    let (room_id, servers) = aliases::resolve(homeserver, &request.room_alias).await?;
    Ok(get_alias::v3::Response::new(room_id, servers))
}

/// `DELETE /_matrix/client/v3/directory/room/{roomAlias}` (client-server API, "Room aliases")
pub async fn delete_alias(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: delete_alias::v3::Request,
) -> Result<delete_alias::v3::Response, ApiError> {
    aliases::delete(homeserver, &session.user_id, &request.room_alias).await?;
    Ok(delete_alias::v3::Response::new())
}
