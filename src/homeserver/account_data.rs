//! What a client keeps at its homeserver for the user's other clients: globally or for a room, by event type.
use std::rc::Rc;

use ruma::{OwnedUserId, RoomId, UserId};
use serde_json::Value;
use thiserror::Error;

use super::Homeserver;
use crate::{
    ports::{Batch, StoreError},
    storage::{
        Direction,
        tables::{AccountData, AccountDataRow},
    },
};

/// The most bytes the content of one type may have as JSON.
pub const ACCOUNT_DATA_MAX_BYTES: usize = 256 << 10;

/// The most bytes the name of a type may have.
pub const ACCOUNT_DATA_TYPE_MAX_BYTES: usize = 255;

/// The most types a user may have globally, and in each room.
pub const ACCOUNT_DATA_TYPES_MAX: usize = 500;

/// Types that have endpoints of their own, and that clients may not set directly.
const MANAGED_TYPES: [&str; 2] = ["m.fully_read", "m.push_rules"];

#[derive(Debug, Error)]
pub enum AccountDataError {
    #[error("this type is set through an endpoint of its own")]
    Managed,
    #[error("the content is not a JSON object")]
    NotAnObject,
    #[error("the name of the type is empty or longer than {ACCOUNT_DATA_TYPE_MAX_BYTES} bytes")]
    BadType,
    #[error("the content is larger than {ACCOUNT_DATA_MAX_BYTES} bytes")]
    TooLarge,
    #[error("there are {ACCOUNT_DATA_TYPES_MAX} types already")]
    TooManyTypes,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whose data of which room (or global) and type: the key of the table.
pub fn key(user_id: &UserId, room_id: Option<&RoomId>, kind: &str) -> (OwnedUserId, String, String) {
    (user_id.to_owned(), room_id.map_or_else(String::new, ToString::to_string), kind.to_owned())
}

pub async fn get(
    homeserver: &Homeserver,
    user_id: &UserId,
    room_id: Option<&RoomId>,
    kind: &str,
) -> Result<Option<Value>, StoreError> {
    Ok(homeserver.database.get::<AccountData>(&key(user_id, room_id, kind)).await?.map(|row| row.content))
}

/// Sets what a client sends. Types that the server looks after are refused.
pub async fn set(
    homeserver: &Rc<Homeserver>,
    user_id: &UserId,
    room_id: Option<&RoomId>,
    kind: &str,
    content: Value,
) -> Result<(), AccountDataError> {
    if MANAGED_TYPES.contains(&kind) {
        return Err(AccountDataError::Managed);
    }
    if !content.is_object() {
        return Err(AccountDataError::NotAnObject);
    }
    update(homeserver, user_id, room_id, kind, |_| Ok(content)).await
}

/// Replaces the content of a type by what `change` makes of it, in one strict commit, and wakes the user's clients.
pub async fn update<E: From<AccountDataError>>(
    homeserver: &Rc<Homeserver>,
    user_id: &UserId,
    room_id: Option<&RoomId>,
    kind: &str,
    change: impl FnOnce(Option<Value>) -> Result<Value, E>,
) -> Result<(), E> {
    let store = |error: StoreError| E::from(AccountDataError::Store(error));
    if kind.is_empty() || kind.len() > ACCOUNT_DATA_TYPE_MAX_BYTES {
        return Err(AccountDataError::BadType.into());
    }
    let key = key(user_id, room_id, kind);
    let _accounts = homeserver.accounts_lock.lock().await;
    let before = homeserver.database.get::<AccountData>(&key).await.map_err(store)?;
    if before.is_none() && types(homeserver, &key).await.map_err(store)? >= ACCOUNT_DATA_TYPES_MAX {
        return Err(AccountDataError::TooManyTypes.into());
    }
    let content = change(before.map(|row| row.content))?;
    if content.to_string().len() > ACCOUNT_DATA_MAX_BYTES {
        return Err(AccountDataError::TooLarge.into());
    }
    let position = homeserver.positions.next().await.map_err(store)?;
    let mut batch = Batch::strict();
    batch.put::<AccountData>(&key, &AccountDataRow { position: position.value(), content });
    homeserver.database.commit(batch).await.map_err(store)?;
    drop(position);
    homeserver.notifier.notify();
    Ok(())
}

/// How many types there are beside that of `key`.
async fn types(homeserver: &Homeserver, key: &(OwnedUserId, String, String)) -> Result<usize, StoreError> {
    let prefix = (key.0.clone(), key.1.clone());
    let rows =
        homeserver.database.scan_prefix::<AccountData, _>(&prefix, Direction::Ascending, ACCOUNT_DATA_TYPES_MAX).await;
    Ok(rows?.len())
}
