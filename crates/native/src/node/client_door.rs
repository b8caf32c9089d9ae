//! HTTP requests of clients, and of homeservers through the same proxy: read within limits, answered by the homeserver, every
//! answer to a client readable by any page.
use std::{net::IpAddr, rc::Rc};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;
use warren::{
    api::{self, ApiError, CLIENT_BODY_MAX_BYTES, ClientAddress, Origin},
    homeserver::Homeserver,
};

use super::{
    federation_door::FederationDoor,
    metrics::Metrics,
    shared_secret::{self, SharedSecret},
};
use crate::{federation::request, request_body};

/// The header in which a proxy adds whom it speaks for.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// What both clients and homeservers ask for; by a client's door it is for clients, whose pages may read the answer.
const OF_CLIENTS: &str = "/_matrix/federation/v1/openid/";

pub struct ClientDoor {
    homeserver: Rc<Homeserver>,
    secret: Option<SharedSecret>,
    metrics: Rc<Metrics>,
    /// Where homeservers go that come this way.
    servers: Rc<FederationDoor>,
}

impl ClientDoor {
    /// Without a `secret` nobody registers by one.
    pub fn new(
        homeserver: Rc<Homeserver>,
        secret: Option<SharedSecret>,
        metrics: Rc<Metrics>,
        servers: Rc<FederationDoor>,
    ) -> Self {
        Self { homeserver, secret, metrics, servers }
    }

    /// Answers one request. Dropped when its client goes away: what was begun is finished, and what waits ends.
    pub async fn answer(&self, request: Request<Incoming>, remote: IpAddr) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if request::is_federation(path) && !path.starts_with(OF_CLIENTS) {
            return self.servers.answer(request, remote).await;
        }
        let started = Instant::now();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let _in_flight = self.metrics.request_begins();
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(ClientAddress(client_address(&parts.headers, remote)));
        let response = match request_body::read(body, CLIENT_BODY_MAX_BYTES).await {
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

/// Who asks: whom a proxy on this machine says that it speaks for, else whoever is connected.
pub fn client_address(headers: &HeaderMap, remote: IpAddr) -> IpAddr {
    if !remote.to_canonical().is_loopback() {
        return remote;
    }
    // What stands before the last entry is what the client itself said.
    let last = headers.get_all(FORWARDED_FOR).iter().next_back().and_then(|value| value.to_str().ok());
    last.and_then(|list| list.rsplit(',').next()).and_then(|entry| entry.trim().parse().ok()).unwrap_or(remote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proxy_on_this_machine_is_believed_about_whom_it_speaks_for() {
        let of = |remote: &str, forwarded: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append(FORWARDED_FOR, value.parse().unwrap());
            }
            client_address(&headers, remote.parse().unwrap()).to_string()
        };
        assert_eq!(of("127.0.0.1", &["203.0.113.9, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(of("::1", &["203.0.113.9", "2001:db8::7"]), "2001:db8::7");
        assert_eq!(of("198.51.100.1", &["192.0.2.7"]), "198.51.100.1");
        assert_eq!(of("127.0.0.1", &["nonsense"]), "127.0.0.1");
        assert_eq!(of("127.0.0.1", &[]), "127.0.0.1");
    }
}
