//! Sending events of local users: messages, state, redactions. A client's transaction id gets one event, ever.
use std::rc::Rc;

use ruma::{CanonicalJsonObject, OwnedDeviceId, OwnedEventId, OwnedUserId, RoomId, events::TimelineEventType};
use thiserror::Error;

use super::{
    Room,
    append::{Append, AppendError},
    policy,
};
use crate::{
    domain::event::draft::Draft,
    homeserver::{
        Homeserver, client_txns,
        relations::rules::{self, RelationError},
    },
    ports::StoreError,
};

#[derive(Debug, Error)]
pub enum SendError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("you are not in this room")]
    NotInRoom,
    #[error(transparent)]
    Append(AppendError),
    #[error(transparent)]
    Relation(RelationError),
}

impl From<RelationError> for SendError {
    fn from(error: RelationError) -> Self {
        match error {
            RelationError::Store(error) => Self::Store(error),
            other => Self::Relation(other),
        }
    }
}

impl From<AppendError> for SendError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Store(error) => Self::Store(error),
            other => Self::Append(other),
        }
    }
}

/// The transaction a client sends under: scoped to its device and the endpoint's path.
#[derive(Clone, Debug)]
pub struct ClientTxn {
    pub device_id: OwnedDeviceId,
    /// Distinguishes endpoints and rooms: the request's path without the transaction id.
    pub scope: String,
    pub txn_id: String,
}

impl ClientTxn {
    fn key(&self, user: &OwnedUserId) -> client_txns::Key {
        client_txns::key(user, &self.device_id, &self.scope, &self.txn_id)
    }
}

/// What a user wants to say in a room.
pub struct Message {
    pub sender: OwnedUserId,
    pub kind: TimelineEventType,
    pub state_key: Option<String>,
    pub content: CanonicalJsonObject,
    pub redacts: Option<OwnedEventId>,
}

/// Sends one event into a room a local user is in. A repeat of `txn` answers with the event of the first time.
pub async fn send(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    message: Message,
    txn: Option<ClientTxn>,
) -> Result<OwnedEventId, SendError> {
    send_noting(server, room_id, message, txn, |_, _| {}).await
}

/// As `send`; what `note` adds to the append is written with the event. Not called if there is no new event.
pub async fn send_noting(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    message: Message,
    txn: Option<ClientTxn>,
    note: impl FnOnce(&mut Append<'_>, &OwnedEventId),
) -> Result<OwnedEventId, SendError> {
    let room = resident_room(server, room_id).await?;
    let append = Append::begin(server, &room).await;
    // Looked up under the lock: of two identical requests at once the second finds the first's event.
    let key = txn.as_ref().map(|txn| txn.key(&message.sender));
    if let Some(event_id) = sent_before(server, key.as_ref()).await? {
        return Ok(event_id);
    }
    if let Some(unchanged) = unchanged_state(&append, &message).await? {
        return Ok(unchanged);
    }
    if let Some(target) = &message.redacts
        && !append.user_may_redact(&message.sender, target).await?
    {
        return Err(SendError::Append(AppendError::Forbidden("you may not redact this event".to_owned())));
    }
    rules::check(&append, &message).await?;
    let Message { sender, kind, state_key, content, redacts } = message;
    let draft = Draft { room_id: Some(room.id.clone()), sender, kind, state_key, content, redacts };
    let may_be_asked = policy::is_named(&append.live);
    let (mut append, pdu) = policy::sealed(server, &room, append, draft).await?;
    // The lock may have been another's while a policy server was asked.
    if may_be_asked && let Some(event_id) = sent_before(server, key.as_ref()).await? {
        return Ok(event_id);
    }
    let pdu = append.append_local(pdu, txn.map(|txn| (txn.device_id, txn.txn_id))).await?;
    if let Some(key) = &key {
        client_txns::record(server, &mut append.batch, key, &pdu.event_id);
    }
    note(&mut append, &pdu.event_id);
    append.commit().await?;
    Ok(pdu.event_id.clone())
}

/// The event that was sent under the same transaction id.
async fn sent_before(server: &Homeserver, key: Option<&client_txns::Key>) -> Result<Option<OwnedEventId>, StoreError> {
    let Some(key) = key else { return Ok(None) };
    Ok(client_txns::answer(server, key).await?.and_then(|answer| answer.try_into().ok()))
}

/// A room that this server takes part in.
pub async fn resident_room(server: &Homeserver, room_id: &RoomId) -> Result<Rc<Room>, SendError> {
    let room = server.rooms.get(room_id).await?.ok_or(SendError::NotInRoom)?;
    let resident = room.live().resident;
    if resident { Ok(room) } else { Err(SendError::NotInRoom) }
}

/// Setting state to what it is already makes no event, as clients repeat themselves.
async fn unchanged_state(append: &Append<'_>, message: &Message) -> Result<Option<OwnedEventId>, SendError> {
    let Some(state_key) = &message.state_key else { return Ok(None) };
    let kind = message.kind.to_string().into();
    let Some(event_id) = append.live.state.get(&kind, state_key).cloned() else { return Ok(None) };
    let Some(current) = append.event(&event_id).await? else { return Ok(None) };
    let same = serde_json::from_str::<CanonicalJsonObject>(current.pdu.content.get())
        .is_ok_and(|content| content == message.content);
    Ok((same && current.pdu.sender == message.sender).then_some(event_id))
}
