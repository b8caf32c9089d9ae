//! Who is typing in a room.
use ruma::{events::AnySyncEphemeralRoomEvent, serde::Raw};
use serde_json::json;

use crate::homeserver::{rooms::Room, sync::Look};

/// The list of typing users if it changed, or, for a client that knows nothing of the room, if it is not empty.
pub fn changed(look: &Look<'_>, room: &Room, fresh: bool) -> Option<Raw<AnySyncEphemeralRoomEvent>> {
    let (position, mut users) = look.server.typing.in_room(&room.id)?;
    users.retain(|user| room.is_joined(user) && !look.ignored.contains(user));
    let news = if fresh { !users.is_empty() } else { look.is_new(position) };
    if !news {
        return None;
    }
    let event = json!({ "type": "m.typing", "content": { "user_ids": users } });
    Some(Raw::from_json(serde_json::value::to_raw_value(&event).expect("a JSON value is JSON")))
}
