//! Creating a room: all its first events in one commit, or no room at all.
use std::{collections::BTreeMap, rc::Rc};

use ruma::{
    CanonicalJsonObject, MilliSecondsSinceUnixEpoch, OwnedDeviceId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId,
    RoomVersionId, api::client::room::Visibility, room_version_rules::RoomVersionRules,
};
use thiserror::Error;

use super::{
    apart::{self, Apart},
    append::{Append, AppendError},
    invite::{self, InviteError},
};
use crate::{
    domain::{
        event::{
            Pdu,
            draft::{self, Draft},
        },
        room::preset::{self, CreateRequest, InitialEvent, PresetError},
        room_version::{self, UnsupportedRoomVersion},
    },
    homeserver::{
        Homeserver, client_txns,
        directory::{self, DirectoryError},
    },
    ports::StoreError,
    storage::tables::{AliasRow, Aliases, PublishedRooms},
};

/// The most users one request may invite.
pub const CREATE_INVITES_MAX: usize = 100;

/// The most events of `initial_state`.
pub const CREATE_INITIAL_STATE_MAX: usize = 200;

/// Events drafted before other work gets a turn.
const DRAFTS_PER_SLICE: usize = 20;

#[derive(Debug, Error)]
pub enum CreateError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Version(#[from] UnsupportedRoomVersion),
    #[error(transparent)]
    Preset(#[from] PresetError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Apart(#[from] Apart),
    #[error("the alias {0} is taken")]
    AliasTaken(OwnedRoomAliasId),
    #[error("more than {CREATE_INVITES_MAX} invites")]
    TooManyInvites,
    #[error("more than {CREATE_INITIAL_STATE_MAX} events of initial_state")]
    TooMuchState,
    /// One of the initial events is refused by the rules or is too large.
    #[error("the room cannot be created like this: {0}")]
    Refused(AppendError),
}

impl From<AppendError> for CreateError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Store(error) => Self::Store(error),
            other => Self::Refused(other),
        }
    }
}

/// Names one deliberate request, so that its repeat (after a restart of the worker, say) finds the room it made.
pub struct RequestId {
    pub device_id: OwnedDeviceId,
    pub id: String,
}

/// Creates the room and invites whom the request names. Invites that fail do not undo the room; where one never can succeed
/// no room is made.
pub async fn create(
    server: &Rc<Homeserver>,
    request: CreateRequest,
    visibility: &Visibility,
    is_direct: bool,
    request_id: Option<RequestId>,
) -> Result<OwnedRoomId, CreateError> {
    let rules = Rc::new(room_version::rules(&request.version)?);
    if request.invite.len() > CREATE_INVITES_MAX {
        return Err(CreateError::TooManyInvites);
    }
    if request.initial_state.len() > CREATE_INITIAL_STATE_MAX {
        return Err(CreateError::TooMuchState);
    }
    let txn_key = request_id.map(|id| client_txns::key(&request.creator, &id.device_id, "createRoom", &id.id));
    // One room at a time, so that a repeated request or a contested alias sees the first.
    let _creating = server.creating.lock().await;
    if let Some(key) = &txn_key
        && let Some(answer) = client_txns::answer(server, key).await?
        && let Ok(room_id) = OwnedRoomId::try_from(answer)
    {
        drop(_creating);
        // The first request may have been cut short between making the room and inviting.
        let room = server.rooms.get(&room_id).await?;
        let never_invited = |user: &OwnedUserId| room.as_ref().is_some_and(|room| room.membership(user).is_none());
        let targets = request.invite.into_iter().filter(never_invited).collect();
        invite_all(server, &room_id, &request.creator, targets, is_direct).await;
        return Ok(room_id);
    }
    apart::all(server, &request.invite)?;
    if let Some(alias) = &request.alias
        && server.database.get::<Aliases>(alias).await?.is_some()
    {
        return Err(CreateError::AliasTaken(alias.clone()));
    }

    if *visibility == Visibility::Public {
        directory::check_room_for_one(server, None).await?;
    }

    let creator = request.creator.clone();
    let initial = preset::initial_events(&request, &rules)?;
    let room_id = (!rules.authorization.room_create_event_id_as_room_id).then(|| random_room_id(server));
    let mut append = lay_out(server, room_id, &request.version, rules, &creator, initial).await?;
    let room_id = append.room.id.clone();
    if let Some(alias) = &request.alias {
        append.batch.put::<Aliases>(alias, &AliasRow { room_id: room_id.clone(), creator: creator.clone() });
    }
    if *visibility == Visibility::Public {
        append.batch.put::<PublishedRooms>(&room_id, &());
    }
    if let Some(key) = &txn_key {
        client_txns::record(server, &mut append.batch, key, &room_id);
    }
    append.commit().await?;
    drop(_creating);
    invite_all(server, &room_id, &creator, request.invite, is_direct).await;
    Ok(room_id)
}

/// Drafts a room with these events, the create event first; it is there once the append is committed. `room_id` is `None`
/// in versions that derive it.
pub(super) async fn lay_out<'a>(
    server: &'a Homeserver,
    room_id: Option<OwnedRoomId>,
    version: &RoomVersionId,
    rules: Rc<RoomVersionRules>,
    creator: &OwnedUserId,
    initial: Vec<InitialEvent>,
) -> Result<Append<'a>, CreateError> {
    let mut initial = initial.into_iter();
    let create = initial.next().expect("a room begins with its create event");
    let create = seal_create(server, create.into_draft(room_id, creator.clone()), &rules).await?;
    let (room_id, event_id) = (create.room_id.clone(), create.event_id.clone());
    let mut append = Append::begin_room(server, room_id.clone(), version, rules, event_id).await?;
    append.make_strict();
    append.append_local(create, None).await?;
    for (index, event) in initial.enumerate() {
        if index % DRAFTS_PER_SLICE == DRAFTS_PER_SLICE - 1 {
            server.environment.clock.yield_now().await;
        }
        append.draft(event.into_draft(Some(room_id.clone()), creator.clone()), None).await?;
    }
    Ok(append)
}

/// Seals the create event. Since version 12 its hash is the room's id, and two deliberate rooms of one millisecond that
/// are alike in all else must not be one.
async fn seal_create(server: &Homeserver, draft: Draft, rules: &RoomVersionRules) -> Result<Pdu, CreateError> {
    loop {
        let position = draft::Position {
            prev_events: Vec::new(),
            auth_events: Vec::new(),
            hashes: BTreeMap::new(),
            depth: 1,
            origin_server_ts: now(server),
        };
        let create = draft::seal(draft.clone(), position, &server.identity, rules).map_err(AppendError::from)?;
        if server.rooms.get(&create.room_id).await?.is_none() {
            return Ok(create);
        }
    }
}

async fn invite_all(
    server: &Rc<Homeserver>,
    room_id: &OwnedRoomId,
    creator: &OwnedUserId,
    targets: Vec<OwnedUserId>,
    is_direct: bool,
) {
    for target in targets {
        let mut content = CanonicalJsonObject::new();
        if is_direct {
            content.insert("is_direct".to_owned(), true.into());
        }
        let invited: Result<(), InviteError> = invite::invite(server, room_id, creator, &target, content).await;
        if let Err(error) = invited {
            tracing::warn!(room = %room_id, user = %target, %error, "invite at creation failed");
        }
    }
}

pub(super) fn random_room_id(server: &Homeserver) -> OwnedRoomId {
    let mut random = [0; 16];
    server.environment.entropy.fill(&mut random);
    preset::random_room_id(u128::from_le_bytes(random), server.server_name())
}

/// The time for a new event.
pub(super) fn now(server: &Homeserver) -> MilliSecondsSinceUnixEpoch {
    server.event_times.next(server.environment.clock.now_ms())
}

/// A state event of `sender` with the given content.
pub(super) fn state_draft(
    room_id: &OwnedRoomId,
    sender: &OwnedUserId,
    kind: ruma::events::StateEventType,
    state_key: String,
    content: CanonicalJsonObject,
) -> Draft {
    Draft {
        room_id: Some(room_id.clone()),
        sender: sender.clone(),
        kind: kind.to_string().into(),
        state_key: Some(state_key),
        content,
        redacts: None,
    }
}
