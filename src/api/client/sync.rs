//! `/sync`, under its stable names and those that clients use while "state after" is new to them.
use std::{borrow::Cow, collections::BTreeMap, rc::Rc};

use bytes::BytesMut;
use http::Method;
use ruma::{
    api::{
        IncomingRequest, Metadata, OutgoingResponse, OutgoingResponseExt,
        client::{
            filter::EventFormat,
            sync::sync_events::v3::{Filter, Request, Response},
        },
        error::{DeserializationError, IntoHttpError},
    },
    presence::PresenceState,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue as RawJsonValue;

use super::json::Json;
use crate::{
    api::ApiError,
    homeserver::{
        Homeserver, filters,
        sessions::Session,
        sync::{self, Asked},
    },
};

/// What MSC4222 called `use_state_after` and `state_after` before the specification took them over. matrix-js-sdk asks
/// for nothing else.
const UNSTABLE_USE_STATE_AFTER: &str = "org.matrix.msc4222.use_state_after";
const UNSTABLE_STATE_AFTER: &str = "org.matrix.msc4222.state_after";

/// `GET /_matrix/client/v3/sync` (client-server API, "Syncing")
pub async fn sync_events(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: SyncRequest,
) -> Result<SyncResponse, ApiError> {
    let SyncRequest { request, unstable_names } = request;
    let filter = match request.filter {
        None => Default::default(),
        Some(Filter::FilterDefinition(filter)) => filter,
        Some(Filter::FilterId(id)) if id.starts_with('{') => {
            return Err(ApiError::invalid_param("`filter` is not a filter as JSON."));
        }
        Some(Filter::FilterId(id)) => filters::get(homeserver, &session.user_id, &id).await?,
        Some(_) => return Err(ApiError::invalid_param("`filter` is neither a filter nor the id of one.")),
    };
    if !matches!(filter.event_format, EventFormat::Client | EventFormat::Federation) {
        return Err(ApiError::invalid_param("Events are given in the format \"client\" or \"federation\"."));
    }
    if !matches!(request.set_presence, PresenceState::Online | PresenceState::Unavailable | PresenceState::Offline) {
        return Err(ApiError::invalid_param("`set_presence` is none of online, unavailable and offline."));
    }
    let asked = Asked {
        shown: request.set_presence,
        since: request.since.as_deref().map(str::parse).transpose()?,
        filter,
        full_state: request.full_state,
        state_after: request.use_state_after || unstable_names,
        timeout_ms: request.timeout.map_or(0, |timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
    };
    let response = sync::sync(homeserver, &session, asked).await?;
    Ok(SyncResponse { response, unstable_names })
}

/// The request, and whether it asked for the state after the timeline by the unstable name.
pub struct SyncRequest {
    request: Request,
    unstable_names: bool,
}

impl Metadata for SyncRequest {
    const METHOD: Method = Request::METHOD;
    const RATE_LIMITED: bool = Request::RATE_LIMITED;
    type Authentication = <Request as Metadata>::Authentication;
    type PathBuilder = <Request as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = Request::PATH_BUILDER;
}

impl IncomingRequest for SyncRequest {
    type EndpointError = <Request as IncomingRequest>::EndpointError;
    type OutgoingResponse = SyncResponse;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let query = request.uri().query().unwrap_or_default();
        let unstable_names = query.split('&').any(|pair| pair.strip_prefix(UNSTABLE_USE_STATE_AFTER) == Some("=true"));
        Ok(Self { request: Request::try_from_http_request_inner(request, path_args)?, unstable_names })
    }
}

/// The answer under the names that the client knows.
pub struct SyncResponse {
    response: Response,
    unstable_names: bool,
}

impl OutgoingResponse for SyncResponse {
    type Body = Json;

    fn try_into_http_response_inner(self) -> Result<http::Response<Json>, IntoHttpError> {
        let (parts, body) = self.response.try_into_http_response::<BytesMut>()?.into_parts();
        let body = if self.unstable_names { with_unstable_names(&body)? } else { body.into() };
        Ok(http::Response::from_parts(parts, Json(body)))
    }
}

type Fields<'a, T = &'a RawJsonValue> = BTreeMap<Cow<'a, str>, T>;

/// Renames the fields of joined and left rooms, leaving everything below them as it is.
fn with_unstable_names(body: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Deserialize, Serialize)]
    struct Rooms<'a> {
        #[serde(borrow, default, skip_serializing_if = "BTreeMap::is_empty")]
        join: BTreeMap<Cow<'a, str>, Fields<'a>>,
        #[serde(borrow, default, skip_serializing_if = "BTreeMap::is_empty")]
        leave: BTreeMap<Cow<'a, str>, Fields<'a>>,
        #[serde(borrow, skip_serializing_if = "Option::is_none")]
        invite: Option<&'a RawJsonValue>,
        #[serde(borrow, skip_serializing_if = "Option::is_none")]
        knock: Option<&'a RawJsonValue>,
    }
    let mut answer: Fields<'_> = serde_json::from_slice(body)?;
    let Some(rooms) = answer.get("rooms") else { return Ok(body.to_owned()) };
    let mut rooms: Rooms<'_> = serde_json::from_str(rooms.get())?;
    for room in rooms.join.values_mut().chain(rooms.leave.values_mut()) {
        if let Some(state) = room.remove("state_after") {
            room.insert(UNSTABLE_STATE_AFTER.into(), state);
        }
    }
    let rooms = serde_json::value::to_raw_value(&rooms)?;
    answer.insert("rooms".into(), &rooms);
    serde_json::to_vec(&answer)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_the_state_after_is_renamed() {
        let room = |name: &str| json!({ "timeline": { "events": [{ "state_after": 1 }] }, name: { "events": [] } });
        let answer = |name: &str| {
            json!({
                "next_batch": "s1",
                "rooms": { "join": { "!a": room(name) }, "leave": { "!b": room(name) }, "invite": { "!c": {} } },
            })
        };
        let renamed = with_unstable_names(answer("state_after").to_string().as_bytes()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&renamed).unwrap(), answer(UNSTABLE_STATE_AFTER));
        let empty = br#"{"next_batch":"s1"}"#;
        assert_eq!(with_unstable_names(empty).unwrap(), empty);
    }
}
