//! Reading a room's timeline: page by page in either direction, and the room's state at a place in it.
use std::rc::Rc;

use super::{
    Homeserver,
    events::StoredEvent,
    relations::parents_among,
    rooms::Room,
    states::State,
    visibility::{Eyes, Seen},
};
use crate::{
    domain::{event::Pdu, event_filter::RelatedBy},
    ports::StoreError,
    storage::{
        Direction,
        tables::{Gaps, Timeline},
    },
};

/// The most events looked at for one page, however many of them are hidden or unwanted.
pub const EVENTS_PER_PAGE_LOOKED_AT_MAX: usize = 1_000;
/// Events looked at in one step once the first did not fill the page.
const EVENTS_PER_STEP: usize = 100;

/// Part of a timeline: the events with `after < order <= through`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub after: i64,
    pub through: i64,
}

impl Span {
    pub const ALL: Self = Self { after: i64::MIN, through: i64::MAX };
}

/// What a page shows, in the direction it was read.
#[derive(Debug)]
pub struct Page {
    pub events: Vec<Seen>,
    /// The place up to which everything was looked at: events on the near side of it are shown here or never. No further
    /// than the last event there is, so that what enters the timeline later is beyond it.
    pub reached: i64,
    /// Whether nothing of the span is left to look at.
    pub complete: bool,
    /// Whether some of what was looked at is not shown.
    pub skipped: bool,
}

/// Reads `span` from its end (descending) or its start (ascending) until `limit` events that `eyes` may see and that
/// are `wanted` were found, or [`EVENTS_PER_PAGE_LOOKED_AT_MAX`] looked at.
pub async fn page(
    eyes: &Eyes<'_>,
    span: Span,
    direction: Direction,
    limit: usize,
    wanted: impl Fn(&Pdu) -> bool,
) -> Result<Page, StoreError> {
    page_of_related(eyes, span, direction, limit, wanted, &RelatedBy::default()).await
}

/// Likewise, of events that something relates to as wanted. The caller has brought the room's relations up to date.
pub async fn page_of_related(
    eyes: &Eyes<'_>,
    span: Span,
    direction: Direction,
    limit: usize,
    wanted: impl Fn(&Pdu) -> bool,
    related: &RelatedBy,
) -> Result<Page, StoreError> {
    let start = if direction == Direction::Descending { span.through } else { span.after };
    let mut page = Page { events: Vec::new(), reached: start, complete: false, skipped: false };
    let mut rest = span;
    let mut looked_at = 0;
    let mut step = limit;
    loop {
        // One more row than needed says whether anything is left.
        let rows = scan(eyes.server, eyes.room, rest, direction, step + 1).await?;
        let left = rows.len() > step;
        let ids: Vec<_> = rows.iter().take(step).map(|(_, id)| id.clone()).collect();
        let events = eyes.server.rooms.events.get_many(&ids).await?;
        let parents = match related.wants_all() {
            true => None,
            false => Some(parents_among(eyes.server, eyes.room, &ids, related).await?),
        };
        let wanted = |pdu: &Pdu| wanted(pdu) && parents.as_ref().is_none_or(|parents| parents.contains(&pdu.event_id));
        for ((order, event_id), event) in rows.into_iter().zip(events) {
            if page.events.len() == limit {
                return Ok(page);
            }
            let event = event.ok_or_else(|| StoreError::Backend(format!("event {event_id} is missing")))?;
            match eyes.look(event).await?.filter(|seen| wanted(&seen.event.pdu)) {
                Some(seen) => page.events.push(seen),
                None => page.skipped = true,
            }
            looked_at += 1;
            match direction {
                Direction::Descending => (page.reached, rest.through) = (order - 1, order - 1),
                Direction::Ascending => (page.reached, rest.after) = (order, order),
            }
        }
        if !left {
            page.complete = true;
            return Ok(page);
        }
        if page.events.len() >= limit || looked_at >= EVENTS_PER_PAGE_LOOKED_AT_MAX {
            return Ok(page);
        }
        step = EVENTS_PER_STEP;
    }
}

/// The room's state when the event at `order`, or the last before it, had happened. `None` before the first.
pub async fn state_at(server: &Homeserver, room: &Room, order: i64) -> Result<Option<State>, StoreError> {
    {
        let live = room.live();
        if live.newest_order > 0 && live.newest_order <= order {
            return Ok(Some(live.state.clone()));
        }
    }
    // What was fetched of the past later is not what the room was to us before we were in it.
    let after = if order > 0 { 0 } else { i64::MIN };
    let Some(event) = newest(server, room, Span { after, through: order }).await? else { return Ok(None) };
    match state_following(&event) {
        Some(state) => Ok(Some(server.rooms.states.load(state).await?)),
        None => Ok(None),
    }
}

/// The id of the room's state once the event was in its timeline.
pub fn state_following(event: &StoredEvent) -> Option<u64> {
    event.header.state_current.or(event.header.state_after)
}

/// The last event of a span.
pub async fn newest(server: &Homeserver, room: &Room, span: Span) -> Result<Option<Rc<StoredEvent>>, StoreError> {
    let row = scan(server, room, span, Direction::Descending, 1).await?.pop();
    match row {
        Some((_, event_id)) => server.rooms.events.get(&event_id).await,
        None => Ok(None),
    }
}

/// The first `limit` events of a span in a direction, whoever may see them.
pub async fn events(
    server: &Homeserver,
    room: &Room,
    span: Span,
    direction: Direction,
    limit: usize,
) -> Result<Vec<Rc<StoredEvent>>, StoreError> {
    let rows = scan(server, room, span, direction, limit).await?;
    let ids: Vec<_> = rows.into_iter().map(|(_, id)| id).collect();
    Ok(server.rooms.events.get_many(&ids).await?.into_iter().flatten().collect())
}

/// Whether there is history before the oldest event that we lack.
pub async fn has_gaps(server: &Homeserver, room: &Room) -> Result<bool, StoreError> {
    server.database.has_any::<Gaps, _>(&room.num).await
}

async fn scan(
    server: &Homeserver,
    room: &Room,
    span: Span,
    direction: Direction,
    limit: usize,
) -> Result<Vec<(i64, ruma::OwnedEventId)>, StoreError> {
    if let Some(rows) = room.recent_rows(span.after, span.through, direction, limit) {
        return Ok(rows);
    }
    let start = (room.num, span.after.saturating_add(1));
    let end = (room.num, span.through.saturating_add(1));
    let rows = server.database.scan_range::<Timeline>(&start, &end, direction, limit).await?;
    Ok(rows.into_iter().map(|((_, order), event_id)| (order, event_id)).collect())
}
