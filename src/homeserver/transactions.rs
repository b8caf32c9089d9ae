//! Transactions from other servers: each PDU and EDU is its own problem, and a repeat gets the same answer.
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId,
    events::room::member::MembershipState,
};
use serde::Deserialize;
use serde_json::value::RawValue as RawJsonValue;
use thiserror::Error;

use super::{
    Homeserver, edus,
    key_ring::verify,
    refusals,
    rooms::{
        Room,
        ingest::{self, Outcomes, Refusal},
    },
};
use crate::{
    domain::{
        event::{
            Pdu,
            check::{event_id_of, parse_object},
        },
        outbox::{TRANSACTION_EDUS_MAX, TRANSACTION_PDUS_MAX},
        room_version,
        sized_cache::SizedCache,
    },
    ports::{Batch, StoreError},
    storage::tables::{MembershipRow, Memberships, ReceivedTxnRow, ReceivedTxns},
};

/// What is kept in memory of each server's last transaction, in bytes: about a thousand servers.
const LAST_TXNS_KNOWN_MAX_BYTES: usize = 256 * 1024;

/// The id of the last transaction taken in of each server, as the store has it: most are no repetition, and that is known
/// without asking.
pub struct LastTxns(RefCell<SizedCache<OwnedServerName, String>>);

impl Default for LastTxns {
    fn default() -> Self {
        Self(RefCell::new(SizedCache::new(LAST_TXNS_KNOWN_MAX_BYTES)))
    }
}

impl LastTxns {
    /// Whether a transaction cannot be the one that the store has of `origin`.
    fn rules_out(&self, origin: &OwnedServerName, txn_id: &str) -> bool {
        self.0.borrow_mut().get(origin).is_some_and(|last| last != txn_id)
    }

    fn note(&self, origin: &OwnedServerName, txn_id: &str) {
        let bytes = origin.as_str().len() + txn_id.len();
        self.0.borrow_mut().put(origin.clone(), txn_id.to_owned(), bytes);
    }
}

#[derive(Debug, Error)]
pub enum TransactionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a transaction holds {TRANSACTION_PDUS_MAX} PDUs and {TRANSACTION_EDUS_MAX} EDUs at most")]
    TooLarge,
}

pub type Answer = BTreeMap<OwnedEventId, Result<(), String>>;

/// Processes a transaction of `origin`; answers per event.
pub async fn receive(
    server: &Rc<Homeserver>,
    origin: &OwnedServerName,
    txn_id: &str,
    pdus: Vec<Box<RawJsonValue>>,
    edus: &[Box<RawJsonValue>],
) -> Result<Answer, TransactionError> {
    if pdus.len() > TRANSACTION_PDUS_MAX || edus.len() > TRANSACTION_EDUS_MAX {
        return Err(TransactionError::TooLarge);
    }
    if !server.last_txns.rules_out(origin, txn_id)
        && let Some(row) = server.database.get::<ReceivedTxns>(origin).await?
        && row.txn_id == txn_id
        && let Ok(answer) = serde_json::from_value(row.answer)
    {
        return Ok(answer);
    }
    let mut answer = Answer::new();
    let mut is_member = false;
    for (room_id, raws) in by_room(server, origin, pdus) {
        let outcomes = receive_room(server, origin, &room_id, raws).await?;
        let told = |refusal: Refusal| refusals::told(&refusal);
        answer.extend(outcomes.into_iter().map(|(id, outcome)| (id, outcome.map_err(told))));
        is_member |= server.rooms.get(&room_id).await?.is_some_and(|room| room.has_joined_server(origin));
    }
    for edu in edus {
        edus::apply(server, origin, edu).await?;
    }
    // Names are free, one key has as many as it likes: who is in no room of ours, or of whom nothing was taken in, leaves
    // no row behind. Its repeat comes to the same.
    if is_member && answer.values().any(Result::is_ok) {
        let mut batch = Batch::default();
        let row = ReceivedTxnRow {
            txn_id: txn_id.to_owned(),
            answer: serde_json::to_value(&answer).expect("an answer serializes"),
        };
        batch.put::<ReceivedTxns>(origin, &row);
        server.database.commit(batch).await?;
        server.last_txns.note(origin, txn_id);
    }
    Ok(answer)
}

/// The events by the room they say they belong to; those that say nothing readable are no events.
fn by_room(
    server: &Homeserver,
    origin: &ServerName,
    pdus: Vec<Box<RawJsonValue>>,
) -> BTreeMap<OwnedRoomId, Vec<Box<RawJsonValue>>> {
    #[derive(Deserialize)]
    struct OfRoom {
        room_id: OwnedRoomId,
    }
    let mut rooms: BTreeMap<OwnedRoomId, Vec<Box<RawJsonValue>>> = BTreeMap::new();
    for pdu in pdus {
        match serde_json::from_str(pdu.get()) {
            Ok(OfRoom { room_id }) => rooms.entry(room_id).or_default().push(pdu),
            Err(error) => refusals::note(server, origin, &"a PDU", &error),
        }
    }
    rooms
}

async fn receive_room(
    server: &Rc<Homeserver>,
    origin: &OwnedServerName,
    room_id: &RoomId,
    raws: Vec<Box<RawJsonValue>>,
) -> Result<Outcomes, StoreError> {
    let resident = server.rooms.get(room_id).await?.is_some_and(|room| room.live().resident);
    if !resident {
        server.joins.settled(room_id).await;
    }
    match server.rooms.get(room_id).await? {
        Some(room) if room.live().resident => {
            let outcomes = ingest::ingest(server, &room, raws, origin).await?;
            if ingest::may_be_ready(server, &room) {
                append_ready_in_background(server, &room);
            }
            Ok(outcomes)
        }
        _ => withdrawn_invites(server, origin, room_id, raws).await,
    }
}

/// Something new may be what staged events waited for.
fn append_ready_in_background(server: &Rc<Homeserver>, room: &Rc<Room>) {
    let (task_server, room) = (server.clone(), room.clone());
    server.environment.tasks.spawn(Box::pin(async move {
        if let Err(error) = ingest::append_ready(&task_server, &room).await {
            tracing::warn!(room = %room.id, %error, "staged events could not be appended");
        }
    }));
}

/// Events of a room we are not in: all that concerns us is the end of an invite or knock we hold.
async fn withdrawn_invites(
    server: &Rc<Homeserver>,
    origin: &OwnedServerName,
    room_id: &RoomId,
    raws: Vec<Box<RawJsonValue>>,
) -> Result<Outcomes, StoreError> {
    let mut outcomes = Outcomes::new();
    for raw in raws {
        let Some((event_id, outcome)) = withdrawn_invite(server, origin, room_id, &raw).await? else {
            refusals::note(server, origin, &format!("an event of {room_id}"), &"this server is not in that room");
            continue;
        };
        if let Err(refusal) = &outcome {
            refusals::note(server, origin, &event_id, refusal);
        }
        outcomes.insert(event_id, outcome);
    }
    Ok(outcomes)
}

async fn withdrawn_invite(
    server: &Rc<Homeserver>,
    origin: &OwnedServerName,
    room_id: &RoomId,
    raw: &RawJsonValue,
) -> Result<Option<(OwnedEventId, Result<(), Refusal>)>, StoreError> {
    let _outside = server.joins.outside.lock().await;
    let Some((key, row)) = held_from_outside(server, room_id, raw).await? else { return Ok(None) };
    let Some(Ok(rules)) = row.room_version.as_ref().map(room_version::rules) else { return Ok(None) };
    let Ok(event_id) = parse_object(raw, &rules).and_then(|object| event_id_of(&object, &rules)) else {
        return Ok(None);
    };
    let pdu = match verify::check_known(server, raw, room_id, &rules) {
        Ok(checked) => checked.pdu,
        Err(reason) => return Ok(Some((event_id, Err(reason.into())))),
    };
    let ends = matches!(pdu.membership(), Some(MembershipState::Leave | MembershipState::Ban));
    let Some(ended) = ended_by(&row, origin, &pdu).filter(|_| ends) else {
        let refusal = Refusal::Failed("this server is not in that room".to_owned());
        return Ok(Some((event_id, Err(refusal))));
    };
    let position = server.positions.next().await?;
    let row = match ended {
        Ended::EarlierInvite => MembershipRow { earlier_invite: None, ..row },
        Ended::Held => match row.earlier_invite.clone() {
            Some(earlier) => MembershipRow { position: position.value(), ..*earlier },
            None => MembershipRow {
                membership: pdu.membership().unwrap_or(MembershipState::Leave),
                event_id: pdu.event_id.clone(),
                sender: pdu.sender.clone(),
                position: position.value(),
                stripped_state: Vec::new(),
                invite_event: None,
                knocked_via: None,
                ..row
            },
        },
    };
    let mut batch = Batch::default();
    batch.put::<Memberships>(&key, &row);
    server.database.commit(batch).await?;
    drop(position);
    server.notifier.notify();
    Ok(Some((event_id, Ok(()))))
}

/// What an event ends that comes from outside.
enum Ended {
    /// The invite that the held one took the place of.
    EarlierInvite,
    /// The invite or knock that is held.
    Held,
}

/// What `origin` ends of what is held by `pdu`, a leave or a ban: we cannot judge the rest of the room. The inviter's server,
/// which we believed once, ends an invite, and no other's. A knock is ended by whoever can name it: its id is not to be
/// guessed, so they are in the room.
fn ended_by(row: &MembershipRow, origin: &ServerName, pdu: &Pdu) -> Option<Ended> {
    let is_of_origin = |row: &MembershipRow| row.sender.server_name() == origin;
    match row.membership {
        MembershipState::Knock if pdu.sender.server_name() == origin && pdu.auth_events.contains(&row.event_id) => {
            Some(Ended::Held)
        }
        MembershipState::Knock => None,
        _ if is_of_origin(row) => Some(Ended::Held),
        _ => row.earlier_invite.as_deref().filter(|earlier| is_of_origin(earlier)).map(|_| Ended::EarlierInvite),
    }
}

/// The invite or knock that such an event would end.
async fn held_from_outside(
    server: &Homeserver,
    room_id: &RoomId,
    raw: &RawJsonValue,
) -> Result<Option<((OwnedUserId, OwnedRoomId), MembershipRow)>, StoreError> {
    #[derive(Deserialize)]
    struct Member {
        state_key: Option<String>,
    }
    let Ok(Member { state_key: Some(user) }) = serde_json::from_str(raw.get()) else { return Ok(None) };
    let Ok(user) = UserId::parse(user) else { return Ok(None) };
    let key = (user, room_id.to_owned());
    let row = server.database.get::<Memberships>(&key).await?;
    let held = |row: &MembershipRow| matches!(row.membership, MembershipState::Invite | MembershipState::Knock);
    Ok(row.filter(held).map(|row| (key, row)))
}
