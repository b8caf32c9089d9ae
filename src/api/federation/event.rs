//! Events and states that other servers of a room ask for.
use std::rc::Rc;

use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedServerName,
    api::federation::event::{
        get_event::v1 as event_v1, get_event_by_timestamp::v1 as by_timestamp_v1, get_missing_events::v1 as missing_v1,
        get_room_state::v1 as state_v1, get_room_state_ids::v1 as state_ids_v1,
    },
};

use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        by_time::{self, Sought},
        rooms::history::{self, Between},
    },
};

/// `GET /_matrix/federation/v1/event/{eventId}` (server-server API, "Retrieving events")
pub async fn get_event(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: event_v1::Request,
) -> Result<event_v1::Response, ApiError> {
    let pdu = history::event_for(homeserver, &request.event_id, &origin).await?;
    Ok(event_v1::Response::new(homeserver.server_name().to_owned(), now(homeserver), pdu.raw()))
}

/// `GET /_matrix/federation/v1/timestamp_to_event/{roomId}` (server-server API, "Retrieving events")
pub async fn get_event_by_timestamp(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: by_timestamp_v1::Request,
) -> Result<by_timestamp_v1::Response, ApiError> {
    let sought = Sought { time: request.ts, direction: request.dir };
    let found = by_time::for_server(homeserver, &request.room_id, &origin, sought).await?;
    Ok(by_timestamp_v1::Response::new(found.event_id, found.time))
}

/// `GET /_matrix/federation/v1/state_ids/{roomId}` (server-server API, "Retrieving events")
pub async fn get_room_state_ids(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: state_ids_v1::Request,
) -> Result<state_ids_v1::Response, ApiError> {
    let about = std::slice::from_ref(&request.event_id);
    let room = history::room_for_events(homeserver, &request.room_id, about, &origin).await?;
    let (state, auth_chain) = history::state_before(homeserver, &room, &request.event_id).await?;
    Ok(state_ids_v1::Response::new(auth_chain, state))
}

/// `GET /_matrix/federation/v1/state/{roomId}` (server-server API, "Retrieving events")
pub async fn get_room_state(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: state_v1::Request,
) -> Result<state_v1::Response, ApiError> {
    let about = std::slice::from_ref(&request.event_id);
    let room = history::room_for_events(homeserver, &request.room_id, about, &origin).await?;
    let (state, auth_chain) = history::state_before(homeserver, &room, &request.event_id).await?;
    let raw = async |ids: &[_]| -> Result<Vec<_>, ApiError> {
        Ok(history::pdus(homeserver, ids).await?.iter().map(|pdu| pdu.raw()).collect())
    };
    Ok(state_v1::Response::new(raw(&auth_chain).await?, raw(&state).await?))
}

/// `POST /_matrix/federation/v1/get_missing_events/{roomId}` (server-server API, "Backfilling and retrieving missing
/// events")
pub async fn get_missing_events(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: missing_v1::Request,
) -> Result<missing_v1::Response, ApiError> {
    let room = history::room_for_events(homeserver, &request.room_id, &request.latest_events, &origin).await?;
    let between = Between {
        earliest: &request.earliest_events,
        latest: &request.latest_events,
        min_depth: request.min_depth.into(),
        limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
    };
    let events = history::missing_events(homeserver, &room, between, &origin).await?;
    Ok(missing_v1::Response::new(events.iter().map(|pdu| pdu.raw()).collect()))
}

pub(super) fn now(homeserver: &Homeserver) -> MilliSecondsSinceUnixEpoch {
    MilliSecondsSinceUnixEpoch(homeserver.environment.clock.now_ms().try_into().unwrap_or_default())
}
