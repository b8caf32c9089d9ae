//! Asking to be let into a room.
use std::rc::Rc;

use ruma::api::client::knock::knock_room;

use super::membership::named_room;
use crate::{
    api::ApiError,
    homeserver::{Homeserver, rooms::knock, sessions::Session},
};

/// `POST /_matrix/client/v3/knock/{roomIdOrAlias}` (client-server API, "Knocking on rooms")
pub async fn knock_room(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: knock_room::v3::Request,
) -> Result<knock_room::v3::Response, ApiError> {
    let (room_id, via) = named_room(homeserver, &request.room_id_or_alias, request.via).await?;
    knock::knock(homeserver, &room_id, &session.user_id, &via, request.reason).await?;
    Ok(knock_room::v3::Response::new(room_id))
}
