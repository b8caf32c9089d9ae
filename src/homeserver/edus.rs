//! What passes between servers without entering a room's history. Each type's own file says what our users do, and what
//! is believed of what other servers tell us.
pub mod presence;
pub mod receipt;
pub mod typing;

use std::rc::Rc;

use ruma::{OwnedServerName, RoomId, ServerName, UserId, api::federation::transactions::edu::Edu as WrittenEdu};
use serde::Deserialize;
use serde_json::value::RawValue as RawJsonValue;

use super::{
    Homeserver, heads,
    rooms::{Room, acl},
    to_device,
};
use crate::ports::StoreError;

#[derive(Deserialize)]
struct Edu<'a> {
    edu_type: String,
    #[serde(borrow)]
    content: &'a RawJsonValue,
}

/// Applies one EDU that `origin` sent. One that cannot be read or is of an unknown type is ignored, as the
/// specification asks.
pub async fn apply(server: &Rc<Homeserver>, origin: &OwnedServerName, edu: &RawJsonValue) -> Result<(), StoreError> {
    let Ok(Edu { edu_type, content }) = serde_json::from_str(edu.get()) else { return Ok(()) };
    match edu_type.as_str() {
        heads::HEADS_EDU_TYPE => {
            let Ok(content) = serde_json::from_str(content.get()) else { return Ok(()) };
            heads::compare_in_background(server, origin, content);
            Ok(())
        }
        "m.direct_to_device" => to_device::apply_incoming(server, origin, content).await,
        "m.presence" => presence::apply_incoming(server, origin, content).await,
        "m.receipt" => match serde_json::from_str(content.get()) {
            Ok(content) => receipt::apply_incoming(server, origin, content).await,
            Err(_) => Ok(()),
        },
        "m.typing" => match serde_json::from_str(content.get()) {
            Ok(content) => typing::apply_incoming(server, origin, content).await,
            Err(_) => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The room an EDU of `origin` about `user` is for, if it may speak for that user there: the user is its own and joined,
/// and the room's ACL does not deny it.
async fn room_for(
    server: &Homeserver,
    origin: &ServerName,
    room_id: &RoomId,
    user: &UserId,
) -> Result<Option<Rc<Room>>, StoreError> {
    if user.server_name() != origin {
        tracing::debug!(%origin, %user, "EDU about a user of another server");
        return Ok(None);
    }
    let Some(room) = server.rooms.get(room_id).await? else { return Ok(None) };
    if !room.is_joined(user) || acl::denies_origin(server, &room, origin).await? {
        tracing::debug!(%origin, %user, room = %room_id, "EDU about a user who is not in the room");
        return Ok(None);
    }
    Ok(Some(room))
}

/// Sends an EDU to every other server in the room. It is not kept for those that are away.
fn tell_room(server: &Homeserver, room: &Room, edu: &WrittenEdu) {
    let edu = serde_json::to_value(edu).expect("an EDU has string keys and finite numbers");
    for destination in room.joined_servers().iter().filter(|destination| *destination != server.server_name()) {
        server.sender.send_passing_edu(destination, edu.clone());
    }
}
