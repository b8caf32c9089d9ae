//! Where the web comes in: which homeserver of the zone a request is for, and what is answered without asking one.
use std::{
    cell::RefCell,
    collections::BTreeMap,
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
    domain::identity::PublicKey,
    homeserver::rate_limits::subscriber,
    p2p::gateway::{self, Refusal},
};

use super::carrying::Carrying;
use crate::{federation::request, node::client_door::client_address};

/// Longer than homeservers keep a connection they do not use, so that it is they who close it.
pub const IDLE_MAX: Duration = Duration::from_secs(150);

/// Requests of one address, and of all, that are under way: each may have a body of 8 MiB in memory.
const UNDER_WAY_PER_ADDRESS_MAX: usize = 32;
const UNDER_WAY_MAX: usize = 256;

const WELL_KNOWN: &str = "/.well-known/matrix/server";

pub struct Door {
    carrying: Rc<Carrying>,
    public_port: u16,
    under_way: Rc<RefCell<BTreeMap<IpAddr, usize>>>,
}

impl Door {
    pub fn new(carrying: Rc<Carrying>, public_port: u16) -> Self {
        Self { carrying, public_port, under_way: Rc::default() }
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
        self.carrying.admit(address)?;
        let key = gateway::addressee(&host(&request)?, self.carrying.zone())?;
        if request.uri().path() == WELL_KNOWN {
            return self.well_known(request.method(), &key);
        }
        gateway::check_incoming(&request)?;
        let _place = Place::take(&self.under_way, subscriber(address))?;
        match request::read(request).await {
            Ok((_, request)) => self.carrying.carry_in(key, request).await,
            Err(error) => Ok(error.into_response()),
        }
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

/// One request under way; given back when dropped.
struct Place {
    under_way: Rc<RefCell<BTreeMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Place {
    fn take(under_way: &Rc<RefCell<BTreeMap<IpAddr, usize>>>, address: IpAddr) -> Result<Self, Refusal> {
        let mut places = under_way.borrow_mut();
        let taken = places.values().sum::<usize>();
        let of_address = places.get(&address).copied().unwrap_or_default();
        if taken >= UNDER_WAY_MAX || of_address >= UNDER_WAY_PER_ADDRESS_MAX {
            let message = "Too many requests are under way.";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "M_LIMIT_EXCEEDED", message));
        }
        places.insert(address, of_address + 1);
        Ok(Self { under_way: under_way.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.under_way.borrow_mut();
        let left = places.get(&self.address).map_or(0, |taken| taken - 1);
        if left == 0 {
            places.remove(&self.address);
        } else {
            places.insert(self.address, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_each_and_for_all_and_given_back() {
        let under_way = Rc::default();
        let address = |number: u8| IpAddr::from([192, 0, 2, number]);
        let mut held = Vec::new();
        while let Ok(place) = Place::take(&under_way, address(1)) {
            held.push(place);
        }
        assert_eq!(held.len(), UNDER_WAY_PER_ADDRESS_MAX);
        for number in 2..=u8::MAX {
            while let Ok(place) = Place::take(&under_way, address(number)) {
                held.push(place);
            }
        }
        assert_eq!(held.len(), UNDER_WAY_MAX);
        held.truncate(1);
        assert!(Place::take(&under_way, address(9)).is_ok());
        held.clear();
        assert!(under_way.borrow().is_empty());
    }
}
