//! History that other servers of a room ask for.
use std::rc::Rc;

use ruma::{OwnedServerName, api::federation::backfill::get_backfill::v1};

use super::event::now;
use crate::{
    api::ApiError,
    homeserver::{Homeserver, rooms::history},
};

/// `GET /_matrix/federation/v1/backfill/{roomId}` (server-server API, "Backfilling and retrieving missing events")
pub async fn get_backfill(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: v1::Request,
) -> Result<v1::Response, ApiError> {
    let room = history::room_for(homeserver, &request.room_id, &origin).await?;
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let events = history::backfill(homeserver, &room, &request.v, limit, &origin).await?;
    let pdus = events.iter().map(|pdu| pdu.raw()).collect();
    Ok(v1::Response::new(homeserver.server_name().to_owned(), now(homeserver), pdus))
}
