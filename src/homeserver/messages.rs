//! Scrolling through a room's history (client-server API, "Syncing", `/messages` and `/context`), fetching from other
//! servers what lies before the oldest event here.
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::{
    EventId, OwnedUserId, RoomId, UserId,
    api::client::filter::{LazyLoadOptions, RoomEventFilter},
    events::{StateEventType, TimelineEventType},
};

use super::{
    Homeserver,
    events::StoredEvent,
    relations::catch_up,
    room_view::{ReadError, RoomView},
    rooms::{Room, backfill},
    timeline::{self, Page, Span, has_gaps, page_of_related},
    user_rows,
    visibility::{Eyes, Seen},
};
use crate::{
    domain::{
        event::Pdu,
        event_filter::{RelatedBy, allows_event, allows_room},
        sync_token::{PageToken, TimelineToken},
    },
    ports::StoreError,
    storage::Direction,
};

/// The most events of one page, whatever was asked for.
pub const PAGE_EVENTS_MAX: usize = 500;
/// Times other servers are asked for history before a page is answered with what there is.
const BACKFILLS_PER_PAGE_MAX: usize = 3;

/// What a client asks to scroll through.
pub struct Scroll<'a> {
    pub from: Option<PageToken>,
    pub to: Option<PageToken>,
    /// Newest first.
    pub backward: bool,
    pub limit: usize,
    pub filter: &'a RoomEventFilter,
    pub related: &'a RelatedBy,
}

pub struct Scrolled {
    pub start: TimelineToken,
    /// Where to go on; `None` at the end of the room's history or, forward, of what there is.
    pub end: Option<TimelineToken>,
    pub events: Vec<Seen>,
    /// Membership events of the senders, if the filter loads members lazily.
    pub members: Vec<Rc<StoredEvent>>,
}

/// An event with what happened around it.
pub struct Context {
    pub event: Seen,
    /// Newest first.
    pub before: Vec<Seen>,
    pub after: Vec<Seen>,
    pub start: TimelineToken,
    pub end: TimelineToken,
    /// The state after the last of the events.
    pub state: Vec<Rc<StoredEvent>>,
}

/// The place in the timeline that a token stands for.
pub fn order_of(token: PageToken) -> i64 {
    match token {
        PageToken::Stream(token) => i64::try_from(token.0).unwrap_or(i64::MAX),
        PageToken::Timeline(token) => token.0,
    }
}

pub async fn scroll(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &UserId,
    scroll: Scroll<'_>,
) -> Result<Scrolled, ReadError> {
    let view = RoomView::open(server, room_id, user).await?;
    let eyes = Eyes::open(server, &view.room, user).await?;
    let newest = view.room.live().newest_order;
    let from = scroll.from.map_or(if scroll.backward { newest } else { i64::MIN }, order_of);
    let start = TimelineToken(from);
    if !allows_room(scroll.filter.rooms.as_deref(), &scroll.filter.not_rooms, room_id) {
        return Ok(Scrolled { start, end: None, events: Vec::new(), members: Vec::new() });
    }
    let limit = scroll.limit.min(PAGE_EVENTS_MAX);
    let to = scroll.to.map(order_of);
    let ignored = user_rows::digest(server, user).await?.ignored;
    let wanted =
        |pdu: &Pdu| allows_event(scroll.filter, pdu) && (pdu.state_key.is_some() || !ignored.contains(&pdu.sender));
    if !scroll.related.wants_all() {
        catch_up::whole(server, &view.room).await?;
    }
    let (page, end) = if scroll.backward {
        let span = Span { after: to.unwrap_or(i64::MIN), through: from };
        backward(server, &eyes, span, limit, wanted, scroll.related).await?
    } else {
        let span = Span { after: from, through: to.unwrap_or(i64::MAX) };
        let page = page_of_related(&eyes, span, Direction::Ascending, limit, wanted, scroll.related).await?;
        let end = (!page.complete).then_some(TimelineToken(page.reached));
        (page, end)
    };
    let members = match scroll.filter.lazy_load_options {
        LazyLoadOptions::Disabled => Vec::new(),
        LazyLoadOptions::Enabled { .. } => members_of_senders(server, &page.events).await?,
    };
    Ok(Scrolled { start, end, events: page.events, members })
}

/// Pages back, asking other servers for more where our own history ends.
async fn backward(
    server: &Rc<Homeserver>,
    eyes: &Eyes<'_>,
    span: Span,
    limit: usize,
    wanted: impl Fn(&Pdu) -> bool,
    related: &RelatedBy,
) -> Result<(Page, Option<TimelineToken>), StoreError> {
    let mut page = page_of_related(eyes, span, Direction::Descending, limit, &wanted, related).await?;
    let is_open = span.after == i64::MIN;
    for _ in 0..BACKFILLS_PER_PAGE_MAX {
        let missing = limit - page.events.len();
        if !page.complete || !is_open || missing == 0 || !fetch_older(server, eyes.room, missing).await? {
            break;
        }
        let rest = Span { through: page.reached, ..span };
        let more = page_of_related(eyes, rest, Direction::Descending, missing, &wanted, related).await?;
        page.events.extend(more.events);
        (page.reached, page.complete) = (more.reached, more.complete);
    }
    // Nothing happened before the room was created, whatever some event claims to follow.
    let begins = page.events.last().is_some_and(|seen| seen.event.pdu.kind == TimelineEventType::RoomCreate);
    let goes_on = !page.complete || (is_open && !begins && has_gaps(server, eyes.room).await?);
    let end = goes_on.then_some(TimelineToken(page.reached));
    Ok((page, end))
}

/// Fetches history from before our oldest event from other servers. Returns whether there is more now.
async fn fetch_older(server: &Rc<Homeserver>, room: &Rc<Room>, limit: usize) -> Result<bool, StoreError> {
    // A server that is not in the room is given nothing.
    let resident = room.live().resident;
    if !resident || !has_gaps(server, room).await? {
        return Ok(false);
    }
    backfill::fill(server, room, limit).await
}

/// An event and up to `limit` of what happened around it.
pub async fn context(
    server: &Homeserver,
    room_id: &RoomId,
    user: &UserId,
    event_id: &EventId,
    limit: usize,
    filter: &RoomEventFilter,
) -> Result<Context, ReadError> {
    let view = RoomView::open(server, room_id, user).await?;
    let event = view.event(server, user, event_id).await?;
    let order = event.event.header.order.ok_or(ReadError::NoSuchEvent)?;
    let eyes = Eyes::open(server, &view.room, user).await?;
    let limit = match allows_room(filter.rooms.as_deref(), &filter.not_rooms, room_id) {
        true => limit.min(PAGE_EVENTS_MAX),
        false => 0,
    };
    let ignored = user_rows::digest(server, user).await?.ignored;
    let wanted = |pdu: &Pdu| allows_event(filter, pdu) && (pdu.state_key.is_some() || !ignored.contains(&pdu.sender));
    let earlier = Span { after: i64::MIN, through: order - 1 };
    let later = Span { after: order, through: i64::MAX };
    let before = timeline::page(&eyes, earlier, Direction::Descending, limit / 2, wanted).await?;
    let after = timeline::page(&eyes, later, Direction::Ascending, limit.div_ceil(2), wanted).await?;
    let shown: Vec<Seen> = before.events.iter().chain([&event]).chain(&after.events).cloned().collect();
    let mut state = state_after(server, after.events.last().unwrap_or(&event)).await?;
    if let LazyLoadOptions::Enabled { .. } = filter.lazy_load_options {
        let senders: BTreeSet<_> = shown.iter().map(|seen| seen.event.pdu.sender.clone()).collect();
        state.retain(|event| event.pdu.target().is_none_or(|user| senders.contains(user)));
    }
    state.retain(|event| allows_event(filter, &event.pdu));
    Ok(Context {
        event,
        before: before.events,
        after: after.events,
        start: TimelineToken(before.reached),
        end: TimelineToken(after.reached),
        state,
    })
}

async fn state_after(server: &Homeserver, seen: &Seen) -> Result<Vec<Rc<StoredEvent>>, StoreError> {
    let Some(state) = seen.event.header.state_after else { return Ok(Vec::new()) };
    let ids: Vec<_> = server.rooms.states.load(state).await?.entries.values().cloned().collect();
    Ok(server.rooms.events.get_many(&ids).await?.into_iter().flatten().collect())
}

/// The membership of each sender when the first of its events, in the direction of reading, was sent.
async fn members_of_senders(server: &Homeserver, events: &[Seen]) -> Result<Vec<Rc<StoredEvent>>, StoreError> {
    let mut first: BTreeMap<&OwnedUserId, &StoredEvent> = BTreeMap::new();
    for seen in events {
        first.entry(&seen.event.pdu.sender).or_insert(&seen.event);
    }
    let mut ids = Vec::new();
    for (sender, event) in first {
        let Some(state) = event.header.state_before else { continue };
        let state = server.rooms.states.load(state).await?;
        ids.extend(state.get(&StateEventType::RoomMember, sender.as_str()).cloned());
    }
    Ok(server.rooms.events.get_many(&ids).await?.into_iter().flatten().collect())
}
