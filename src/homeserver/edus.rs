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
    Homeserver, device_lists, heads, refusals,
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
    let unreadable = |kind: &str, error: serde_json::Error| {
        refusals::note(server, origin, &format!("an EDU {kind}"), &error);
        Ok(())
    };
    let Edu { edu_type, content } = match serde_json::from_str(edu.get()) {
        Ok(edu) => edu,
        Err(error) => return unreadable("of no type", error),
    };
    match edu_type.as_str() {
        heads::HEADS_EDU_TYPE => match serde_json::from_str(content.get()) {
            Ok(content) => {
                heads::compare_in_background(server, origin, content);
                Ok(())
            }
            Err(error) => unreadable(&edu_type, error),
        },
        "m.device_list_update" => device_lists::incoming::apply(server, origin, content).await,
        "m.direct_to_device" => to_device::apply_incoming(server, origin, content).await,
        "m.presence" => presence::apply_incoming(server, origin, content).await,
        "m.receipt" => receipt::apply_incoming(server, origin, content).await,
        "m.signing_key_update" => device_lists::signing_keys::apply(server, origin, content).await,
        "m.typing" => match serde_json::from_str(content.get()) {
            Ok(content) => typing::apply_incoming(server, origin, content).await,
            Err(error) => unreadable(&edu_type, error),
        },
        _ => Ok(()),
    }
}

/// Whether clients are told of the user where no event names it (appendices, "Historical User IDs").
pub fn may_be_told_of(user: &UserId) -> bool {
    user.validate_historical().is_ok()
}

/// What breaks [`may_be_told_of`].
pub const UNTOLD_USER: &str = "clients are told of no user of such an id but by events";

/// The room an EDU of `origin` about `user` is for, if it may speak for that user there: the user is its own and joined,
/// and the room's ACL does not deny it.
async fn room_for(
    server: &Homeserver,
    origin: &ServerName,
    room_id: &RoomId,
    user: &UserId,
) -> Result<Option<Rc<Room>>, StoreError> {
    if user.server_name() != origin {
        refusals::note(server, origin, &format!("an EDU about {user}"), &"the user is another server's");
        return Ok(None);
    }
    if !may_be_told_of(user) {
        refusals::note(server, origin, &format!("an EDU about {user}"), &UNTOLD_USER);
        return Ok(None);
    }
    let Some(room) = server.rooms.get(room_id).await? else { return Ok(None) };
    if !room.is_joined(user) || acl::denies_origin(server, &room, origin).await? {
        let rule = "the user is not in the room, or its ACL denies the server";
        refusals::note(server, origin, &format!("an EDU about {user} in {room_id}"), &rule);
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
