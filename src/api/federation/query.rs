//! What other servers ask about our users and aliases.
use std::rc::Rc;

use ruma::{
    OwnedServerName,
    api::federation::query::{get_profile_information::v1, get_room_information},
};

use crate::{
    api::ApiError,
    homeserver::{Homeserver, aliases},
    storage::tables::Users,
};

/// `GET /_matrix/federation/v1/query/profile` (server-server API, "Querying for information")
pub async fn get_profile_information(
    homeserver: &Rc<Homeserver>,
    _origin: OwnedServerName,
    request: v1::Request,
) -> Result<v1::Response, ApiError> {
    let user = homeserver.database.get::<Users>(&request.user_id).await?.filter(|user| !user.deactivated);
    let user = user.ok_or_else(|| ApiError::not_found("There is no such user here."))?;
    let mut response = v1::Response::new();
    let wanted = |field: &str| request.field.as_ref().is_none_or(|wanted| wanted.as_str() == field);
    response.data.extend(user.profile.into_iter().filter(|(field, _)| wanted(field)));
    Ok(response)
}

/// `GET /_matrix/federation/v1/query/directory` (server-server API, "Querying for information")
pub async fn get_room_information(
    homeserver: &Rc<Homeserver>,
    _origin: OwnedServerName,
    request: get_room_information::v1::Request,
) -> Result<get_room_information::v1::Response, ApiError> {
    let (room_id, servers) = aliases::resolve_own(homeserver, &request.room_alias).await?;
    Ok(get_room_information::v1::Response::new(room_id, servers))
}
