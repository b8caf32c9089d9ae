//! Profiles: what users say of themselves, and how their rooms learn of it.
use std::{collections::BTreeMap, rc::Rc};

use ruma::{MxcUri, OwnedRoomId, UserId, events::room::member::MembershipState};
use serde_json::Value;
use thiserror::Error;

use super::Homeserver;
use crate::{
    ports::{Batch, StoreError},
    storage::tables::{Memberships, Users},
};

/// The most bytes a whole profile may have as JSON (client-server API, "Profiles").
pub const PROFILE_MAX_BYTES: usize = 64 << 10;

/// The most bytes the name of a field may have (client-server API, "Profiles").
pub const PROFILE_FIELD_NAME_MAX_BYTES: usize = 255;

/// The most characters a display name may have: it is in an event of every room.
pub const DISPLAYNAME_MAX_CHARS: usize = 256;

/// The most bytes an avatar's URI may have.
pub const AVATAR_URL_MAX_BYTES: usize = 1000;

/// The fields that rooms show too.
const ROOM_FIELDS: [&str; 2] = ["displayname", "avatar_url"];

#[derive(Debug, Error)]
pub enum ProfileError {
    #[error("there is no such user")]
    NoUser,
    #[error("the profile has no such field")]
    NoField,
    #[error("a profile field is named like `displayname`, `avatar_url`, `m.tz` or `org.example.field`")]
    BadFieldName,
    #[error("the name of a profile field has at most {PROFILE_FIELD_NAME_MAX_BYTES} bytes")]
    FieldNameTooLong,
    #[error("{0}")]
    BadValue(&'static str),
    #[error("a display name has at most {DISPLAYNAME_MAX_CHARS} characters")]
    DisplaynameTooLong,
    #[error("a profile has at most {PROFILE_MAX_BYTES} bytes")]
    TooLarge,
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub type Profile = BTreeMap<String, Value>;

/// The profile of any user: our own, or what the user's homeserver says.
pub async fn of_user(homeserver: &Rc<Homeserver>, user_id: &UserId) -> Result<Profile, ProfileError> {
    if user_id.server_name() == homeserver.server_name() {
        local(homeserver, user_id).await
    } else {
        remote(homeserver, user_id).await
    }
}

/// One field of a profile.
pub async fn field(homeserver: &Rc<Homeserver>, user_id: &UserId, name: &str) -> Result<Value, ProfileError> {
    of_user(homeserver, user_id).await?.remove(name).ok_or(ProfileError::NoField)
}

/// The profile of a user of this server.
pub async fn local(homeserver: &Homeserver, user_id: &UserId) -> Result<Profile, ProfileError> {
    let row = homeserver.database.get::<Users>(&user_id.to_owned()).await?.ok_or(ProfileError::NoUser)?;
    Ok(row.profile)
}

/// The profile of a user of another server.
async fn remote(_homeserver: &Rc<Homeserver>, _user_id: &UserId) -> Result<Profile, ProfileError> {
    Err(ProfileError::NoUser)
}

/// Sets a field of a local user's profile. An empty display name or avatar is none.
pub async fn set_field(
    homeserver: &Rc<Homeserver>,
    user_id: &UserId,
    name: &str,
    value: Value,
) -> Result<(), ProfileError> {
    check_name(name)?;
    let unset = ROOM_FIELDS.contains(&name) && value.as_str().is_none_or(str::is_empty);
    if unset && !(value.is_string() || value.is_null()) {
        return Err(ProfileError::BadValue("display name and avatar are strings"));
    }
    check_value(name, &value)?;
    change(homeserver, user_id, name, if unset { None } else { Some(value) }).await
}

/// Removes a field of a local user's profile, if it is there.
pub async fn delete_field(homeserver: &Rc<Homeserver>, user_id: &UserId, name: &str) -> Result<(), ProfileError> {
    check_name(name)?;
    change(homeserver, user_id, name, None).await
}

fn check_name(name: &str) -> Result<(), ProfileError> {
    if name.len() > PROFILE_FIELD_NAME_MAX_BYTES {
        return Err(ProfileError::FieldNameTooLong);
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let namespaced =
        name.contains('.') && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(allowed);
    if ROOM_FIELDS.contains(&name) || namespaced { Ok(()) } else { Err(ProfileError::BadFieldName) }
}

fn check_value(name: &str, value: &Value) -> Result<(), ProfileError> {
    let text = value.as_str().unwrap_or_default();
    match name {
        "displayname" if text.chars().count() > DISPLAYNAME_MAX_CHARS => Err(ProfileError::DisplaynameTooLong),
        "avatar_url"
            if !text.is_empty() && (text.len() > AVATAR_URL_MAX_BYTES || !<&MxcUri>::from(text).is_valid()) =>
        {
            Err(ProfileError::BadValue("an avatar is an mxc:// URI"))
        }
        "m.tz" if !value.is_string() => Err(ProfileError::BadValue("a time zone is a string")),
        _ => Ok(()),
    }
}

async fn change(
    homeserver: &Rc<Homeserver>,
    user_id: &UserId,
    name: &str,
    value: Option<Value>,
) -> Result<(), ProfileError> {
    let key = user_id.to_owned();
    let accounts = homeserver.accounts_lock.lock().await;
    let mut row = homeserver.database.get::<Users>(&key).await?.ok_or(ProfileError::NoUser)?;
    let before = match value.clone() {
        Some(value) => row.profile.insert(name.to_owned(), value),
        None => row.profile.remove(name),
    };
    if before == value {
        return Ok(());
    }
    if serde_json::to_vec(&row.profile).expect("a map of JSON values").len() >= PROFILE_MAX_BYTES {
        return Err(ProfileError::TooLarge);
    }
    let mut batch = Batch::strict();
    batch.put::<Users>(&key, &row);
    homeserver.database.commit(batch).await?;
    drop(accounts);
    Ok(())
}

/// The rooms a local user is joined to.
pub async fn joined_rooms(homeserver: &Homeserver, user_id: &UserId) -> Result<Vec<OwnedRoomId>, StoreError> {
    let rows = homeserver.database.scan_all::<Memberships, _>(&user_id.to_owned()).await?;
    let joined = rows.into_iter().filter(|(_, row)| row.membership == MembershipState::Join);
    Ok(joined.map(|((_, room_id), _)| room_id).collect())
}
