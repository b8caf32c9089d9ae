//! Which rooms a sync tells of, in which section, and what of each.
use std::rc::Rc;

use futures::stream::{self, StreamExt, TryStreamExt};
use ruma::{
    OwnedRoomId, RoomId,
    api::client::sync::sync_events::v3::{InvitedRoom, JoinedRoom, KnockedRoom, LeftRoom, RoomSummary, Rooms},
    events::{AnySyncTimelineEvent, StateEventType, room::member::MembershipState},
    serde::Raw,
};
use serde_json::json;

use super::{
    Look, order_of,
    streams::{
        account_data::{self, Changed},
        invites, receipts,
        state::{self, Between},
        summary, timeline as recent_events, typing, unread,
    },
};
use crate::{
    domain::event_filter::{allows_kind, allows_room},
    homeserver::{
        edus::receipt,
        events::StoredEvent,
        rooms::Room,
        states::State,
        timeline::{Span, has_gaps, state_at, state_following},
        user_rows,
        visibility::{Eyes, Seen, Stay, membership_in},
    },
    ports::StoreError,
    storage::tables::MembershipRow,
};

/// Rooms read at the same time: what they ask of the store in one turn of the event loop goes to a browser's together.
const ROOMS_AT_ONCE: usize = 32;
/// Rooms told before other work gets a turn.
const ROOMS_PER_SLICE: usize = 20;
/// Membership changes of the user walked back through to find out whether the user was away.
const OWN_CHANGES_WALKED_MAX: usize = 32;

#[allow(clippy::large_enum_variant)]
enum Section {
    Join(JoinedRoom),
    Leave(LeftRoom),
    Invite(InvitedRoom),
    Knock(KnockedRoom),
}

/// Every room with news for the user.
pub async fn changed(look: &Look<'_>, account_data: Changed) -> Result<Rooms, StoreError> {
    receipt::load(look.server).await?;
    let memberships = user_rows::memberships(look.server, &look.session.user_id).await?;
    let filter = &look.filter.room;
    let candidates = memberships.iter().filter(|(room_id, row)| {
        allows_room(filter.rooms.as_deref(), &filter.not_rooms, room_id)
            && may_have_news(look, room_id, row, &account_data)
    });
    let account_data = &account_data;
    let sections: Vec<(OwnedRoomId, Option<Section>)> = stream::iter(candidates.enumerate())
        .map(|(index, (room_id, row))| async move {
            if index % ROOMS_PER_SLICE == ROOMS_PER_SLICE - 1 {
                look.server.environment.clock.yield_now().await;
            }
            Ok::<_, StoreError>((room_id.clone(), section(look, room_id, row, account_data).await?))
        })
        .buffered(ROOMS_AT_ONCE)
        .try_collect()
        .await?;
    let mut rooms = Rooms::new();
    for (room_id, section) in sections {
        match section {
            Some(Section::Join(room)) => drop(rooms.join.insert(room_id, room)),
            Some(Section::Leave(room)) => drop(rooms.leave.insert(room_id, room)),
            Some(Section::Invite(room)) => drop(rooms.invite.insert(room_id, room)),
            Some(Section::Knock(room)) => drop(rooms.knock.insert(room_id, room)),
            None => {}
        }
    }
    Ok(rooms)
}

/// Whether a room is worth a closer look, told from memory alone: most rooms have nothing new.
fn may_have_news(look: &Look<'_>, room_id: &RoomId, row: &MembershipRow, account_data: &Changed) -> bool {
    if row.forgotten {
        return false;
    }
    if look.since.is_none() || look.full_state || look.may_be_new(row.position) {
        return true;
    }
    if row.membership != MembershipState::Join {
        return false;
    }
    let server = look.server;
    server.rooms.newest_order(room_id).is_some_and(|order| look.since.is_none_or(|since| order > order_of(since)))
        || look.may_be_new(server.receipts.newest(room_id))
        || server.typing.in_room(room_id).is_some_and(|(position, _)| look.may_be_new(position))
        || !account_data.of_room(room_id).is_empty()
}

async fn section(
    look: &Look<'_>,
    room_id: &RoomId,
    row: &MembershipRow,
    account_data: &Changed,
) -> Result<Option<Section>, StoreError> {
    let room = look.server.rooms.get(room_id).await?;
    if row.position > look.until {
        // The change itself is still to come for this client; a room it was in goes on as if nothing had happened.
        let Some(room) = room else { return Ok(None) };
        let Some(state) = state_at(look.server, &room, look.end()).await? else { return Ok(None) };
        let membership = membership_in(look.server, &state, &look.session.user_id).await?;
        if membership != MembershipState::Join {
            return Ok(None);
        }
        return Ok(joined(look, &room, row, account_data).await?.map(Section::Join));
    }
    match (&row.membership, room) {
        (MembershipState::Join, Some(room)) => Ok(joined(look, &room, row, account_data).await?.map(Section::Join)),
        (MembershipState::Invite, _) => Ok(invites::invited(look, row).map(Section::Invite)),
        (MembershipState::Knock, _) => Ok(invites::knocked(look, row).map(Section::Knock)),
        (MembershipState::Leave | MembershipState::Ban, room) if is_told_left(look, row) => {
            let left = match own_event(look, room.as_ref(), row).await? {
                Some((room, event)) => left(look, room, event, account_data).await?,
                None => left_unseen(look, row),
            };
            Ok(Some(Section::Leave(left)))
        }
        _ => Ok(None),
    }
}

async fn joined(
    look: &Look<'_>,
    room: &Rc<Room>,
    row: &MembershipRow,
    account_data: &Changed,
) -> Result<Option<JoinedRoom>, StoreError> {
    let server = look.server;
    let eyes = Eyes::open(server, room, &look.session.user_id).await?;
    let known = known_state(look, room, row).await?;
    let after = look.since.filter(|_| known.is_some()).map_or(i64::MIN, order_of);
    let mut recent = recent_events::recent(look, &eyes, Span { after, through: look.end() }).await?;
    if !recent.limited {
        // A client that had been here before has a gap between then and now even if the server has none.
        recent.limited = match &known {
            Some(_) => look.may_be_new(row.position) && was_away(look, room).await?,
            None => look.since.is_some() || has_gaps(server, room).await?,
        };
    }
    let fresh = known.is_none();
    let Some(end) = state_at(server, room, look.end()).await? else { return Ok(None) };
    if !look.state_after {
        recent.keep_what_holds(&end);
    }
    let known = known.filter(|_| !look.full_state);
    let all = known.is_none();
    let shows_member = recent.events.iter().any(|seen| seen.event.pdu.target().is_some());
    let state_changed = known.as_ref().is_none_or(|known| known.id != end.id);
    // Told only if a membership changed, which the state will show; its heroes belong to that state.
    let summary = match all || shows_member || state_changed {
        true => summary::now(server, room, &look.session.user_id).await?,
        false => RoomSummary::new(),
    };
    let told = state::between(look, room, Between { known, end, recent: &recent, heroes: &summary.heroes }).await?;
    let mut joined = JoinedRoom::new();
    joined.state = told.state;
    if all || shows_member || told.members {
        joined.summary = summary;
    }
    joined.timeline = recent_events::write(look, &recent).await?;
    joined.account_data.events = match fresh && look.since.is_some() {
        true => account_data::of_new_room(look, &room.id).await?,
        false => account_data.of_room(&room.id).to_vec(),
    };
    let receipts = receipts::changed(look, room, fresh).await?;
    let filter = &look.filter.room.ephemeral;
    if allows_room(filter.rooms.as_deref(), &filter.not_rooms, &room.id) {
        let typing = typing::changed(look, room, fresh).filter(|_| allows_kind(filter, "m.typing"));
        joined.ephemeral.events.extend(typing);
        joined.ephemeral.events.extend(receipts.events.into_iter().filter(|_| allows_kind(filter, "m.receipt")));
    }
    if !fresh && joined.is_empty() && !receipts.own {
        return Ok(None);
    }
    let unread = unread::now(look, room).await?;
    joined.unread_notifications = unread.room;
    joined.unread_thread_notifications = unread.threads;
    Ok(Some(joined))
}

/// The room's state when the client last heard of it, if the user was in it then: what the client knows.
async fn known_state(look: &Look<'_>, room: &Rc<Room>, row: &MembershipRow) -> Result<Option<State>, StoreError> {
    let Some(since) = look.since else { return Ok(None) };
    let Some(known) = state_at(look.server, room, order_of(since)).await? else { return Ok(None) };
    if row.membership == MembershipState::Join && row.position <= since {
        return Ok(Some(known));
    }
    let membership = membership_in(look.server, &known, &look.session.user_id).await?;
    Ok((membership == MembershipState::Join).then_some(known))
}

/// Whether the user left after `since` and came back.
async fn was_away(look: &Look<'_>, room: &Rc<Room>) -> Result<bool, StoreError> {
    let server = look.server;
    let key = look.session.user_id.as_str();
    let since = look.since.map_or(i64::MIN, order_of);
    let Some(mut state) = state_at(server, room, look.end()).await? else { return Ok(true) };
    for _ in 0..OWN_CHANGES_WALKED_MAX {
        let Some(event_id) = state.get(&StateEventType::RoomMember, key) else { return Ok(true) };
        let Some(event) = server.rooms.events.get(event_id).await? else { return Ok(true) };
        if event.header.order.is_some_and(|order| order <= since) {
            return Ok(false);
        }
        if event.pdu.membership() != Some(MembershipState::Join) {
            return Ok(true);
        }
        let Some(before) = event.header.state_before else { return Ok(true) };
        state = server.rooms.states.load(before).await?;
    }
    Ok(true)
}

/// A room that was left is told once, and to those who ask for such rooms when they begin.
fn is_told_left(look: &Look<'_>, row: &MembershipRow) -> bool {
    match look.since {
        Some(since) => row.position > since,
        None => look.filter.room.include_leave,
    }
}

/// The event by which the user is out of a room that we have a copy of.
async fn own_event<'a>(
    look: &Look<'_>,
    room: Option<&'a Rc<Room>>,
    row: &MembershipRow,
) -> Result<Option<(&'a Rc<Room>, Rc<StoredEvent>)>, StoreError> {
    let Some(room) = room else { return Ok(None) };
    let event = look.server.rooms.events.get(&row.event_id).await?;
    let event = event.filter(|event| event.header.room == room.num && event.header.order.is_some());
    Ok(event.map(|event| (room, event)))
}

/// A room with what was to be seen of it up to the user's leave.
async fn left(
    look: &Look<'_>,
    room: &Rc<Room>,
    own: Rc<StoredEvent>,
    account_data: &Changed,
) -> Result<LeftRoom, StoreError> {
    let server = look.server;
    let eyes = Eyes::open(server, room, &look.session.user_id).await?;
    let through = own.header.order.unwrap_or_default();
    let since = look.since.map(order_of);
    let known = match since {
        Some(since) => state_at(server, room, since).await?,
        None => None,
    };
    let was_joined = match &known {
        Some(known) => membership_in(server, known, &look.session.user_id).await? == MembershipState::Join,
        None => false,
    };
    let span = Span { after: since.unwrap_or(i64::MIN), through };
    let mut recent = recent_events::recent(look, &eyes, span).await?;
    if matches!(eyes.stay(), Stay::Never) {
        // Declined: what an invite let see of the room is seen no more, and `/messages` fills no gap in it.
        recent.events.retain(|seen| seen.event.pdu.event_id == own.pdu.event_id);
    }
    let saw_more = recent.events.iter().any(|seen| seen.event.pdu.event_id != own.pdu.event_id);
    if recent.events.last().is_none_or(|last| last.event.pdu.event_id != own.pdu.event_id) {
        // Whatever the filter or the room's visibility says: without it the client would not know that it is over.
        let seen: Seen = eyes.look_past_visibility(own.clone()).await?;
        recent.events.push(seen);
    }
    let mut left = LeftRoom::new();
    if was_joined || saw_more {
        let known = known.filter(|_| was_joined && !look.full_state);
        if let Some(end) = state_following(&own) {
            let end = server.rooms.states.load(end).await?;
            if !look.state_after {
                recent.keep_what_holds(&end);
            }
            let between = Between { known, end, recent: &recent, heroes: &[] };
            left.state = state::between(look, room, between).await?.state;
        }
    } else {
        recent.limited = false;
    }
    left.timeline = recent_events::write(look, &recent).await?;
    left.account_data.events = account_data.of_room(&room.id).to_vec();
    Ok(left)
}

/// A room we have no copy of, such as one whose invite was declined: only that the user is out of it.
fn left_unseen(look: &Look<'_>, row: &MembershipRow) -> LeftRoom {
    let user = &look.session.user_id;
    let event = row.invite_event.clone().filter(|event| event["content"]["membership"] == row.membership.as_str());
    let event = event.unwrap_or_else(|| {
        json!({
            "content": { "membership": row.membership },
            "event_id": row.event_id,
            "origin_server_ts": look.server.environment.clock.now_ms(),
            "sender": row.sender,
            "state_key": user,
            "type": "m.room.member",
        })
    });
    let raw = serde_json::value::to_raw_value(&event).expect("a JSON value is JSON");
    let mut left = LeftRoom::new();
    left.timeline.events = vec![Raw::<AnySyncTimelineEvent>::from_json(raw)];
    left
}
