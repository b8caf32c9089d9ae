//! Server ACLs: which servers a room wants nothing from (client-server API, "Server Access Control Lists").
use ruma::{
    ServerName,
    events::{StateEventType, room::server_acl::RoomServerAclEventContent},
};

use super::Room;
use crate::{homeserver::Homeserver, ports::StoreError};

/// Whether the room's current ACL denies `origin`.
pub async fn denies_origin(server: &Homeserver, room: &Room, origin: &ServerName) -> Result<bool, StoreError> {
    let event_id = room.live().state.get(&StateEventType::RoomServerAcl, "").cloned();
    let Some(event_id) = event_id else { return Ok(false) };
    let Some(event) = server.rooms.events.get(&event_id).await? else { return Ok(false) };
    // An ACL that cannot be read allows nobody, as one without `allow` would.
    Ok(serde_json::from_str::<RoomServerAclEventContent>(event.pdu.content.get())
        .map_or(true, |acl| !acl.is_allowed(origin)))
}
