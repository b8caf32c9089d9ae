//! HTTP requests of clients: read within limits, answered by the homeserver, every answer readable by any page.
use std::{rc::Rc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use ruma::api::error::ErrorKind;
use tokio::time::Instant;
use warren::{
    api::{self, ApiError, CLIENT_BODY_MAX_BYTES, Origin},
    homeserver::Homeserver,
};

use super::{
    metrics::Metrics,
    shared_secret::{self, SharedSecret},
};

/// The next part of a body must come within this.
const BODY_STALL_MAX: Duration = Duration::from_secs(30);

pub struct ClientDoor {
    homeserver: Rc<Homeserver>,
    secret: Option<SharedSecret>,
    metrics: Rc<Metrics>,
}

impl ClientDoor {
    /// Without a `secret` nobody registers by one.
    pub fn new(homeserver: Rc<Homeserver>, secret: Option<SharedSecret>, metrics: Rc<Metrics>) -> Self {
        Self { homeserver, secret, metrics }
    }

    /// Answers one request. Dropped when its client goes away: what was begun is finished, and what waits ends.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let _in_flight = self.metrics.request_begins();
        let (parts, body) = request.into_parts();
        let response = match read(body).await {
            Ok(body) => self.respond(Request::from_parts(parts, body)).await,
            Err(error) => api::with_cors(error.into_response()),
        };
        let (status, took) = (response.status(), started.elapsed());
        self.metrics.answered(&method, status, took);
        tracing::debug!(%method, path, status = status.as_u16(), micros = took.as_micros() as u64, "answered");
        response.map(Full::new)
    }

    async fn respond(&self, request: api::Request) -> api::Response {
        if request.uri().path() != shared_secret::PATH {
            return api::handle(&self.homeserver, request, Origin::Client).await;
        }
        let answer = match (&self.secret, request.method()) {
            (_, &Method::OPTIONS) => Ok(Response::new(Bytes::new())),
            (Some(secret), _) => secret.answer(&self.homeserver, &request).await,
            (None, _) => Err(ApiError::forbidden("Nobody registers here by a shared secret.")),
        };
        api::with_cors(answer.unwrap_or_else(ApiError::into_response))
    }
}

/// The answer of a request whose handling panicked on the way to the homeserver or back.
pub fn broken() -> Response<Full<Bytes>> {
    api::with_cors(ApiError::internal("the answer was lost to a panic").into_response()).map(Full::new)
}

/// The whole body, or so much of it that the homeserver sees that it is too large.
async fn read(mut body: Incoming) -> Result<Bytes, ApiError> {
    let mut whole = BytesMut::new();
    while whole.len() <= CLIENT_BODY_MAX_BYTES {
        let frame = tokio::time::timeout(BODY_STALL_MAX, body.frame()).await.map_err(|_| stalled())?;
        match frame {
            None => break,
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    whole.extend_from_slice(&data);
                }
            }
            Some(Err(error)) => {
                return Err(ApiError::bad_json(format!("The request's body did not arrive: {error}.")));
            }
        }
    }
    Ok(whole.freeze())
}

fn stalled() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, ErrorKind::Unknown, "The rest of the request's body did not come.")
}
