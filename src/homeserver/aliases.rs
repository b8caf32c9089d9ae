//! Room aliases: those of this server, and where those of others lead.
use std::{collections::BTreeSet, rc::Rc};

use futures::future::join_all;
use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedRoomAliasId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomAliasId,
    RoomId, UserId, api::federation::query::get_room_information, events::StateEventType,
};
use thiserror::Error;

use super::{Homeserver, peers::PeerError, room_facts, rooms::Room};
use crate::{
    domain::room::power::power_of,
    ports::{Batch, Lane, StoreError},
    storage::tables::{AliasRow, Aliases},
};

/// The most servers named with an alias.
const ALIAS_SERVERS_MAX: usize = 50;
/// The most bytes another server's answer may have of where its alias leads.
const ALIAS_ANSWER_MAX_BYTES: usize = 64 << 10;
/// The most aliases of other servers that one change may add to a room: each server is asked.
const FOREIGN_ALIASES_ADDED_MAX: usize = 20;

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
    #[error("more than {FOREIGN_ALIASES_ADDED_MAX} aliases of other servers at once")]
    TooMany,
    #[error("whether {alias} is an alias of this room is not known: {reason}")]
    Unverified { alias: OwnedRoomAliasId, reason: PeerError },
    #[error(transparent)]
    Peer(#[from] PeerError),
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

/// The room and servers through which it can be joined: what this server knows of its own aliases, and what its server
/// says of any other.
pub async fn resolve(
    server: &Homeserver,
    alias: &OwnedRoomAliasId,
) -> Result<(OwnedRoomId, Vec<OwnedServerName>), AliasError> {
    if alias.server_name() == server.server_name() {
        return resolve_own(server, alias).await;
    }
    let owner = alias.server_name().to_owned();
    let request = get_room_information::v1::Request::new(alias.clone());
    let answer = match server.ask_for_at_most(&owner, Lane::Queries, request, ALIAS_ANSWER_MAX_BYTES).await {
        Err(PeerError::Refused { status: 404, .. }) => return Err(AliasError::NotFound),
        answer => answer?,
    };
    // The alias's server may have left the room since, or know no others.
    let others = answer.servers.into_iter().chain([owner]);
    let mut seen = BTreeSet::new();
    let servers = others.filter(|name| name != server.server_name() && seen.insert(name.clone()));
    Ok((answer.room_id, servers.take(ALIAS_SERVERS_MAX).collect()))
}

/// As [`resolve`], for aliases of this server only.
pub async fn resolve_own(
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
    if !room.is_joined(user) && !room_facts::of_room(server, &room).await?.world_readable {
        return Err(AliasError::NotInRoom);
    }
    let all = server.database.scan_all::<Aliases, _>(&()).await?;
    Ok(all.into_iter().filter(|(_, row)| row.room_id == room_id).map(|(alias, _)| alias).collect())
}

/// Refuses a canonical alias event that adds an alias which is not one of the room, or of which that cannot be learnt.
/// What the room calls itself already is not asked about again: its server may be away for long.
pub async fn check_canonical(
    server: &Homeserver,
    room_id: &RoomId,
    content: &CanonicalJsonObject,
) -> Result<(), AliasError> {
    let known = match server.rooms.get(room_id).await? {
        Some(room) => current_names(server, &room).await?,
        None => BTreeSet::new(),
    };
    let mut added = BTreeSet::new();
    for named in names_in(content)? {
        let alias = RoomAliasId::parse(&named).map_err(|_| AliasError::Malformed(named.clone()))?;
        if !known.contains(&named) {
            added.insert(alias);
        }
    }
    let own = |alias: &&OwnedRoomAliasId| alias.server_name() == server.server_name();
    if added.iter().filter(|alias| !own(alias)).count() > FOREIGN_ALIASES_ADDED_MAX {
        return Err(AliasError::TooMany);
    }
    for checked in join_all(added.iter().map(|alias| leads_to(server, alias, room_id))).await {
        checked?;
    }
    Ok(())
}

async fn leads_to(server: &Homeserver, alias: &OwnedRoomAliasId, room_id: &RoomId) -> Result<(), AliasError> {
    match resolve(server, alias).await {
        Ok((led_to, _)) if led_to == room_id => Ok(()),
        Ok(_) | Err(AliasError::NotFound) => Err(AliasError::Bad(alias.to_string())),
        Err(AliasError::Peer(reason)) => Err(AliasError::Unverified { alias: alias.clone(), reason }),
        Err(error) => Err(error),
    }
}

/// What the room calls itself now.
async fn current_names(server: &Homeserver, room: &Room) -> Result<BTreeSet<String>, StoreError> {
    let event_id = room.live().state.get(&StateEventType::RoomCanonicalAlias, "").cloned();
    let Some(event_id) = event_id else { return Ok(BTreeSet::new()) };
    let Some(event) = server.rooms.events.get(&event_id).await? else { return Ok(BTreeSet::new()) };
    let content = serde_json::from_str(event.pdu.content.get()).unwrap_or_default();
    Ok(names_in(&content).unwrap_or_default().into_iter().collect())
}

/// The aliases in the content of a canonical alias event; none where it has `null` or nothing.
fn names_in(content: &CanonicalJsonObject) -> Result<Vec<String>, AliasError> {
    let text = |value: &CanonicalJsonValue| match value {
        CanonicalJsonValue::String(text) => Ok(text.clone()),
        other => Err(AliasError::Malformed(serde_json::to_string(other).unwrap_or_default())),
    };
    let mut names = match content.get("alias") {
        None | Some(CanonicalJsonValue::Null) => Vec::new(),
        Some(alias) => vec![text(alias)?],
    };
    match content.get("alt_aliases") {
        None | Some(CanonicalJsonValue::Null) => {}
        Some(CanonicalJsonValue::Array(list)) => {
            for alias in list {
                names.push(text(alias)?);
            }
        }
        Some(other) => names.push(text(other)?),
    }
    names.retain(|name| !name.is_empty());
    Ok(names)
}

fn own(server: &Homeserver, alias: &OwnedRoomAliasId) -> Result<(), AliasError> {
    if alias.server_name() == server.server_name() { Ok(()) } else { Err(AliasError::Foreign(alias.clone())) }
}

/// Whether the user is joined and has the power to change the canonical alias.
pub async fn may_set_aliases(server: &Homeserver, room: &Room, user: &UserId) -> Result<bool, StoreError> {
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
