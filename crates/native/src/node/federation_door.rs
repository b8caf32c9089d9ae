//! HTTP requests of other homeservers: read within limits, answered by the homeserver, which looks at who signed them.
use std::{net::IpAddr, rc::Rc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;
use warren::{
    api::{self, ApiError, ClientAddress, Origin},
    homeserver::Homeserver,
};

use super::{client_door::client_address, metrics::Metrics};
use crate::federation::request;

pub struct FederationDoor {
    homeserver: Rc<Homeserver>,
    metrics: Rc<Metrics>,
}

impl FederationDoor {
    pub fn new(homeserver: Rc<Homeserver>, metrics: Rc<Metrics>) -> Self {
        Self { homeserver, metrics }
    }

    /// Answers one request. Dropped when whoever asked goes away: what was begun is finished.
    pub async fn answer(&self, request: Request<Incoming>, remote: IpAddr) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let _in_flight = self.metrics.request_begins();
        let address = client_address(request.headers(), remote);
        let response = match request::read(request).await {
            Ok((_, mut request)) => {
                request.extensions_mut().insert(ClientAddress(address));
                api::handle(&self.homeserver, request, Origin::Https).await
            }
            Err(error) => error.into_response(),
        };
        let (status, took) = (response.status(), started.elapsed());
        self.metrics.answered(&method, status, took);
        tracing::debug!(%method, path, status = status.as_u16(), micros = took.as_micros() as u64, "answered a server");
        response.map(Full::new)
    }
}

/// The answer of a request whose handling panicked on the way to the homeserver or back.
pub fn broken() -> Response<Full<Bytes>> {
    ApiError::internal("the answer was lost to a panic").into_response().map(Full::new)
}
