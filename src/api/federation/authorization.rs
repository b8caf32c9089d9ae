//! What an event rests on, for other servers of its room.
use std::rc::Rc;

use ruma::{OwnedServerName, api::federation::authorization::get_event_authorization::v1};

use crate::{
    api::ApiError,
    homeserver::{Homeserver, rooms::history},
};

/// `GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}` (server-server API, "Authorization of events")
pub async fn get_event_authorization(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: v1::Request,
) -> Result<v1::Response, ApiError> {
    let room = history::room_for(homeserver, &request.room_id, &origin).await?;
    let chain = history::auth_chain_of(homeserver, &room, &request.event_id, &origin).await?;
    Ok(v1::Response::new(chain.iter().map(|pdu| pdu.raw()).collect()))
}
