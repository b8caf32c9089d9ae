//! Upgrading a room: a replacement of another version with the state that carries over, and the end of the old room
//! (client-server API, "Room Upgrades").
use std::{collections::BTreeSet, rc::Rc};

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomId,
    RoomVersionId, events::StateEventType, events::room::member::MembershipState, room_version_rules::RoomVersionRules,
    state_res::events::RoomCreateEvent,
};
use thiserror::Error;

use super::{
    Room,
    append::{Append, AppendError},
    create::{CreateError, lay_out, random_room_id, state_draft},
    membership::profile_content,
    policy,
    send::{SendError, resident_room},
    succession,
};
use crate::{
    domain::{
        event::{Pdu, SharedPdu, draft::Draft},
        room::{
            preset::InitialEvent,
            successor::{self, Plan, Predecessor},
        },
        room_version::{self, UnsupportedRoomVersion},
    },
    homeserver::Homeserver,
    ports::StoreError,
    storage::tables::{AliasRow, Aliases, PublishedRooms},
};

/// The most bans, and the most rooms of a space, that are carried over.
const CARRIED_BANS_MAX: usize = 5_000;
const CARRIED_CHILDREN_MAX: usize = 1_000;
/// The most additional creators that may be named.
pub const ADDITIONAL_CREATORS_MAX: usize = 100;
/// What a client that knows nothing of upgrades shows in the old room.
const TOMBSTONE_TEXT: &str = "This room has been replaced";

#[derive(Debug, Error)]
pub enum UpgradeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Version(#[from] UnsupportedRoomVersion),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("more than {ADDITIONAL_CREATORS_MAX} additional creators")]
    TooManyCreators,
    #[error(transparent)]
    Create(#[from] CreateError),
}

impl From<AppendError> for UpgradeError {
    fn from(error: AppendError) -> Self {
        Self::Send(error.into())
    }
}

/// Replaces the room by one of `version`; answers with the new room's id.
///
/// The new room, the aliases and the place in the directory that move to it, and the end of the old room are one commit.
pub async fn upgrade(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &OwnedUserId,
    version: &RoomVersionId,
    additional_creators: &[OwnedUserId],
) -> Result<OwnedRoomId, UpgradeError> {
    let rules = Rc::new(room_version::rules(version)?);
    if additional_creators.len() > ADDITIONAL_CREATORS_MAX {
        return Err(UpgradeError::TooManyCreators);
    }
    let room = resident_room(server, room_id).await?;
    if !room.is_joined(user) {
        return Err(SendError::NotInRoom.into());
    }
    let profile = profile_content(server, user).await?;
    // As for every room that is made: one at a time, and no alias is given away meanwhile.
    let creating = server.creating.lock().await;
    let mut old = Append::begin(server, &room).await;
    let plan = Plan { version, rules: &rules.authorization, creator: user, additional_creators };
    let named = !rules.authorization.room_create_event_id_as_room_id;
    let new_id = named.then(|| random_room_id(server));
    // Whether the user may do this is seen before anything is made, if need be with a tombstone that is not the one.
    let tombstone = tombstone_draft(&old, user, new_id.as_deref().unwrap_or(room_id));
    let tombstone = if named {
        let sealed;
        (old, sealed) = policy::sealed(server, &room, old, tombstone).await?;
        sealed
    } else {
        old.seal(tombstone).await?
    };
    let initial = successor_events(&old, profile, named.then_some(&tombstone), &plan).await?;
    let mut new = lay_out(server, new_id, version, rules.clone(), user, initial).await?;
    let new_id = new.room.id.clone();
    move_names(&mut new, &room.id).await?;
    let tombstone = if named {
        tombstone
    } else {
        let last = tombstone_draft(&old, user, &new_id);
        let sealed;
        (old, sealed) = policy::sealed(server, &room, old, last).await?;
        sealed
    };
    old.append_local(tombstone, None).await?;
    let closing = closing(&old, user).await?;
    // A policy server is not asked under the lock: where there is one, what closes the room comes after its end.
    let is_guarded = policy::in_use(&old).await?.is_some();
    if !is_guarded {
        close(&mut old, &closing).await?;
    }
    new.make_strict();
    new.commit_with(old).await?;
    drop(creating);
    if is_guarded {
        close_guarded(server, &room, closing).await?;
    }
    succession::carry_over(server, &new_id, user).await;
    Ok(new_id)
}

fn tombstone_draft(old: &Append<'_>, user: &OwnedUserId, replacement: &RoomId) -> Draft {
    let content = CanonicalJsonObject::from([
        ("body".to_owned(), TOMBSTONE_TEXT.into()),
        ("replacement_room".to_owned(), replacement.to_string().into()),
    ]);
    state_draft(&old.room.id, user, StateEventType::RoomTombstone, String::new(), content)
}

/// Everything the new room begins with. Power levels come last: until there are any its creator may do everything.
async fn successor_events(
    old: &Append<'_>,
    profile: CanonicalJsonObject,
    tombstone: Option<&Pdu>,
    plan: &Plan<'_>,
) -> Result<Vec<InitialEvent>, AppendError> {
    let create = content_at(old, StateEventType::RoomCreate).await?.unwrap_or_default();
    let power_levels = content_at(old, StateEventType::RoomPowerLevels).await?;
    let infinite = infinite(old).await?;
    let predecessor = Predecessor {
        room_id: &old.room.id,
        tombstone: tombstone.map(|event| &*event.event_id),
        create: &create,
        power_levels: power_levels.as_ref(),
        infinite: &infinite,
    };
    let state = |kind: StateEventType, content| InitialEvent { kind, state_key: String::new(), content };
    let joined = ("membership".to_owned(), CanonicalJsonValue::from("join"));
    let mut events = vec![
        state(StateEventType::RoomCreate, successor::create_content(&predecessor, plan)),
        InitialEvent {
            kind: StateEventType::RoomMember,
            state_key: plan.creator.to_string(),
            content: profile.into_iter().chain([joined]).collect(),
        },
    ];
    events.extend(carried(old, &create, plan).await?);
    if let Some(aliases) = content_at(old, StateEventType::RoomCanonicalAlias).await? {
        let (moved, _) = successor::split_aliases(&aliases, old.server.server_name());
        if !moved.is_empty() {
            events.push(state(StateEventType::RoomCanonicalAlias, moved));
        }
    }
    events.extend(bans(old, plan).await?);
    events.push(state(StateEventType::RoomPowerLevels, successor::power_levels(&predecessor, plan)));
    Ok(events)
}

/// Those with infinite power in the old room.
async fn infinite(old: &Append<'_>) -> Result<BTreeSet<OwnedUserId>, AppendError> {
    let rules: &RoomVersionRules = &old.room.rules;
    let create = old.event(&old.room.create_event).await?;
    let Some(create) = create.filter(|_| rules.authorization.explicitly_privilege_room_creators) else {
        return Ok(BTreeSet::new());
    };
    let creators = RoomCreateEvent::new(SharedPdu(create.pdu.clone())).creators(&rules.authorization);
    Ok(creators.map(|creators| creators.into_iter().collect()).unwrap_or_default())
}

async fn carried(
    old: &Append<'_>,
    create: &CanonicalJsonObject,
    plan: &Plan<'_>,
) -> Result<Vec<InitialEvent>, AppendError> {
    let is_space = create.get("type").and_then(|kind| kind.as_str()) == Some("m.space");
    let entries = old.live.state.entries.iter();
    let candidates: Vec<_> = entries
        .filter(|((kind, key), _)| *kind == StateEventType::SpaceChild || key.is_empty())
        .map(|(_, event_id)| event_id.clone())
        .collect();
    let mut children = 0;
    let mut carried = Vec::new();
    for event in contents(old, &candidates).await? {
        if event.kind == StateEventType::SpaceChild {
            children += 1;
            if children > CARRIED_CHILDREN_MAX {
                continue;
            }
        }
        carried.extend(successor::carried(&event, is_space, plan.rules));
    }
    Ok(carried)
}

/// Who is banned stays so, but for those whom the new room could not do without.
async fn bans(old: &Append<'_>, plan: &Plan<'_>) -> Result<Vec<InitialEvent>, AppendError> {
    let creators = plan.creators();
    let members = old.live.members.iter();
    let banned = members.filter(|(user, row)| row.membership == MembershipState::Ban && !creators.contains(&***user));
    let banned: Vec<_> = banned.map(|(_, row)| row.event_id.clone()).take(CARRIED_BANS_MAX).collect();
    contents(old, &banned).await
}

/// State events by id, those left out whose content is not canonical JSON, as some of old versions are.
async fn contents(old: &Append<'_>, ids: &[OwnedEventId]) -> Result<Vec<InitialEvent>, AppendError> {
    let events = old.events(ids).await?.into_iter().flatten();
    let initial = events.filter_map(|event| {
        let (kind, state_key) = event.pdu.state_map_key()?;
        let content = serde_json::from_str(event.pdu.content_by_rules().get()).ok()?;
        Some(InitialEvent { kind, state_key, content })
    });
    Ok(initial.collect())
}

async fn content_at(old: &Append<'_>, kind: StateEventType) -> Result<Option<CanonicalJsonObject>, AppendError> {
    let Some(event_id) = old.live.state.get(&kind, "").cloned() else { return Ok(None) };
    Ok(contents(old, &[event_id]).await?.pop().map(|event| event.content))
}

/// Moves the aliases of this server, and the place in its directory, from the old room to the new, in one commit with it.
async fn move_names(new: &mut Append<'_>, old_id: &RoomId) -> Result<(), StoreError> {
    let new_id = new.room.id.clone();
    for (alias, row) in aliases_of(new.server, old_id).await? {
        new.batch.put::<Aliases>(&alias, &AliasRow { room_id: new_id.clone(), ..row });
    }
    if new.server.database.get::<PublishedRooms>(&old_id.to_owned()).await?.is_some() {
        new.batch.delete::<PublishedRooms>(&old_id.to_owned());
        new.batch.put::<PublishedRooms>(&new_id, &());
    }
    Ok(())
}

/// The aliases of this server that lead to a room.
pub(super) async fn aliases_of(
    server: &Homeserver,
    room_id: &RoomId,
) -> Result<Vec<(OwnedRoomAliasId, AliasRow)>, StoreError> {
    let all = server.database.scan_all::<Aliases, _>(&()).await?;
    Ok(all.into_iter().filter(|(_, row)| row.room_id == room_id).collect())
}

/// Takes from the old room the names that moved and, as far as the user may, the right to speak.
async fn closing(old: &Append<'_>, user: &OwnedUserId) -> Result<Vec<Draft>, AppendError> {
    let mut changes = Vec::new();
    if let Some(aliases) = content_at(old, StateEventType::RoomCanonicalAlias).await? {
        let (moved, stays) = successor::split_aliases(&aliases, old.server.server_name());
        if !moved.is_empty() {
            changes.push((StateEventType::RoomCanonicalAlias, stays));
        }
    }
    let levels = content_at(old, StateEventType::RoomPowerLevels).await?;
    changes
        .extend(levels.and_then(|levels| successor::closed(&levels)).map(|it| (StateEventType::RoomPowerLevels, it)));
    let draft = |(kind, content)| state_draft(&old.room.id, user, kind, String::new(), content);
    Ok(changes.into_iter().map(draft).collect())
}

async fn close(old: &mut Append<'_>, closing: &[Draft]) -> Result<(), AppendError> {
    let room: Rc<Room> = old.room.clone();
    for draft in closing {
        match old.draft(draft.clone(), None).await {
            Ok(_) => {}
            Err(AppendError::Forbidden(rule)) => {
                tracing::info!(room = %room.id, kind = %draft.kind, %rule, "left as it was")
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// As [`close`], an event a commit. The upgrade is done: what cannot be closed stays as it was.
async fn close_guarded(server: &Rc<Homeserver>, room: &Rc<Room>, closing: Vec<Draft>) -> Result<(), AppendError> {
    for draft in closing {
        let kind = draft.kind.clone();
        let append = Append::begin(server, room).await;
        match policy::sealed(server, room, append, draft).await {
            Ok((mut append, pdu)) => {
                append.append_local(pdu, None).await?;
                append.commit().await?;
            }
            Err(AppendError::Store(error)) => return Err(error.into()),
            Err(error) => tracing::info!(room = %room.id, %kind, %error, "left as it was"),
        }
    }
    Ok(())
}
