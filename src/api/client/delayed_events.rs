//! Events sent later (MSC4140): scheduled by an endpoint of their own or by a parameter of the usual ones, managed by whoever
//! knows their ids.
use std::{borrow::Cow, collections::BTreeMap, rc::Rc};

use http::Method;
use percent_encoding::percent_decode_str;
use ruma::{
    RoomId,
    api::{
        IncomingRequest, Metadata, OutgoingResponse, OutgoingResponseExt,
        client::delayed_events::{
            get_all_delayed_events, get_delayed_event, send_delayed_event,
            update_delayed_event::{UpdateAction, unstable_v1, unstable_v2},
        },
        error::{DeserializationError, IntoHttpError},
    },
};
use serde_json::{Value, json};

use super::{
    canonical_content,
    json::{Json, JsonAnswered},
};
use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        delayed_events::{self, Action, Listing, Order, Outcome, Request},
        rooms::send::ClientTxn,
        sessions::Session,
    },
    storage::tables::{DelayedEventRow, DelayedOutcome},
};

/// The parameter of `/send` and `/state` that delays the event, in milliseconds.
const DELAY: &str = "org.matrix.msc4140.delay";

/// `PUT /_matrix/client/unstable/org.matrix.msc4140/rooms/{roomId}/delayed_event/{eventType}/{txnId}` (MSC4140)
pub async fn send_delayed_event(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: send_delayed_event::unstable::Request,
) -> Result<send_delayed_event::unstable::Response, ApiError> {
    let txn = ClientTxn {
        device_id: session.device_id,
        scope: format!("delayed_event/{}/{}", request.room_id, request.event_type),
        txn_id: request.txn_id.to_string(),
    };
    let request = Request {
        room_id: request.room_id,
        kind: request.event_type.to_string(),
        state_key: request.state_key,
        content: canonical_content(request.content.json())?,
        delay_ms: u64::try_from(request.delay.as_millis()).unwrap_or(u64::MAX),
    };
    let delay_id = delayed_events::schedule(homeserver, &session.user_id, request, Some(txn)).await?;
    Ok(send_delayed_event::unstable::Response::new(delay_id))
}

/// `POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}/{action}` (MSC4140): to know the id is to
/// be allowed.
pub async fn act_on_delayed_event(
    homeserver: &Rc<Homeserver>,
    _: (),
    request: unstable_v2::Request,
) -> Result<unstable_v2::Response, ApiError> {
    delayed_events::act(homeserver, &request.delay_id, action(&request.action)?).await?;
    Ok(unstable_v2::Response::new())
}

/// `POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}` (MSC4140 as clients speak it still)
pub async fn update_delayed_event(
    homeserver: &Rc<Homeserver>,
    _session: Session,
    request: unstable_v1::Request,
) -> Result<unstable_v1::Response, ApiError> {
    delayed_events::act(homeserver, &request.delay_id, action(&request.action)?).await?;
    Ok(unstable_v1::Response::new())
}

fn action(action: &UpdateAction) -> Result<Action, ApiError> {
    match action {
        UpdateAction::Restart => Ok(Action::Restart),
        UpdateAction::Send => Ok(Action::Send),
        UpdateAction::Cancel => Ok(Action::Cancel),
        other => Err(ApiError::invalid_param(format!("{other} is nothing that is done to a delayed event."))),
    }
}

/// `GET /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delayId}` (MSC4140)
pub async fn get_delayed_event(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: JsonAnswered<get_delayed_event::unstable::Request>,
) -> Result<Json, ApiError> {
    let delay_id = request.request.delay_id;
    let row = delayed_events::get(homeserver, &session.user_id, &delay_id).await?;
    Ok(Json::of(&written(&delay_id, &row)))
}

/// `GET /_matrix/client/unstable/org.matrix.msc4140/delayed_events` (MSC4140)
pub async fn get_all_delayed_events(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: JsonAnswered<get_all_delayed_events::unstable::Request>,
) -> Result<Json, ApiError> {
    let events = delayed_events::list(homeserver, &session.user_id, &listing(&request.query)?).await?;
    let events: Vec<Value> = events.iter().map(|(delay_id, row)| written(delay_id, row)).collect();
    Ok(Json::of(&json!({ "delayed_events": events })))
}

fn listing(query: &str) -> Result<Listing, ApiError> {
    let mut listing = Listing::default();
    for (name, value) in parameters(query)? {
        let unsupported = || ApiError::invalid_param(format!("`{name}` has a value that is not supported."));
        match (&*name, &*value) {
            ("order_by", "send_ts") => listing.order = Order::Due,
            ("order_by", "origin_server_ts") => listing.order = Order::Finalised,
            ("order_by", "running_since") => listing.order = Order::Running,
            ("dir", dir @ ("f" | "b")) => listing.backward = dir == "b",
            ("since_ts", "end") => listing.since_ms = Some(u64::MAX),
            ("since_ts", time) => listing.since_ms = Some(time.parse().map_err(|_| unsupported())?),
            ("status", status @ ("scheduled" | "finalised")) => listing.scheduled = Some(status == "scheduled"),
            ("room_id", room_id) => listing.room_id = Some(RoomId::parse(room_id).map_err(|_| unsupported())?),
            ("type", kind) => listing.kind = Some(kind.to_owned()),
            ("outcome", "send") => listing.outcome = Some(Outcome::Sent),
            ("outcome", "cancel") => listing.outcome = Some(Outcome::Cancelled),
            ("outcome", "error") => listing.outcome = Some(Outcome::Failed),
            ("reason", reason @ ("action" | "delay")) => listing.by_action = Some(reason == "action"),
            // There is one page, so that no token leads to another.
            ("order_by" | "dir" | "status" | "outcome" | "reason" | "from", _) => return Err(unsupported()),
            _ => {}
        }
    }
    Ok(listing)
}

fn parameters(query: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let decoded = |text: &str| -> Result<String, ApiError> {
        let spaced = text.replace('+', " ");
        let text = percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned);
        text.map_err(|_| ApiError::invalid_param("The query is not UTF-8."))
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| Ok((decoded(k)?, decoded(v)?))).collect()
}

/// A delayed event as its user is told of it.
fn written(delay_id: &str, row: &DelayedEventRow) -> Value {
    let mut event = json!({
        "delay_id": delay_id,
        "room_id": row.room,
        "type": row.kind,
        "delay": row.delay_ms,
        "running_since": row.running_since_ms,
        "content": row.content,
    });
    if let Some(state_key) = &row.state_key {
        event["state_key"] = json!(state_key);
    }
    if let Some(finalised) = &row.finalised {
        // The second name is that of an earlier text, which clients know.
        event["origin_server_ts"] = json!(finalised.at_ms);
        event["finalised_ts"] = json!(finalised.at_ms);
        match &finalised.outcome {
            DelayedOutcome::Sent(event_id) => event["event_id"] = json!(event_id),
            DelayedOutcome::Failed { errcode, error } => {
                event["error"] = json!({ "errcode": errcode, "error": error });
            }
            DelayedOutcome::Cancelled => {}
        }
    }
    event
}

/// A request to send an event, and when.
pub struct MaybeDelayed<R> {
    pub request: R,
    delay: Option<String>,
}

impl<R> MaybeDelayed<R> {
    /// How long the event is to wait, in milliseconds; `None` for those that are sent at once.
    pub fn delay_ms(&self) -> Result<Option<u64>, ApiError> {
        let not_a_time = |_| ApiError::invalid_param(format!("`{DELAY}` is not a number of milliseconds."));
        self.delay.as_deref().map(|delay| delay.parse().map_err(not_a_time)).transpose()
    }
}

impl<R: Metadata> Metadata for MaybeDelayed<R> {
    const METHOD: Method = R::METHOD;
    const RATE_LIMITED: bool = R::RATE_LIMITED;
    type Authentication = R::Authentication;
    type PathBuilder = R::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = R::PATH_BUILDER;
}

impl<R: IncomingRequest> IncomingRequest for MaybeDelayed<R> {
    type EndpointError = R::EndpointError;
    type OutgoingResponse = SentOrDelayed<R::OutgoingResponse>;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let query = request.uri().query().unwrap_or_default();
        let delay = query.split('&').find_map(|pair| pair.strip_prefix(DELAY)?.strip_prefix('=').map(str::to_owned));
        Ok(Self { request: R::try_from_http_request_inner(request, path_args)?, delay })
    }
}

pub enum SentOrDelayed<R> {
    Sent(R),
    /// The delay id.
    Delayed(String),
}

impl<R: OutgoingResponse> OutgoingResponse for SentOrDelayed<R> {
    type Body = Json;

    fn try_into_http_response_inner(self) -> Result<http::Response<Json>, IntoHttpError> {
        match self {
            Self::Sent(response) => {
                let (parts, body) = response.try_into_http_response::<Vec<u8>>()?.into_parts();
                Ok(http::Response::from_parts(parts, Json(body)))
            }
            Self::Delayed(delay_id) => Ok(http::Response::new(Json::of(&json!({ "delay_id": delay_id })))),
        }
    }
}
