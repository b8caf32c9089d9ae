//! Tags of rooms: the room account data `m.tag`, one tag at a time.
use std::rc::Rc;

use ruma::{RoomId, UserId};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::{
    Homeserver,
    account_data::{self, AccountDataError},
};
use crate::ports::StoreError;

const TYPE: &str = "m.tag";

/// The most bytes a tag's name may have (client-server API, "Room Tagging").
pub const TAG_MAX_BYTES: usize = 255;

/// The most tags a user may give a room.
pub const TAGS_PER_ROOM_MAX: usize = 100;

#[derive(Debug, Error)]
pub enum TagError {
    #[error("the tag is empty or longer than {TAG_MAX_BYTES} bytes")]
    BadName,
    #[error("`order` is not between 0 and 1")]
    BadOrder,
    #[error("the room has {TAGS_PER_ROOM_MAX} tags already")]
    TooMany,
    #[error(transparent)]
    AccountData(#[from] AccountDataError),
}

/// Every tag of a room with its content.
pub async fn of_room(
    homeserver: &Homeserver,
    user_id: &UserId,
    room_id: &RoomId,
) -> Result<Map<String, Value>, StoreError> {
    Ok(tags_in(account_data::get(homeserver, user_id, Some(room_id), TYPE).await?))
}

/// Adds or replaces a tag. `info` is a JSON object.
pub async fn put(
    homeserver: &Rc<Homeserver>,
    user_id: &UserId,
    room_id: &RoomId,
    tag: String,
    info: Value,
) -> Result<(), TagError> {
    if tag.is_empty() || tag.len() > TAG_MAX_BYTES {
        return Err(TagError::BadName);
    }
    if info.get("order").and_then(Value::as_f64).is_some_and(|order| !(0.0..=1.0).contains(&order)) {
        return Err(TagError::BadOrder);
    }
    account_data::update(homeserver, user_id, Some(room_id), TYPE, |before| {
        let mut tags = tags_in(before);
        tags.insert(tag, info);
        if tags.len() > TAGS_PER_ROOM_MAX { Err(TagError::TooMany) } else { Ok(json!({ "tags": tags })) }
    })
    .await
}

/// Removes a tag, if it is there.
pub async fn delete(
    homeserver: &Rc<Homeserver>,
    user_id: &UserId,
    room_id: &RoomId,
    tag: &str,
) -> Result<(), TagError> {
    if !of_room(homeserver, user_id, room_id).await.map_err(AccountDataError::Store)?.contains_key(tag) {
        return Ok(());
    }
    account_data::update(homeserver, user_id, Some(room_id), TYPE, |before| {
        let mut tags = tags_in(before);
        tags.remove(tag);
        Ok(json!({ "tags": tags }))
    })
    .await
}

/// Clients may also write `m.tag` whole, so what is there need not have the right shape.
fn tags_in(content: Option<Value>) -> Map<String, Value> {
    match content {
        Some(Value::Object(mut content)) => match content.remove("tags") {
            Some(Value::Object(tags)) => tags,
            _ => Map::new(),
        },
        _ => Map::new(),
    }
}
