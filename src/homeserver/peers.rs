//! Requests to other homeservers: typed by ruma, signed with X-Matrix, carried by the transport.
use bytes::Bytes;
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
use thiserror::Error;

use super::{Homeserver, refusals};
use crate::{
    domain::{signed_request, zone::APART},
    ports::{Lane, TransportError},
};

/// The base every request URL is built on and stripped of: the transport wants path and query only.
const BASE_URL: &str = "matrix://peer";

#[derive(Clone, Debug, Error)]
pub enum PeerError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// It answered with a Matrix error, or one we could not read.
    /// `apart`: it says that two servers have no way to each other.
    #[error("{server} refused: {status} {errcode} {message}")]
    Refused { server: OwnedServerName, status: u16, errcode: String, message: String, apart: bool },
    #[error("{server} answered what is not the endpoint's response: {reason}")]
    Malformed { server: OwnedServerName, reason: String },
    /// The request cannot be put into HTTP; nothing was sent.
    #[error("the request cannot be made: {0}")]
    Unsendable(String),
}

impl PeerError {
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
        let parsed = R::IncomingResponse::try_from_http_response(http::Response::from_parts(parts, &body[..]));
        parsed.map_err(|error| match error {
            FromHttpResponseError::Server(_) => refusal(server, status, &body),
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

fn refusal(server: &OwnedServerName, status: u16, body: &[u8]) -> PeerError {
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
    PeerError::Refused { server: server.clone(), status, errcode: bounded(errcode), message: bounded(error), apart }
}
