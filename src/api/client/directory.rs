//! The published rooms, of this server and of others.
use std::rc::Rc;

use ruma::{
    UInt,
    api::client::{
        directory::{get_public_rooms, get_public_rooms_filtered, get_room_visibility, set_room_visibility},
        room::Visibility,
    },
};
use serde_json::{Map, Value};

use super::reshaped::{Reshape, Reshaped};
use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        directory::{self, Page, Query},
        sessions::Session,
    },
};

/// A body in which nothing said of the visibility means "public", as the specification has it and ruma does not.
pub struct PublicUnlessSaid;

impl Reshape for PublicUnlessSaid {
    fn reshape(body: &[u8], _path_args: &[&str]) -> Result<Vec<u8>, serde_json::Error> {
        let mut fields: Map<String, Value> = serde_json::from_slice(body)?;
        fields.entry("visibility").or_insert_with(|| "public".into());
        serde_json::to_vec(&fields)
    }
}

/// `GET /_matrix/client/v3/directory/list/room/{roomId}` (client-server API, "Published room directory")
pub async fn get_room_visibility(
    homeserver: &Rc<Homeserver>,
    _: (),
    request: get_room_visibility::v3::Request,
) -> Result<get_room_visibility::v3::Response, ApiError> {
    let published = directory::is_published(homeserver, &request.room_id).await?;
    let visibility = if published { Visibility::Public } else { Visibility::Private };
    Ok(get_room_visibility::v3::Response::new(visibility))
}

/// `PUT /_matrix/client/v3/directory/list/room/{roomId}` (client-server API, "Published room directory")
pub async fn set_room_visibility(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: Reshaped<set_room_visibility::v3::Request, PublicUnlessSaid>,
) -> Result<set_room_visibility::v3::Response, ApiError> {
    let set_room_visibility::v3::Request { room_id, visibility, .. } = request.request;
    let published = is_public(&visibility)?;
    directory::publish(homeserver, &session.user_id, &room_id, published).await?;
    Ok(set_room_visibility::v3::Response::new())
}

/// `GET /_matrix/client/v3/publicRooms` (client-server API, "Published room directory")
pub async fn get_public_rooms(
    homeserver: &Rc<Homeserver>,
    _: (),
    request: get_public_rooms::v3::Request,
) -> Result<get_public_rooms::v3::Response, ApiError> {
    let query = Query { limit: count(request.limit), since: request.since, ..Query::default() };
    let page = directory::page_of(homeserver, request.server.as_ref(), query).await?;
    let Page { chunk, next_batch, prev_batch, total } = page;
    let mut response = get_public_rooms::v3::Response::new(chunk);
    (response.next_batch, response.prev_batch) = (next_batch, prev_batch);
    response.total_room_count_estimate = total;
    Ok(response)
}

/// `POST /_matrix/client/v3/publicRooms` (client-server API, "Published room directory")
pub async fn get_public_rooms_filtered(
    homeserver: &Rc<Homeserver>,
    _session: Session,
    request: get_public_rooms_filtered::v3::Request,
) -> Result<get_public_rooms_filtered::v3::Response, ApiError> {
    let get_public_rooms_filtered::v3::Request { server, limit, since, filter, room_network, .. } = request;
    let query = Query { limit: count(limit), since, filter, network: room_network };
    let page = directory::page_of(homeserver, server.as_ref(), query).await?;
    let Page { chunk, next_batch, prev_batch, total } = page;
    let mut response = get_public_rooms_filtered::v3::Response::new();
    (response.chunk, response.next_batch, response.prev_batch) = (chunk, next_batch, prev_batch);
    response.total_room_count_estimate = total;
    Ok(response)
}

/// Whether a room of this visibility is published.
pub fn is_public(visibility: &Visibility) -> Result<bool, ApiError> {
    match visibility {
        Visibility::Public => Ok(true),
        Visibility::Private => Ok(false),
        other => Err(ApiError::invalid_param(format!("{other} is no visibility: it is public or private."))),
    }
}

/// A limit, 0 if there is none.
fn count(limit: Option<UInt>) -> usize {
    limit.map_or(0, |limit| usize::try_from(u64::from(limit)).unwrap_or(usize::MAX))
}
