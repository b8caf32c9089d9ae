//! HTTP requests of clients: read within limits, answered by the homeserver, every answer readable by any page.
use std::rc::Rc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;
use warren::{
    api::{self, ApiError, Origin},
    homeserver::Homeserver,
};

use super::{
    metrics::Metrics,
    shared_secret::{self, SharedSecret},
};
use crate::request_body;

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
        let response = match request_body::read(body).await {
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
