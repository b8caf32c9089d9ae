//! Profiles: what users say of themselves, and how their rooms learn of it.
use std::{collections::BTreeMap, rc::Rc};

use ruma::{
    MxcUri, OwnedUserId, UserId, api::federation::query::get_profile_information, events::room::member::MembershipState,
};
use serde_json::Value;
use thiserror::Error;

use super::{Homeserver, peers::PeerError, rooms::membership, user_directory};
use crate::{
    ports::{Batch, Lane, StoreError},
    storage::tables::{RoomMembers, Rooms, Users},
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
    Peer(#[from] PeerError),
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

/// The profile of a user of another server: what that server says, or while it is away what a room we share shows.
async fn remote(homeserver: &Rc<Homeserver>, user_id: &UserId) -> Result<Profile, ProfileError> {
    let request = get_profile_information::v1::Request::new(user_id.to_owned());
    match homeserver.ask(&user_id.server_name().to_owned(), Lane::Queries, request).await {
        Ok(response) => checked(response.data.into_iter().collect()),
        Err(PeerError::Refused { status: 404, .. }) => Err(ProfileError::NoUser),
        Err(error) => match in_rooms(homeserver, user_id).await? {
            Some(profile) => Ok(profile),
            None => Err(error.into()),
        },
    }
}

/// Another server's word, unless it is too large to pass on.
fn checked(profile: Profile) -> Result<Profile, ProfileError> {
    if size_of(&profile) >= PROFILE_MAX_BYTES { Err(ProfileError::TooLarge) } else { Ok(profile) }
}

/// Display name and avatar of a user as a room shows them in which the user is joined.
async fn in_rooms(homeserver: &Homeserver, user_id: &UserId) -> Result<Option<Profile>, StoreError> {
    let rooms = homeserver.database.scan_all::<Rooms, _>(&()).await?;
    let keys: Vec<_> = rooms.into_iter().map(|(_, room)| (room.num, user_id.to_owned())).collect();
    let members = homeserver.database.get_many::<RoomMembers>(&keys).await?;
    let joined = members.into_iter().flatten().find(|member| member.membership == MembershipState::Join);
    Ok(joined.map(|member| {
        let fields = [("displayname", member.displayname), ("avatar_url", member.avatar_url)];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
    }))
}

fn size_of(profile: &Profile) -> usize {
    serde_json::to_vec(profile).expect("a map of JSON values").len()
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
    if size_of(&row.profile) >= PROFILE_MAX_BYTES {
        return Err(ProfileError::TooLarge);
    }
    let mut batch = Batch::strict();
    batch.put::<Users>(&key, &row);
    if name == "displayname" {
        user_directory::put_account(&mut batch, user_id, row.profile.get(name).and_then(Value::as_str));
    }
    homeserver.database.commit(batch).await?;
    drop(accounts);
    if ROOM_FIELDS.contains(&name) {
        tell_rooms(homeserver, key);
    }
    Ok(())
}

/// Repeats display name and avatar in the rooms the user is in, in the background: there may be many.
fn tell_rooms(homeserver: &Rc<Homeserver>, user_id: OwnedUserId) {
    let server = homeserver.clone();
    homeserver.environment.tasks.spawn(Box::pin(async move {
        let _telling = server.telling_rooms.lock().await;
        if let Err(error) = membership::update_member_profile(&server, &user_id).await {
            tracing::warn!(%user_id, %error, "rooms were not told of a new profile");
        }
    }));
}
