//! Server ACLs: which servers a room wants nothing from (client-server API, "Server Access Control Lists").
use ruma::{
    ServerName,
    events::{StateEventType, room::server_acl::RoomServerAclEventContent},
};

use super::Room;
use crate::{domain::identity::PublicKey, homeserver::Homeserver, ports::StoreError};

/// Whether the room's current ACL denies `origin`.
pub async fn denies_origin(server: &Homeserver, room: &Room, origin: &ServerName) -> Result<bool, StoreError> {
    let event_id = room.live().state.get(&StateEventType::RoomServerAcl, "").cloned();
    let Some(event_id) = event_id else { return Ok(false) };
    let Some(event) = server.rooms.events.get(&event_id).await? else { return Ok(false) };
    // An ACL that cannot be read allows nobody, as one without `allow` would.
    let Ok(acl) = serde_json::from_str::<RoomServerAclEventContent>(event.pdu.content.get()) else { return Ok(true) };
    Ok(!is_allowed(&acl, origin) || denies_key(&acl, origin))
}

/// Whether the list allows the host of that name, as it is written and without the dots at its end, which lead to the same.
fn is_allowed(acl: &RoomServerAclEventContent, origin: &ServerName) -> bool {
    let undotted = <&ServerName>::try_from(origin.host().trim_end_matches('.'));
    acl.is_allowed(origin) && undotted.is_ok_and(|host| acl.is_allowed(host))
}

/// Whether another name of the same key is denied. Whoever has a key may call itself by it with any suffix.
fn denies_key(acl: &RoomServerAclEventContent, origin: &ServerName) -> bool {
    let Some(label) = PublicKey::of_server_name(origin).map(|key| key.label()) else { return false };
    acl.deny.iter().any(|denied| denied.split('.').next().is_some_and(|first| first.eq_ignore_ascii_case(&label)))
}
