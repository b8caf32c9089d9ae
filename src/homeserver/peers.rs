//! Requests to other homeservers: typed by ruma, signed with X-Matrix, carried by the transport.
use bytes::Bytes;
use http::{HeaderMap, header::RETRY_AFTER};
use ruma::{
    OwnedServerName,
    api::{
        IncomingResponseExt, OutgoingBody, OutgoingRequest,
        auth_scheme::AuthScheme,
        error::{FromHttpResponseError, IntoHttpError},
        federation::authentication::ServerSignatures,
        path_builder::SinglePath,
    },
};
use serde_json::Value;
use thiserror::Error;

use super::{Homeserver, refusals};
use crate::{
    domain::{signed_request, zone::APART},
    ports::{Lane, TransportError},
};

/// The base every request URL is built on and stripped of: the transport wants path and query only.
const BASE_URL: &str = "matrix://peer";
/// The longest wait that a busy server is believed to mean, in milliseconds.
const RETRY_AFTER_MAX_MS: u64 = 60 * 60 * 1_000;
/// How many others are taken from what a busy server says.
const OTHERS_MAX: usize = 3;

#[derive(Clone, Debug, Error)]
pub enum PeerError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// It answered with a Matrix error, or one we could not read.
    /// `apart`: it says that two servers have no way to each other.
    #[error("{server} refused: {status} {errcode} {message}")]
    Refused { server: OwnedServerName, status: u16, errcode: String, message: String, apart: bool, busy: Option<Busy> },
    #[error("{server} answered what is not the endpoint's response: {reason}")]
    Malformed { server: OwnedServerName, reason: String },
    /// The request cannot be put into HTTP; nothing was sent.
    #[error("the request cannot be made: {0}")]
    Unsendable(String),
}

/// What a server says that has no time now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// In how many milliseconds to ask again: [`RETRY_AFTER_MAX_MS`] at most.
    pub retry_after_ms: u64,
    /// Servers that may do the same, as it says: [`OTHERS_MAX`] at most.
    pub others: Vec<OwnedServerName>,
}

impl PeerError {
    /// What a server said that has no time now.
    pub fn busy(&self) -> Option<&Busy> {
        match self {
            Self::Refused { busy, .. } => busy.as_ref(),
            Self::Transport(_) | Self::Malformed { .. } | Self::Unsendable(_) => None,
        }
    }

    /// Whether trying again later, as it is, may succeed.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Transport(TransportError::NeverReachable { .. }) => false,
            Self::Transport(_) => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            Self::Malformed { .. } | Self::Unsendable(_) => false,
        }
    }
}

impl Homeserver {
    /// Makes one federation request and reads the answer as the endpoint's response.
    pub async fn ask<R>(
        &self,
        server: &OwnedServerName,
        lane: Lane,
        request: R,
    ) -> Result<R::IncomingResponse, PeerError>
    where
        R: OutgoingRequest<PathBuilder = SinglePath>,
        for<'a> R::Authentication: AuthScheme<Input<'a> = <ServerSignatures as AuthScheme>::Input<'a>>,
        R::EndpointError: std::fmt::Display,
    {
        self.ask_for_at_most(server, lane, request, usize::MAX).await
    }

    /// As `ask`, for answers that are small: a larger body than `max_bytes` is not read.
    pub async fn ask_for_at_most<R>(
        &self,
        server: &OwnedServerName,
        lane: Lane,
        request: R,
        max_bytes: usize,
    ) -> Result<R::IncomingResponse, PeerError>
    where
        R: OutgoingRequest<PathBuilder = SinglePath>,
        for<'a> R::Authentication: AuthScheme<Input<'a> = <ServerSignatures as AuthScheme>::Input<'a>>,
        R::EndpointError: std::fmt::Display,
    {
        let request = self.signed(request, server).map_err(PeerError::Unsendable)?;
        let response = self.environment.transport.request(server.clone(), lane, to_path_only(request)?).await?;
        let (parts, body) = response.into_parts();
        let status = parts.status.as_u16();
        if body.len() > max_bytes {
            let reason = format!("it has {} bytes, and {max_bytes} are the most it may have", body.len());
            return Err(self.malformed(server, reason));
        }
        let parsed = R::IncomingResponse::try_from_http_response(http::Response::from_parts(parts.clone(), &body[..]));
        parsed.map_err(|error| match error {
            FromHttpResponseError::Server(_) => refusal(server, &parts.headers, status, &body),
            other => self.malformed(server, other.to_string()),
        })
    }

    /// The request in HTTP with our signature, which covers path and query and not the base before them.
    fn signed<R>(&self, request: R, server: &OwnedServerName) -> Result<http::Request<Vec<u8>>, String>
    where
        R: OutgoingRequest<PathBuilder = SinglePath>,
    {
        let request = request.try_into_http_request_inner(BASE_URL, ()).map_err(|error| error.to_string())?;
        let (mut parts, body) = request.into_parts();
        if let Some(content_type) = body.content_type() {
            parts.headers.entry(http::header::CONTENT_TYPE).or_insert(content_type);
        }
        let body: Vec<u8> = body.try_into_buf().map_err(|error| Into::<IntoHttpError>::into(error).to_string())?;
        let mut request = http::Request::from_parts(parts, body);
        let signature = signed_request::sign(&request, &self.identity, server)?;
        request.headers_mut().insert(http::header::AUTHORIZATION, http::HeaderValue::from(&signature));
        Ok(request)
    }

    /// An answer of `server` that is refused for what it holds.
    pub(super) fn malformed(&self, server: &OwnedServerName, reason: String) -> PeerError {
        refusals::note(self, server, &"an answer", &reason);
        PeerError::Malformed { server: server.clone(), reason: refusals::told(&reason) }
    }
}

fn to_path_only(request: http::Request<Vec<u8>>) -> Result<http::Request<Bytes>, PeerError> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    parts.uri = path.parse().map_err(|_| PeerError::Unsendable("its path is not one".to_owned()))?;
    Ok(http::Request::from_parts(parts, body.into()))
}

fn refusal(server: &OwnedServerName, headers: &HeaderMap, status: u16, body: &[u8]) -> PeerError {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Body {
        errcode: String,
        error: String,
    }
    let Body { errcode, error } = serde_json::from_slice(body).unwrap_or_default();
    let object = serde_json::from_slice::<serde_json::Map<_, _>>(body).unwrap_or_default();
    let apart = object.get(APART).is_some_and(|mark| *mark == serde_json::Value::Bool(true));
    let bounded = |text: String| text.chars().take(300).collect();
    let busy = busy(headers, status, body);
    PeerError::Refused {
        server: server.clone(),
        status,
        errcode: bounded(errcode),
        message: bounded(error),
        apart,
        busy,
    }
}

/// When the server says it has time, if it says so. The header counts before the body; a date, which needs clocks that agree,
/// counts for nothing.
fn busy(headers: &HeaderMap, status: u16, body: &[u8]) -> Option<Busy> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Body {
        retry_after_ms: Value,
        #[serde(rename = "org.warren.others")]
        others: Value,
    }
    if !matches!(status, 429 | 503) {
        return None;
    }
    let Body { retry_after_ms, others } = serde_json::from_slice(body).unwrap_or_default();
    let seconds = headers.get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()?.trim().parse::<u64>().ok());
    let wait_ms = seconds.map(|seconds| seconds.saturating_mul(1_000)).or(retry_after_ms.as_u64())?;
    let others = others.as_array().into_iter().flatten().take(OTHERS_MAX);
    let others = others.filter_map(|name| name.as_str()?.try_into().ok()).collect();
    Some(Busy { retry_after_ms: wait_ms.min(RETRY_AFTER_MAX_MS), others })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(status: u16, header: Option<&str>, body: &Value) -> Option<Busy> {
        let headers = header.map(|value| (RETRY_AFTER, value.parse().unwrap())).into_iter().collect();
        busy(&headers, status, body.to_string().as_bytes())
    }

    #[test]
    fn a_busy_server_says_when_it_has_time() {
        let wait = |status, header, body| of(status, header, &body).map(|busy| busy.retry_after_ms);
        assert_eq!(wait(429, Some("2"), json!({ "retry_after_ms": 1_500 })), Some(2_000), "the header counts first");
        assert_eq!(wait(503, None, json!({ "retry_after_ms": 1_500 })), Some(1_500));
        assert_eq!(wait(503, Some("7"), json!([])), Some(7_000));
        assert_eq!(wait(429, Some("Fri, 15 May 2015 15:34:21 GMT"), json!({})), None);
        assert_eq!(wait(429, None, json!({ "retry_after_ms": "soon" })), None);
        assert_eq!(wait(429, Some("-1"), json!({ "retry_after_ms": -1 })), None);
        assert_eq!(wait(429, Some("18446744073709551615"), json!({})), Some(RETRY_AFTER_MAX_MS));
        assert_eq!(wait(403, Some("2"), json!({ "retry_after_ms": 2 })), None, "a verdict is no wait");
    }

    #[test]
    fn of_the_others_it_names_a_few_are_taken_that_are_names() {
        let named = |others: Value| of(429, Some("1"), &json!({ "org.warren.others": others })).unwrap().others;
        assert_eq!(named(json!(["a.alt", 7, "not a name", "b.alt"])), ["a.alt"]);
        assert_eq!(named(json!(["a.alt", "b.alt", "c.alt", "d.alt"])).len(), OTHERS_MAX);
        assert!(named(json!("a.alt")).is_empty());
    }
}
