//! A space here and the rooms in it, for other servers.
use std::rc::Rc;

use ruma::{
    OwnedServerName,
    api::federation::space::{SpaceHierarchyParentSummary, get_hierarchy},
};

use crate::{
    api::ApiError,
    homeserver::{Homeserver, spaces},
};

/// `GET /_matrix/federation/v1/hierarchy/{roomId}` (server-server API, "Spaces")
pub async fn get_hierarchy(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: get_hierarchy::v1::Request,
) -> Result<get_hierarchy::v1::Response, ApiError> {
    let level = spaces::one_level(homeserver, &request.room_id, request.suggested_only, &origin).await?;
    let level =
        level.ok_or_else(|| ApiError::not_found("There is no such room here, or none that you may know of."))?;
    let events = level.room.children.into_iter().map(|child| child.event).collect();
    let room = SpaceHierarchyParentSummary::new((*level.room.facts).clone(), events);
    let mut response = get_hierarchy::v1::Response::new(room);
    response.children = level.children.iter().map(|facts| (**facts).clone()).collect();
    response.inaccessible_children = level.inaccessible;
    Ok(response)
}
