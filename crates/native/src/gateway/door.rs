//! Where the web comes in: which homeserver of the zone a request is for, and what is answered without asking one.
use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use warren::{
    api::ApiError,
    domain::{identity::PublicKey, rate_limit::Exhausted},
    homeserver::rate_limits::subscriber,
    p2p::gateway::{self, Refusal},
};

use super::carrying::{Carrying, limited};
use crate::{federation::request, node::client_door::client_address};

/// Longer than homeservers keep a connection they do not use, so that it is they who close it.
pub const IDLE_MAX: Duration = Duration::from_secs(150);

/// Requests of one address, and of all, that are under way: each may have a body of 8 MiB in memory. Further ones wait, with
/// nothing but their heads read: a server that tells a hundred tabs at once is no flood, and takes a refusal for an outage.
const UNDER_WAY_PER_ADDRESS_MAX: usize = 32;
const UNDER_WAY_MAX: usize = 256;
/// A request waits so long for its turn, below the minute that servers of the web wait for an answer.
const TURN_MAX: Duration = Duration::from_secs(20);
/// Addresses whose places are remembered; beyond it those without a request are forgotten. A connection has one request at a
/// time, so there are never more with one than there are connections.
const ADDRESSES_KEPT: usize = 1_024;

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
        let _place = self.places.take(subscriber(address)).await?;
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

/// Places for requests under way, for each address and for all.
struct Places {
    all: Arc<Semaphore>,
    of_address: RefCell<BTreeMap<IpAddr, Arc<Semaphore>>>,
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(UNDER_WAY_MAX)), of_address: RefCell::default() }
    }
}

/// Given back when dropped.
type Place = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Places {
    /// First come, first served. One address's own come first, so that its queue takes none of the others'.
    async fn take(&self, address: IpAddr) -> Result<Place, Refusal> {
        let own = self.of(address);
        let turn = async { (own.acquire_owned().await, self.all.clone().acquire_owned().await) };
        match timeout(TURN_MAX, turn).await {
            Ok((own, all)) => {
                let open = "nobody closes the semaphores";
                Ok((own.expect(open), all.expect(open)))
            }
            Err(_) => {
                let message = "Too many requests are under way.";
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "M_LIMIT_EXCEEDED", message))
            }
        }
    }

    fn of(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut of_address = self.of_address.borrow_mut();
        if of_address.len() >= ADDRESSES_KEPT {
            of_address.retain(|_, places| Arc::strong_count(places) > 1);
        }
        of_address.entry(address).or_insert_with(|| Arc::new(Semaphore::new(UNDER_WAY_PER_ADDRESS_MAX))).clone()
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    fn address(number: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, number])
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_bounded_for_each_and_for_all_and_given_back() {
        let places = Places::default();
        let take = async |address: IpAddr, count: usize| -> Vec<Place> {
            join_all((0..count).map(|_| places.take(address))).await.into_iter().flatten().collect()
        };
        let mut held = take(address(1), UNDER_WAY_PER_ADDRESS_MAX + 5).await;
        assert_eq!(held.len(), UNDER_WAY_PER_ADDRESS_MAX, "five waited in vain");
        // Who waits for itself keeps nobody else waiting.
        for number in 2..=9 {
            held.extend(take(address(number), UNDER_WAY_PER_ADDRESS_MAX).await);
        }
        assert_eq!(held.len(), UNDER_WAY_MAX);
        let refusal = places.take(address(10)).await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.errcode), (503, "M_LIMIT_EXCEEDED"));
        held.truncate(1);
        assert!(places.take(address(10)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_tells_a_hundred_tabs_at_once_waits_its_turn() {
        let places = Places::default();
        let requests = (0..100).map(|_| async {
            let _place = places.take(address(1)).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, Refusal>(())
        });
        assert!(join_all(requests).await.iter().all(Result::is_ok));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_without_a_request_are_forgotten() {
        let places = Places::default();
        let held = places.take(address(1)).await.unwrap();
        for number in 0..10_000_u32 {
            drop(places.take(IpAddr::from(number.to_be_bytes())).await.unwrap());
        }
        assert!(places.of_address.borrow().len() <= ADDRESSES_KEPT);
        let waiting = join_all((0..UNDER_WAY_PER_ADDRESS_MAX).map(|_| places.take(address(1)))).await;
        assert_eq!(waiting.iter().filter(|place| place.is_err()).count(), 1, "what is held still counts");
        drop(held);
    }
}
