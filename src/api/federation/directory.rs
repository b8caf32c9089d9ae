//! The rooms published here, for other servers.
use std::rc::Rc;

use ruma::{
    OwnedServerName, UInt,
    api::federation::directory::{get_public_rooms, get_public_rooms_filtered},
};

use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        directory::{self, Page, Query},
    },
};

/// `GET /_matrix/federation/v1/publicRooms` (server-server API, "Published room directory")
pub async fn get_public_rooms(
    homeserver: &Rc<Homeserver>,
    _origin: OwnedServerName,
    request: get_public_rooms::v1::Request,
) -> Result<get_public_rooms::v1::Response, ApiError> {
    let get_public_rooms::v1::Request { limit, since, room_network, .. } = request;
    let query = Query { limit: count(limit), since, network: room_network, ..Query::default() };
    let Page { chunk, next_batch, prev_batch, total } = directory::own_page(homeserver, query).await?;
    let mut response = get_public_rooms::v1::Response::new();
    (response.chunk, response.next_batch, response.prev_batch) = (chunk, next_batch, prev_batch);
    response.total_room_count_estimate = total;
    Ok(response)
}

/// `POST /_matrix/federation/v1/publicRooms` (server-server API, "Published room directory")
pub async fn get_public_rooms_filtered(
    homeserver: &Rc<Homeserver>,
    _origin: OwnedServerName,
    request: get_public_rooms_filtered::v1::Request,
) -> Result<get_public_rooms_filtered::v1::Response, ApiError> {
    let get_public_rooms_filtered::v1::Request { limit, since, filter, room_network, .. } = request;
    let query = Query { limit: count(limit), since, filter, network: room_network };
    let Page { chunk, next_batch, prev_batch, total } = directory::own_page(homeserver, query).await?;
    let mut response = get_public_rooms_filtered::v1::Response::new();
    (response.chunk, response.next_batch, response.prev_batch) = (chunk, next_batch, prev_batch);
    response.total_room_count_estimate = total;
    Ok(response)
}

/// A limit, 0 if there is none.
fn count(limit: Option<UInt>) -> usize {
    limit.map_or(0, |limit| usize::try_from(u64::from(limit)).unwrap_or(usize::MAX))
}
