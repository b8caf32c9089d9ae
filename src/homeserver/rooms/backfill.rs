//! History from before we were in a room, fetched when somebody scrolls there.
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::{OwnedEventId, UInt, api::federation::backfill::get_backfill};

use super::{
    Room,
    append::{Append, AppendError, Audience, Placement},
    fetch::{self, ancestors_of, check_filled_in},
    ingest::{ancestors_first, servers_to_ask},
};
use crate::{
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
    events: Vec<crate::domain::event::Pdu>,
    via: &ruma::OwnedServerName,
) -> Result<bool, StoreError> {
    let mut events: BTreeMap<_, _> = events.into_iter().map(|event| (event.event_id.clone(), event)).collect();
    let mut ancestry = fetch::edges_of_history(server, room, &mut events, via).await?;
    let mut append = Append::begin(server, room).await;
    ancestry.add_outliers(&mut append).await?;
    // States are known from the oldest on; timeline places are given from the newest down.
    let mut placed = BTreeSet::new();
    let slots = append.reserve_history(events.len());
    for (event, slot) in ancestors_first(events).into_iter().zip(slots.into_iter().rev()) {
        let id = event.event_id.clone();
        if append.event(&id).await?.is_some_and(|known| !known.is_outlier()) {
            continue;
        }
        let placement = Placement::History { order: slot };
        let result = match ancestry.take_state_before(&mut append, &id).await? {
            Some(state) => append.receive_at(event, state, placement, Audience::Nobody).await,
            None => append.receive(event, placement, Audience::Nobody).await,
        };
        match result {
            Ok(_) => drop(placed.insert(id)),
            Err(AppendError::Store(error)) => return Err(error),
            Err(error) => tracing::info!(event = %id, %error, "an event of the past cannot be placed"),
        }
    }
    if placed.is_empty() {
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
