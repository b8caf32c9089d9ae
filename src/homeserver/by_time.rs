//! The event of a room that is closest to a point in time (client-server API, `/timestamp_to_event`).
//!
//! The timeline is in the order events came in, which is nearly that of their times: where the times pass the one asked
//! for is searched by halving, and of the events around that place the closest is taken. What claims a time far from those
//! beside it is found only if it is near.
use std::rc::Rc;

use futures::future::LocalBoxFuture;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, RoomId, ServerName, UserId,
    api::{Direction as TimeDirection, federation::event::get_event_by_timestamp},
};

use super::{
    Homeserver,
    events::StoredEvent,
    room_view::{ReadError, RoomView},
    rooms::{
        Room, backfill,
        history::{self, HistoryError, Onlooker},
        ingest::servers_to_ask,
    },
    timeline::{self, Span},
    visibility::Eyes,
};
use crate::{
    ports::{Lane, StoreError},
    storage::{Direction, tables::Gaps},
};

/// Events whose times are looked at together, so that one with a wrong clock does not mislead the search.
const SAMPLE_EVENTS: usize = 5;
/// Events looked at on each side of the place where the times pass the one asked for.
const WINDOW_EVENTS: usize = 100;
/// Events looked at beyond that for one that may be shown.
const HIDDEN_EVENTS_MAX: usize = 1_000;
/// Gaps of the timeline considered.
const GAPS_MAX: usize = 100;
/// Servers asked for a closer event.
const SERVERS_ASKED_MAX: usize = 3;
/// How often, and for how many events, older history is fetched to have the event another server named.
const BACKFILLS_MAX: usize = 20;
const BACKFILL_EVENTS: usize = 100;

/// An event and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub event_id: OwnedEventId,
    pub time: MilliSecondsSinceUnixEpoch,
}

/// The time asked for, and on which side of it.
#[derive(Clone, Copy)]
pub struct Sought {
    pub time: MilliSecondsSinceUnixEpoch,
    pub direction: TimeDirection,
}

impl Sought {
    /// Whether an event of this time is on the right side.
    fn fits(self, time: MilliSecondsSinceUnixEpoch) -> bool {
        match self.direction {
            TimeDirection::Forward => time >= self.time,
            TimeDirection::Backward => time <= self.time,
        }
    }

    fn distance(self, time: MilliSecondsSinceUnixEpoch) -> u64 {
        u64::from(time.get()).abs_diff(self.time.get().into())
    }
}

/// What the timeline here has.
struct Local {
    found: Option<Rc<StoredEvent>>,
    /// Whether events that we lack may lie closer.
    doubtful: bool,
}

/// Whether whoever asks may know of an event.
type MayKnow<'a> = dyn Fn(Rc<StoredEvent>) -> LocalBoxFuture<'a, Result<bool, StoreError>> + 'a;

/// The closest event a local user may see, after asking other servers if our history has a gap there.
pub async fn for_user(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &UserId,
    sought: Sought,
) -> Result<Found, ReadError> {
    let view = RoomView::open(server, room_id, user).await?;
    let eyes = Rc::new(Eyes::open(server, &view.room, user).await?);
    let may_see = |event: Rc<StoredEvent>| -> LocalBoxFuture<'_, _> {
        let eyes = eyes.clone();
        Box::pin(async move { Ok(eyes.look(event).await?.is_some()) })
    };
    let local = search(server, &view.room, sought, &may_see).await?;
    let resident = view.room.live().resident;
    let mut found = local.found.map(|event| found(&event));
    if local.doubtful && resident {
        let closer = ask_others(server, &view.room, sought, found.as_ref()).await;
        if let Some(closer) = closer {
            fetch_back_to(server, &view.room, &closer.event_id).await?;
            // Now it is here, and something still closer may be, or it may be hidden from the user.
            let fetched = server.rooms.events.get(&closer.event_id).await?.filter(|event| !event.is_outlier());
            found = match fetched {
                Some(_) => search(server, &view.room, sought, &may_see).await?.found.map(|event| self::found(&event)),
                None => Some(closer),
            };
        }
    }
    found.ok_or(ReadError::NoSuchEvent)
}

/// The closest event that another server of the room may see.
pub async fn for_server(
    server: &Homeserver,
    room_id: &RoomId,
    origin: &ServerName,
    sought: Sought,
) -> Result<Found, HistoryError> {
    let room = history::room_for(server, room_id, origin).await?;
    let onlooker = Onlooker::new(server, &room, origin);
    let may_see = |event: Rc<StoredEvent>| -> LocalBoxFuture<'_, _> {
        let onlooker = &onlooker;
        Box::pin(async move { onlooker.may_see(&event).await })
    };
    let local = search(server, &room, sought, &may_see).await?;
    local.found.map(|event| found(&event)).ok_or(HistoryError::NotFound)
}

fn found(event: &StoredEvent) -> Found {
    Found { event_id: event.pdu.event_id.clone(), time: event.pdu.origin_server_ts }
}

async fn search(
    server: &Homeserver,
    room: &Rc<Room>,
    sought: Sought,
    may_know: &MayKnow<'_>,
) -> Result<Local, StoreError> {
    let place = place_of(server, room, sought.time).await?;
    let earlier = Span { after: i64::MIN, through: place.saturating_sub(1) };
    let later = Span { after: place.saturating_sub(1), through: i64::MAX };
    let before = timeline::events(server, room, earlier, Direction::Descending, WINDOW_EVENTS).await?;
    let after = timeline::events(server, room, later, Direction::Ascending, WINDOW_EVENTS).await?;
    let doubtful = has_gap_between(server, room, last_order(&before[..before.len().min(1)]), after.first()).await?;
    let mut window: Vec<_> =
        before.iter().chain(&after).filter(|event| sought.fits(event.pdu.origin_server_ts)).collect();
    window.sort_by_key(|event| (sought.distance(event.pdu.origin_server_ts), event.header.order));
    for event in window {
        if may_know(event.clone()).await? {
            return Ok(Local { found: Some(event.clone()), doubtful });
        }
    }
    // All that is near is hidden or on the wrong side: the next that is not, in the direction asked for.
    let (span, direction) = match sought.direction {
        TimeDirection::Forward => (Span { after: last_order(&after), ..Span::ALL }, Direction::Ascending),
        TimeDirection::Backward => {
            (Span { through: last_order(&before).saturating_sub(1), ..Span::ALL }, Direction::Descending)
        }
    };
    let found = first_fitting(server, room, (span, direction), sought, may_know).await?;
    Ok(Local { doubtful: doubtful || found.is_none(), found })
}

/// The first place of the timeline from which on events are as late as `time`.
async fn place_of(server: &Homeserver, room: &Room, time: MilliSecondsSinceUnixEpoch) -> Result<i64, StoreError> {
    let (mut low, mut high) = {
        let live = room.live();
        (live.oldest_order, live.newest_order.saturating_add(1))
    };
    while low < high {
        let middle = low + (high - low) / 2;
        let span = Span { after: middle - 1, through: high - 1 };
        let sample = timeline::events(server, room, span, Direction::Ascending, SAMPLE_EVENTS).await?;
        let Some(first) = sample.first() else {
            high = middle;
            continue;
        };
        let mut times: Vec<_> = sample.iter().map(|event| event.pdu.origin_server_ts).collect();
        times.sort_unstable();
        match times[times.len() / 2] < time {
            true => low = first.header.order.unwrap_or(middle) + 1,
            false => high = middle,
        }
    }
    Ok(low)
}

/// Whether we lack events between two neighbours in the timeline, or beyond its end that has only one.
async fn has_gap_between(
    server: &Homeserver,
    room: &Room,
    before: i64,
    after: Option<&Rc<StoredEvent>>,
) -> Result<bool, StoreError> {
    let after = after.and_then(|event| event.header.order).unwrap_or(i64::MAX);
    let gaps = server.database.scan_prefix::<Gaps, _>(&room.num, Direction::Ascending, GAPS_MAX).await?;
    // A gap stands before the event that follows what we lack.
    Ok(gaps.iter().any(|(_, gap)| gap.order > before && gap.order <= after))
}

/// The place of the last of `events`; before everything if there is none.
fn last_order(events: &[Rc<StoredEvent>]) -> i64 {
    events.last().and_then(|event| event.header.order).unwrap_or(i64::MIN)
}

async fn first_fitting(
    server: &Homeserver,
    room: &Room,
    (mut span, direction): (Span, Direction),
    sought: Sought,
    may_know: &MayKnow<'_>,
) -> Result<Option<Rc<StoredEvent>>, StoreError> {
    for _ in 0..HIDDEN_EVENTS_MAX / WINDOW_EVENTS {
        let events = timeline::events(server, room, span, direction, WINDOW_EVENTS).await?;
        for event in &events {
            if sought.fits(event.pdu.origin_server_ts) && may_know(event.clone()).await? {
                return Ok(Some(event.clone()));
            }
        }
        if events.len() < WINDOW_EVENTS {
            break;
        }
        match direction {
            Direction::Ascending => span.after = last_order(&events),
            Direction::Descending => span.through = last_order(&events) - 1,
        }
    }
    Ok(None)
}

/// What another server of the room has that is closer than `ours`: of the first that has anything.
async fn ask_others(server: &Homeserver, room: &Room, sought: Sought, ours: Option<&Found>) -> Option<Found> {
    for via in servers_to_ask(server, room, None).into_iter().take(SERVERS_ASKED_MAX) {
        let request = get_event_by_timestamp::v1::Request::new(room.id.clone(), sought.time, sought.direction);
        match server.ask(&via, Lane::Queries, request).await {
            Ok(answer) if sought.fits(answer.origin_server_ts) => {
                let theirs = Found { event_id: answer.event_id, time: answer.origin_server_ts };
                let closer = |ours: &Found| sought.distance(theirs.time) < sought.distance(ours.time);
                return ours.is_none_or(closer).then_some(theirs);
            }
            Ok(_) => tracing::info!(%via, room = %room.id, "an event on the wrong side of the time asked for"),
            Err(error) => tracing::debug!(%via, room = %room.id, %error, "no event for a time"),
        }
    }
    None
}

/// Fetches history until the event is here, for as long as that makes sense.
async fn fetch_back_to(server: &Rc<Homeserver>, room: &Rc<Room>, event_id: &OwnedEventId) -> Result<(), StoreError> {
    for _ in 0..BACKFILLS_MAX {
        let here = server.rooms.events.get(event_id).await?.is_some_and(|event| !event.is_outlier());
        if here || !backfill::fill(server, room, BACKFILL_EVENTS).await? {
            break;
        }
    }
    Ok(())
}
