//! Where the web comes in: which homeserver of the zone a request is for, and what is answered without asking one.
use std::{
    net::IpAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use warren::{
    api::ApiError,
    domain::{identity::PublicKey, rate_limit::Exhausted},
    homeserver::rate_limits::subscriber,
    p2p::gateway::{self, Refusal},
};

use super::{
    carrying::{Carrying, limited},
    places::{self, Places},
};
use crate::{federation::request, node::client_door::client_address};

/// Longer than homeservers keep a connection they do not use, so that it is they who close it.
pub const IDLE_MAX: Duration = Duration::from_secs(150);

const WELL_KNOWN: &str = "/.well-known/matrix/server";

pub struct Door {
    carrying: Rc<Carrying>,
    public_port: u16,
    places: Places,
}

impl Door {
    pub fn new(carrying: Rc<Carrying>, public_port: u16) -> Self {
        Self { carrying, public_port, places: Places::default() }
    }

    pub async fn answer(&self, request: Request<Incoming>, remote: IpAddr) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let method = request.method().clone();
        let response = self.respond(request, remote).await.unwrap_or_else(Refusal::into_response);
        let (status, micros) = (response.status().as_u16(), started.elapsed().as_micros() as u64);
        // Neither who nor what: whom tabs talk to is theirs to tell.
        tracing::debug!(%method, status, micros, "carried in");
        response.map(Full::new)
    }

    async fn respond(&self, request: Request<Incoming>, remote: IpAddr) -> Result<Response<Bytes>, Refusal> {
        let address = client_address(request.headers(), remote);
        if let Err(Exhausted { retry_after_ms }) = self.carrying.admit(address) {
            return Ok(limited(retry_after_ms));
        }
        let key = gateway::addressee(&host(&request)?, self.carrying.zone())?;
        if request.uri().path() == WELL_KNOWN {
            return self.well_known(request.method(), &key);
        }
        gateway::check_incoming(&request)?;
        let place = self.places.take(subscriber(address)).await?;
        let carried = async {
            match request::read(request).await {
                Ok((_, request)) => self.carrying.carry_in(key, request).await,
                Err(error) => Ok(error.into_response()),
            }
        };
        tokio::select! { answer = carried => answer, () = place.lost() => Err(places::put_out()) }
    }

    /// Every name of the zone is reached by itself, at the port of this gateway: its certificate is for all of them.
    fn well_known(&self, method: &Method, key: &PublicKey) -> Result<Response<Bytes>, Refusal> {
        if *method != Method::GET {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED", "This is for reading."));
        }
        let name = self.carrying.zone().name_of(key);
        Ok(gateway::json_response(StatusCode::OK, &json!({ "m.server": format!("{name}:{}", self.public_port) })))
    }
}

/// The answer of a request whose handling panicked.
pub fn broken() -> Response<Full<Bytes>> {
    ApiError::internal("the answer was lost to a panic").into_response().map(Full::new)
}

fn host(request: &Request<Incoming>) -> Result<String, Refusal> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) {
        (Some(host), None) => Ok(host.to_owned()),
        _ => Err(Refusal::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", "The request has to name one host.")),
    }
}
