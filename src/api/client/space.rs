//! The rooms of a space.
use std::rc::Rc;

use ruma::api::client::space::{SpaceHierarchyRoomsChunk, get_hierarchy};

use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        sessions::Session,
        spaces::{self, SpaceRoom, Tour},
    },
};

/// `GET /_matrix/client/v1/rooms/{roomId}/hierarchy` (client-server API, "Spaces")
pub async fn get_hierarchy(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_hierarchy::v1::Request,
) -> Result<get_hierarchy::v1::Response, ApiError> {
    let get_hierarchy::v1::Request { room_id, from, limit, max_depth, suggested_only, .. } = request;
    let tour = Tour { user: session.user_id, root: room_id, max_depth: max_depth.map(Into::into), suggested_only };
    let (rooms, next) = spaces::walk(homeserver, tour, from.as_deref(), limit.map(Into::into)).await?;
    let mut response = get_hierarchy::v1::Response::new();
    response.rooms = rooms.into_iter().map(chunk).collect();
    response.next_batch = next;
    Ok(response)
}

fn chunk(SpaceRoom { facts, children }: SpaceRoom) -> SpaceHierarchyRoomsChunk {
    SpaceHierarchyRoomsChunk::new((*facts).clone(), children.into_iter().map(|child| child.event).collect())
}
