//! Knocking: asking to be let in, here if we are in the room, else through a server that is.
use std::rc::Rc;

use ruma::{
    CanonicalJsonObject, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, RoomVersionId,
    api::federation::membership::{create_knock_event, prepare_knock_event},
    events::{TimelineEventType, room::member::MembershipState},
};
use serde_json::Value;

use super::{
    join::JoinError,
    membership::{member_content, profile_content},
    send::{Message, send},
    stripped,
    through::{ask_patiently, candidates, complete, first_of},
};
use crate::{
    domain::room_version,
    homeserver::Homeserver,
    ports::Batch,
    storage::tables::{MembershipRow, Memberships},
};

/// Knocks on the room for `user`, through one of `via` if this server is not in it. A repeat with the same reason makes no
/// second event.
///
/// Errs as a join does: with what the room's rules say, or the last server that was asked.
pub async fn knock(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &OwnedUserId,
    via: &[OwnedServerName],
    reason: Option<String>,
) -> Result<(), JoinError> {
    let mut content = member_content(MembershipState::Knock, reason);
    content.extend(profile_content(server, user).await?);
    if server.rooms.get(room_id).await?.is_some_and(|room| room.live().resident) {
        let message = Message {
            sender: user.clone(),
            kind: TimelineEventType::RoomMember,
            state_key: Some(user.to_string()),
            content,
            redacts: None,
        };
        send(server, room_id, message, None).await?;
        return Ok(());
    }
    // Servers in the room may answer the knock before we know that it was taken.
    let lock = server.joins.lock_of(room_id);
    let _knocking = lock.lock().await;
    let servers = candidates(server, room_id, user, via).await?;
    first_of(server, room_id, servers, JoinError::NoServer, async |via| {
        let taken = knock_through(server, room_id, user, via, &content).await?;
        note(server, room_id, user, via.clone(), taken).await
    })
    .await
}

/// A knock that a server took, and what it told of the room.
struct Taken {
    event_id: OwnedEventId,
    version: RoomVersionId,
    stripped_state: Vec<Value>,
}

async fn knock_through(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &OwnedUserId,
    via: &OwnedServerName,
    content: &CanonicalJsonObject,
) -> Result<Taken, JoinError> {
    let room_id: OwnedRoomId = room_id.to_owned();
    let mut request = prepare_knock_event::v1::Request::new(room_id.clone(), user.clone());
    request.ver = room_version::SUPPORTED.to_vec();
    let template = ask_patiently(server, via, || request.clone()).await?;
    let version = template.room_version;
    let rules = room_version::rules(&version).map_err(|_| JoinError::Version(version.clone()))?;
    let pdu = complete(server, &template.event, &room_id, user, content.clone(), &rules, via)?;
    let request = create_knock_event::v1::Request::new(room_id.clone(), pdu.event_id.clone(), pdu.raw());
    let answer = ask_patiently(server, via, || request.clone()).await?;
    let mut stripped_state = stripped::valid(server, answer.knock_room_state, &room_id, &rules).await;
    // The knock itself is what we sent, whatever the server sends back.
    let own_key = Value::from(user.as_str());
    stripped_state.retain(|event| event["type"] != "m.room.member" || event["state_key"] != own_key);
    stripped_state.push(super::append::strip(&pdu));
    Ok(Taken { event_id: pdu.event_id, version, stripped_state })
}

/// Keeps the knock for the user's clients, unless it has been answered by an invite already.
async fn note(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &OwnedUserId,
    via: OwnedServerName,
    taken: Taken,
) -> Result<(), JoinError> {
    let key = (user.clone(), room_id.to_owned());
    let _outside = server.joins.outside.lock().await;
    let before = server.database.get::<Memberships>(&key).await?;
    if before.is_some_and(|row| row.membership == MembershipState::Invite) {
        return Ok(());
    }
    let position = server.positions.next().await?;
    let row = MembershipRow {
        membership: MembershipState::Knock,
        event_id: taken.event_id,
        sender: user.clone(),
        position: position.value(),
        stripped_state: taken.stripped_state,
        invite_event: None,
        knocked_via: Some(via),
        room_version: Some(taken.version),
        forgotten: false,
        earlier_invite: None,
    };
    let mut batch = Batch::strict();
    batch.put::<Memberships>(&key, &row);
    server.database.commit(batch).await?;
    drop(position);
    server.notifier.notify();
    Ok(())
}
