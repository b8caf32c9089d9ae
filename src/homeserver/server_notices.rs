//! What whoever runs a homeserver tells its users, in a room of its own for each (client-server API, "Server Notices").
use std::rc::Rc;

use ruma::{
    CanonicalJsonObject, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId,
    api::client::room::{Visibility, create_room::v3::RoomPreset},
    events::{TimelineEventType, room::member::MembershipState},
};
use serde_json::json;
use thiserror::Error;

use super::{
    Homeserver,
    administration::{self, AdministrationError},
    rooms::{
        create::{self, CreateError, RequestId},
        invite::{self, InviteError},
        send::{self, ClientTxn, Message, SendError},
    },
    sessions::Session,
    tags::{self, TagError},
    user_rows,
};
use crate::{
    domain::room::preset::CreateRequest,
    ports::{Batch, StoreError},
    storage::tables::{UserRow, Users},
};

/// Who the notices are from. Nobody can register a name that begins like this.
const SENDER_LOCALPART: &str = "_server_notices";
const SENDER_NAME: &str = "Server notices";

const ROOM_NAME: &str = "Server notices";
const ROOM_TOPIC: &str = "What whoever runs this homeserver has to tell you";

/// By which clients know the room.
const TAG: &str = "m.server_notice";

#[derive(Debug, Error)]
pub enum NoticeError {
    #[error(transparent)]
    Administration(#[from] AdministrationError),
    #[error("the room for notices cannot be made: {0}")]
    Create(#[from] CreateError),
    #[error("the user cannot be invited to the room for notices: {0}")]
    Invite(#[from] InviteError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("the room for notices cannot be tagged: {0}")]
    Tag(#[from] TagError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is to be said.
pub struct Notice {
    pub kind: TimelineEventType,
    pub state_key: Option<String>,
    pub content: CanonicalJsonObject,
}

/// Says something to a user of this homeserver in the room for that, which is made first if need be and to which the
/// user is invited. `txn_id` is the administrator's: a repetition says nothing again.
pub async fn send(
    server: &Rc<Homeserver>,
    session: &Session,
    user_id: &OwnedUserId,
    notice: Notice,
    txn_id: Option<String>,
) -> Result<OwnedEventId, NoticeError> {
    administration::check_admin(server, session).await?;
    let row = administration::account(server, user_id).await?;
    // One at a time, so that a user has one such room.
    let _telling = server.telling_notices.lock().await;
    let sender = sender(server).await?;
    let room_id = match row.notices_room {
        Some(room_id) if server.rooms.get(&room_id).await?.is_some_and(|room| room.is_joined(&sender)) => room_id,
        _ => make_room(server, &sender, user_id).await?,
    };
    let membership = user_rows::membership(server, user_id, &room_id).await?.map(|row| row.membership.clone());
    if !matches!(membership, Some(MembershipState::Join | MembershipState::Invite)) {
        invite::invite(server, &room_id, &sender, user_id, CanonicalJsonObject::new()).await?;
    }
    let Notice { kind, state_key, content } = notice;
    let message = Message { sender, kind, state_key, content, redacts: None };
    let txn = txn_id.map(|txn_id| ClientTxn {
        device_id: session.device_id.clone(),
        scope: format!("notice/{}", session.user_id),
        txn_id,
    });
    Ok(send::send(server, &room_id, message, txn).await?)
}

/// Whether the room is that of the user's notices, and the user was invited to it: such an invite cannot be declined.
pub async fn is_undeclinable(server: &Homeserver, user_id: &UserId, room_id: &RoomId) -> Result<bool, StoreError> {
    let row = server.database.get::<Users>(&user_id.to_owned()).await?;
    if row.is_none_or(|row| row.notices_room.as_deref() != Some(room_id)) {
        return Ok(false);
    }
    let membership = user_rows::membership(server, user_id, room_id).await?;
    Ok(membership.is_some_and(|row| row.membership == MembershipState::Invite))
}

/// The user who says it all; made when it first does.
async fn sender(server: &Rc<Homeserver>) -> Result<OwnedUserId, StoreError> {
    let user_id = UserId::parse_with_server_name(SENDER_LOCALPART, server.server_name())
        .map_err(|error| StoreError::Backend(format!("the name of the server's own user: {error}")))?;
    let _accounts = server.accounts_lock.lock().await;
    if server.database.get::<Users>(&user_id).await?.is_none() {
        let created_ms = server.environment.clock.now_ms();
        let profile = [("displayname".to_owned(), SENDER_NAME.into())].into();
        let mut batch = Batch::strict();
        batch.put::<Users>(&user_id, &UserRow { created_ms, profile, ..UserRow::default() });
        server.database.commit(batch).await?;
    }
    Ok(user_id)
}

async fn make_room(
    server: &Rc<Homeserver>,
    sender: &OwnedUserId,
    user_id: &OwnedUserId,
) -> Result<OwnedRoomId, NoticeError> {
    let request = CreateRequest {
        creator: sender.clone(),
        version: server.options.default_room_version.clone(),
        preset: RoomPreset::PrivateChat,
        creation_content: CanonicalJsonObject::new(),
        creator_profile: [("displayname".to_owned(), SENDER_NAME.to_owned().into())].into(),
        // It is read only, but for whoever writes it.
        power_level_override: [("users_default".to_owned(), ruma::int!(-10).into())].into(),
        alias: None,
        initial_state: Vec::new(),
        name: Some(ROOM_NAME.to_owned()),
        topic: Some(ROOM_TOPIC.to_owned()),
        invite: vec![user_id.clone()],
    };
    let before = server.database.get::<Users>(user_id).await?.and_then(|row| row.notices_room);
    // A repetition after a crash finds the room again, unless that one is the one that is lost.
    let id = format!("{user_id} after {}", before.as_deref().map_or("none", RoomId::as_str));
    let request_id = RequestId { device_id: "NOTICES".into(), id };
    let room_id = create::create(server, request, &Visibility::Private, false, Some(request_id)).await?;
    tags::put(server, user_id, &room_id, TAG.to_owned(), json!({})).await?;
    let _accounts = server.accounts_lock.lock().await;
    if let Some(row) = server.database.get::<Users>(user_id).await? {
        let mut batch = Batch::strict();
        batch.put::<Users>(user_id, &UserRow { notices_room: Some(room_id.clone()), ..row });
        server.database.commit(batch).await?;
    }
    Ok(room_id)
}
