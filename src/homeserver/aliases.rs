//! Room aliases of this server.
use std::rc::Rc;

use ruma::{
    CanonicalJsonObject, OwnedRoomAliasId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomAliasId, RoomId,
    events::StateEventType,
};
use thiserror::Error;

use super::{Homeserver, rooms::Room};
use crate::{
    domain::room::power::power_of,
    ports::{Batch, StoreError},
    storage::tables::{AliasRow, Aliases},
};

/// The most servers named with an alias.
const ALIAS_SERVERS_MAX: usize = 50;

#[derive(Debug, Error)]
pub enum AliasError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0} is no alias of this server")]
    Foreign(OwnedRoomAliasId),
    #[error("{0} exists already")]
    Taken(OwnedRoomAliasId),
    #[error("there is no such alias")]
    NotFound,
    #[error("you are not in this room")]
    NotInRoom,
    #[error("{0} is no alias of this room")]
    Bad(String),
    #[error("{0} is no alias")]
    Malformed(String),
    #[error("only who made an alias, or who may set the room's aliases, may delete it")]
    Forbidden,
}

pub async fn create(
    server: &Rc<Homeserver>,
    user: &OwnedUserId,
    alias: &OwnedRoomAliasId,
    room_id: &RoomId,
) -> Result<(), AliasError> {
    own(server, alias)?;
    let room = server.rooms.get(room_id).await?.ok_or(AliasError::NotInRoom)?;
    if !room.is_joined(user) {
        return Err(AliasError::NotInRoom);
    }
    let _creating = server.creating.lock().await;
    if server.database.get::<Aliases>(alias).await?.is_some() {
        return Err(AliasError::Taken(alias.clone()));
    }
    let mut batch = Batch::strict();
    batch.put::<Aliases>(alias, &AliasRow { room_id: room_id.to_owned(), creator: user.clone() });
    Ok(server.database.commit(batch).await?)
}

/// The room and servers through which it can be joined.
pub async fn resolve(
    server: &Homeserver,
    alias: &OwnedRoomAliasId,
) -> Result<(OwnedRoomId, Vec<OwnedServerName>), AliasError> {
    let row = server.database.get::<Aliases>(alias).await?.ok_or(AliasError::NotFound)?;
    let room = server.rooms.get(&row.room_id).await?;
    let others = room.map(|room| room.joined_servers()).unwrap_or_default();
    let others = others.into_iter().filter(|name| name != server.server_name());
    let servers = std::iter::once(server.server_name().to_owned()).chain(others).take(ALIAS_SERVERS_MAX).collect();
    Ok((row.room_id, servers))
}

pub async fn delete(server: &Rc<Homeserver>, user: &OwnedUserId, alias: &OwnedRoomAliasId) -> Result<(), AliasError> {
    own(server, alias)?;
    let row = server.database.get::<Aliases>(alias).await?.ok_or(AliasError::NotFound)?;
    let room = server.rooms.get(&row.room_id).await?;
    let may = row.creator == *user
        || match room {
            Some(room) => may_set_aliases(server, &room, user).await?,
            None => false,
        };
    if !may {
        return Err(AliasError::Forbidden);
    }
    let mut batch = Batch::strict();
    batch.delete::<Aliases>(alias);
    Ok(server.database.commit(batch).await?)
}

pub async fn of_room(
    server: &Homeserver,
    user: &OwnedUserId,
    room_id: &RoomId,
) -> Result<Vec<OwnedRoomAliasId>, AliasError> {
    let room = server.rooms.get(room_id).await?.ok_or(AliasError::NotInRoom)?;
    if !room.is_joined(user) {
        return Err(AliasError::NotInRoom);
    }
    let all = server.database.scan_all::<Aliases, _>(&()).await?;
    Ok(all.into_iter().filter(|(_, row)| row.room_id == room_id).map(|(alias, _)| alias).collect())
}

/// Refuses a canonical alias event that names an alias of this server which is not one of the room.
pub async fn check_canonical(
    server: &Homeserver,
    room_id: &RoomId,
    content: &CanonicalJsonObject,
) -> Result<(), AliasError> {
    let alternatives = content.get("alt_aliases").and_then(|list| list.as_array()).into_iter().flatten();
    let named = content.get("alias").into_iter().chain(alternatives).filter_map(|alias| alias.as_str());
    for named in named.filter(|named| !named.is_empty()) {
        let alias = RoomAliasId::parse(named).map_err(|_| AliasError::Malformed(named.to_owned()))?;
        // What other servers' aliases point to is theirs to say, and they may be away.
        if alias.server_name() == server.server_name() {
            let row = server.database.get::<Aliases>(&alias).await?;
            row.filter(|row| row.room_id == room_id).ok_or_else(|| AliasError::Bad(named.to_owned()))?;
        }
    }
    Ok(())
}

fn own(server: &Homeserver, alias: &OwnedRoomAliasId) -> Result<(), AliasError> {
    if alias.server_name() == server.server_name() { Ok(()) } else { Err(AliasError::Foreign(alias.clone())) }
}

/// Whether the user is joined and has the power to change the canonical alias.
async fn may_set_aliases(server: &Homeserver, room: &Room, user: &OwnedUserId) -> Result<bool, StoreError> {
    if !room.is_joined(user) {
        return Ok(false);
    }
    let at = |kind: StateEventType| room.live().state.get(&kind, "").cloned();
    let (create, levels) = (at(StateEventType::RoomCreate), at(StateEventType::RoomPowerLevels));
    let Some(create) = create else { return Ok(false) };
    let Some(create) = server.rooms.events.get(&create).await? else { return Ok(false) };
    let levels = match levels {
        Some(levels) => server.rooms.events.get(&levels).await?.map(|event| event.pdu.clone()),
        None => None,
    };
    #[derive(serde::Deserialize)]
    struct Levels {
        #[serde(default)]
        events: std::collections::BTreeMap<String, ruma::Int>,
        state_default: Option<ruma::Int>,
    }
    let needed = levels.as_ref().and_then(|event| serde_json::from_str::<Levels>(event.content.get()).ok());
    let needed = needed.map_or(0.into(), |levels| {
        let set = levels.events.get("m.room.canonical_alias").copied();
        set.or(levels.state_default).unwrap_or_else(|| 50.into())
    });
    let power = power_of(user, &create.pdu, levels.as_ref(), &room.rules.authorization);
    Ok(power.is_ok_and(|power| power >= needed))
}
