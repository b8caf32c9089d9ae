//! Rooms as older clients, and those that only look in, ask for them: as they are now, and what happens in them from there
//! on (client-server API, "Room Previews" and the deprecated `/initialSync` and `/events`).
use std::rc::Rc;

use futures::future::{Either, select};
use ruma::{
    EventId, OwnedRoomId, OwnedUserId, RoomId, UserId, api::client::filter::RoomEventFilter,
    events::room::member::MembershipState,
};
use serde_json::{Value, json};
use thiserror::Error;

use super::{
    Homeserver, devices,
    events::StoredEvent,
    messages::{self, Scroll},
    room_view::{ReadError, RoomView},
    rooms::Room,
    sessions::Session,
    sync::SYNC_TIMEOUT_MAX_MS,
    timeline::{self, Span},
    user_rows,
    visibility::{Eyes, Seen},
};
use crate::{
    domain::{
        event_filter::RelatedBy,
        sync_token::{PageToken, StreamToken, TimelineToken},
    },
    ports::StoreError,
    storage::{
        Direction,
        tables::{AccountData, MembershipRow, PublishedRooms},
    },
};

/// Messages of a room if nothing is said of it, and at most.
pub const MESSAGES_DEFAULT: usize = 10;
pub const MESSAGES_MAX: usize = 100;
/// The most events of one answer to who follows; the others come with the next.
const NEWS_EVENTS_MAX: usize = 100;
/// Rooms looked at before other work gets a turn.
const ROOMS_PER_SLICE: usize = 20;

#[derive(Debug, Error)]
pub enum FollowError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("`from` is from the future: it is not a token of this server")]
    UnknownFrom,
    #[error("the device was logged out while it waited")]
    LoggedOut,
}

impl From<StoreError> for FollowError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// A room as it is to one user.
pub struct Snapshot {
    pub membership: Option<MembershipState>,
    /// The last of the room's events that the user may see, oldest first.
    pub messages: Vec<Seen>,
    /// Where to read on backward, if there is more.
    pub start: Option<TimelineToken>,
    /// Where to go on from.
    pub end: StreamToken,
    pub state: Vec<Rc<StoredEvent>>,
    pub published: bool,
    /// The user's data of the room, as events.
    pub account_data: Vec<Value>,
}

/// The room now or, for who has left it, then: for those who are or were in it, and for everybody if it is world-readable.
pub async fn of_room(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &OwnedUserId,
    limit: usize,
) -> Result<Snapshot, ReadError> {
    let view = RoomView::open(server, room_id, user).await?;
    let end = StreamToken(server.positions.visible());
    let scroll = Scroll {
        from: Some(PageToken::Stream(end)),
        to: None,
        backward: true,
        limit: limit.min(MESSAGES_MAX),
        filter: &RoomEventFilter::default(),
        related: &RelatedBy::default(),
    };
    let mut scrolled = messages::scroll(server, room_id, user, scroll).await?;
    scrolled.events.reverse();
    let membership = user_rows::membership(server, user, room_id).await?;
    Ok(Snapshot {
        membership: membership.map(|row| row.membership.clone()),
        messages: scrolled.events,
        start: scrolled.end,
        end,
        state: view.state_events(server).await?,
        published: server.database.get::<PublishedRooms>(&room_id.to_owned()).await?.is_some(),
        account_data: account_data(server, user, room_id.as_str()).await?,
    })
}

/// What the user keeps for a room, or globally (no room), as events.
pub async fn account_data(server: &Homeserver, user: &OwnedUserId, room: &str) -> Result<Vec<Value>, StoreError> {
    let rows = server.database.scan_all::<AccountData, _>(&(user.clone(), room.to_owned())).await?;
    Ok(rows.into_iter().map(|((_, _, kind), row)| json!({ "type": kind, "content": row.content })).collect())
}

/// A room of a user's, with an invite to it as an event if that is what the user has of it.
pub struct Held {
    pub room_id: OwnedRoomId,
    pub membership: MembershipState,
    pub invite: Option<Value>,
}

/// The rooms the user is in or invited to and, if asked for, was in.
pub async fn rooms_of(server: &Homeserver, user: &OwnedUserId, archived: bool) -> Result<Vec<Held>, StoreError> {
    let digest = user_rows::digest(server, user).await?;
    let mut held = Vec::new();
    for (room_id, row) in user_rows::memberships(server, user).await?.iter() {
        let wanted = match row.membership {
            MembershipState::Join => true,
            MembershipState::Invite => !digest.blocks_invites && !digest.ignored.contains(&row.sender),
            MembershipState::Leave | MembershipState::Ban => archived && !row.forgotten,
            _ => false,
        };
        if wanted {
            let is_invite = row.membership == MembershipState::Invite;
            let invite = is_invite.then(|| invite_event(room_id, user, row));
            held.push(Held { room_id: room_id.clone(), membership: row.membership.clone(), invite });
        }
    }
    Ok(held)
}

/// An invite in the clients' format, from the stripped state that it came with.
fn invite_event(room_id: &RoomId, user: &UserId, row: &MembershipRow) -> Value {
    let mut stripped = row.stripped_state.iter();
    let own = stripped.rfind(|event| event["type"] == "m.room.member" && event["state_key"] == user.as_str());
    let content = own.map_or_else(|| json!({ "membership": "invite" }), |event| event["content"].clone());
    let sent_ms = row.invite_event.as_ref().map_or(json!(0), |event| event["origin_server_ts"].clone());
    json!({
        "type": "m.room.member",
        "room_id": room_id,
        "event_id": row.event_id,
        "sender": row.sender,
        "state_key": user,
        "origin_server_ts": sent_ms,
        "content": content,
    })
}

/// One event by its id alone, if the user may see it.
pub async fn event(server: &Homeserver, user: &UserId, event_id: &EventId) -> Result<Seen, ReadError> {
    let event = server.rooms.events.get(event_id).await?.ok_or(ReadError::NoSuchEvent)?;
    let view = RoomView::open(server, &event.pdu.room_id, user).await.map_err(|error| match error {
        // There is one answer for what is not there and what may not be seen.
        ReadError::NotInRoom => ReadError::NoSuchEvent,
        other => other,
    })?;
    view.event(server, user, event_id).await
}

/// Events of rooms after a place in the stream.
pub struct News {
    pub start: StreamToken,
    pub events: Vec<Seen>,
    pub end: StreamToken,
}

/// What happens after `from` (or from now on) in one room, or in all that the user is in: at once if there is something,
/// else when something comes or the time is over.
pub async fn follow(
    server: &Rc<Homeserver>,
    session: &Session,
    room_id: Option<&RoomId>,
    from: Option<StreamToken>,
    timeout_ms: u64,
) -> Result<News, FollowError> {
    let start = from.unwrap_or_else(|| StreamToken(server.positions.visible()));
    if start.0 > server.positions.visible() {
        return Err(FollowError::UnknownFrom);
    }
    let logouts = server.sessions.logouts();
    let mut patience = server.environment.clock.sleep_ms(timeout_ms.min(SYNC_TIMEOUT_MAX_MS));
    loop {
        let listening = server.notifier.listen();
        let until = server.positions.visible();
        let (events, reached) = look(server, &session.user_id, room_id, start.0, until).await?;
        if !events.is_empty() || timeout_ms == 0 {
            return Ok(News { start, events, end: StreamToken(reached) });
        }
        match select(patience, listening).await {
            Either::Left(_) => return Ok(News { start, events, end: StreamToken(reached) }),
            Either::Right(((), rest)) => patience = rest,
        }
        if server.sessions.logouts() != logouts && !devices::is_logged_in(server, session).await? {
            return Err(FollowError::LoggedOut);
        }
    }
}

/// The events between two positions, in order, and the position up to which that is all of them.
async fn look(
    server: &Rc<Homeserver>,
    user: &UserId,
    room_id: Option<&RoomId>,
    from: u64,
    until: u64,
) -> Result<(Vec<Seen>, u64), FollowError> {
    let rooms = match room_id {
        Some(room_id) => vec![RoomView::open(server, room_id, user).await?.room],
        None => rooms_with_news(server, user, from).await?,
    };
    let mut events = Vec::new();
    let mut reached = until;
    for (index, room) in rooms.iter().enumerate() {
        if index % ROOMS_PER_SLICE == ROOMS_PER_SLICE - 1 {
            server.environment.clock.yield_now().await;
        }
        let (seen, through) = look_into(server, user, room, from, until).await?;
        events.extend(seen);
        reached = reached.min(through);
    }
    events.sort_by_key(order);
    if let Some(next) = events.get(NEWS_EVENTS_MAX) {
        reached = reached.min(position(order(next)).saturating_sub(1));
    }
    events.retain(|seen| position(order(seen)) <= reached);
    Ok((events, reached))
}

/// The rooms that concern the user and in which something happened after `from`.
async fn rooms_with_news(server: &Homeserver, user: &UserId, from: u64) -> Result<Vec<Rc<Room>>, StoreError> {
    let mut rooms = Vec::new();
    for (room_id, row) in user_rows::memberships(server, user).await?.iter() {
        let concerns = row.membership == MembershipState::Join || row.position > from;
        let newest = server.rooms.newest_order(room_id).map_or(0, position);
        if concerns && !row.forgotten && newest > from {
            rooms.extend(server.rooms.get(room_id).await?);
        }
    }
    Ok(rooms)
}

async fn look_into(
    server: &Homeserver,
    user: &UserId,
    room: &Rc<Room>,
    from: u64,
    until: u64,
) -> Result<(Vec<Seen>, u64), StoreError> {
    let eyes = Eyes::open(server, room, user).await?;
    let ignored = user_rows::digest(server, user).await?.ignored;
    let span = Span { after: place(from), through: place(until) };
    let wanted = |pdu: &crate::domain::event::Pdu| pdu.state_key.is_some() || !ignored.contains(&pdu.sender);
    let page = timeline::page(&eyes, span, Direction::Ascending, NEWS_EVENTS_MAX, wanted).await?;
    let reached = if page.complete { until } else { position(page.reached) };
    Ok((page.events, reached))
}

fn order(seen: &Seen) -> i64 {
    seen.event.header.order.unwrap_or_default()
}

/// Places of live events in timelines are positions in the stream.
fn place(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

fn position(place: i64) -> u64 {
    u64::try_from(place).unwrap_or_default()
}
