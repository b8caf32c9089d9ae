//! History from before we were in a room, fetched when somebody scrolls there.
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::{OwnedEventId, OwnedServerName, UInt, api::federation::backfill::get_backfill};

use super::{
    Room,
    append::{Append, AppendError, Audience, Placement},
    fetch::{self, Ancestry, ancestors_of, check_filled_in},
    ingest::{ancestors_first, servers_to_ask},
    policy,
};
use crate::{
    domain::{event::Pdu, room::policy::PolicyServer},
    homeserver::Homeserver,
    ports::{Lane, StoreError},
    storage::{Direction, tables::Gaps},
};

/// Events asked for at once, at most.
const BACKFILL_EVENTS_MAX: usize = 100;
/// Gaps considered at once; and servers asked before giving up for this time.
const BACKFILL_GAPS_MAX: usize = 20;
const BACKFILL_SERVERS_MAX: usize = 5;

/// Fetches up to `limit` events before the oldest we have. `false` if there was nothing to fetch or nobody to ask.
pub async fn fill(server: &Rc<Homeserver>, room: &Rc<Room>, limit: usize) -> Result<bool, StoreError> {
    let gaps = server.database.scan_prefix::<Gaps, _>(&room.num, Direction::Ascending, BACKFILL_GAPS_MAX).await?;
    let from: Vec<OwnedEventId> = gaps.into_iter().map(|((_, event_id), _)| event_id).collect();
    if from.is_empty() {
        return Ok(false);
    }
    for via in servers_to_ask(server, room, None).into_iter().take(BACKFILL_SERVERS_MAX) {
        let count = UInt::from(limit.clamp(1, BACKFILL_EVENTS_MAX) as u32);
        let request = get_backfill::v1::Request::new(room.id.clone(), from.clone(), count);
        match server.ask(&via, Lane::Queries, request).await {
            Ok(response) => {
                let received = response.pdus.iter().take(BACKFILL_EVENTS_MAX);
                let checked = check_filled_in(server, room, &via, received).await;
                let events = ancestors_of(server, &via, from.iter().cloned().collect(), checked);
                if append_history(server, room, events, &via).await? {
                    return Ok(true);
                }
            }
            Err(error) => tracing::info!(room = %room.id, %via, %error, "backfill failed"),
        }
    }
    Ok(false)
}

/// Appends history whose state before the oldest event comes from the peer that gave it.
async fn append_history(
    server: &Rc<Homeserver>,
    room: &Rc<Room>,
    events: Vec<Pdu>,
    via: &OwnedServerName,
) -> Result<bool, StoreError> {
    let mut events: BTreeMap<_, _> = events.into_iter().map(|event| (event.event_id.clone(), event)).collect();
    let ancestry = fetch::edges_of_history(server, room, &mut events, via).await?;
    let mut events = ancestors_first(events);
    let mut append = Append::begin(server, room).await;
    let mut placed = place_all(&mut append, ancestry.clone(), &events, Policy::IsAsked).await?;
    if !placed.unrecommended.is_empty() {
        // Whom to ask is only known once everything has its place, and nobody is asked under the room's lock.
        drop(append);
        policy::ask_about_history(server, room, &mut events, &placed.unrecommended).await;
        append = Append::begin(server, room).await;
        placed = place_all(&mut append, ancestry, &events, Policy::HasSpoken).await?;
    }
    if placed.ids.is_empty() {
        return Ok(false);
    }
    match append.commit().await {
        Ok(()) => Ok(true),
        Err(AppendError::Store(error)) => Err(error),
        Err(error) => {
            tracing::warn!(room = %room.id, %error, "history could not be written");
            Ok(false)
        }
    }
}

/// Where the policy servers of the room's past stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// They will be asked about what they have not signed; until then that counts as recommended.
    IsAsked,
    /// What they have not signed is not shown.
    HasSpoken,
}

#[derive(Default)]
struct Placed {
    ids: BTreeSet<OwnedEventId>,
    /// Events that the policy server of their time has not signed.
    unrecommended: BTreeMap<OwnedEventId, PolicyServer>,
}

/// Gives each event its place. States are known from the oldest on; timeline places are given from the newest down.
async fn place_all(
    append: &mut Append<'_>,
    mut ancestry: Ancestry,
    events: &[Pdu],
    policy: Policy,
) -> Result<Placed, StoreError> {
    ancestry.add_outliers(append).await?;
    let mut placed = Placed::default();
    let slots = append.reserve_history(events.len());
    for (event, order) in events.iter().zip(slots.into_iter().rev()) {
        let id = event.event_id.clone();
        if append.event(&id).await?.is_some_and(|known| !known.is_outlier()) {
            continue;
        }
        match place(append, &mut ancestry, event, order, policy).await {
            Ok(unconvinced) => {
                placed.unrecommended.extend(unconvinced.map(|policy| (id.clone(), policy)));
                placed.ids.insert(id);
            }
            Err(AppendError::Store(error)) => return Err(error),
            Err(error) => tracing::info!(event = %id, %error, "an event of the past cannot be placed"),
        }
    }
    Ok(placed)
}

/// Answers with the policy server that has not recommended it.
async fn place(
    append: &mut Append<'_>,
    ancestry: &mut Ancestry,
    event: &Pdu,
    order: i64,
    policy: Policy,
) -> Result<Option<PolicyServer>, AppendError> {
    let state_before = match ancestry.take_state_before(append, &event.event_id).await? {
        Some(state) => state,
        None => append.state_after(&event.prev_events).await?,
    };
    let unconvinced = policy::unconvinced(append, event, &state_before).await?;
    let recommended = unconvinced.is_none() || policy == Policy::IsAsked;
    let placement = Placement::History { order, recommended };
    append.receive_at(event.clone(), state_before, placement, Audience::Nobody).await?;
    Ok(unconvinced)
}
