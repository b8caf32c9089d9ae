//! Both ways through the gateway: what is carried, how often, and what becomes of it.
use std::{cell::RefCell, net::IpAddr, num::NonZeroUsize, rc::Rc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use ruma::OwnedServerName;
use serde_json::json;
use tokio::task::spawn_local;
use warren::{
    api::{self, FEDERATION_BODY_MAX_BYTES, Origin},
    domain::{
        identity::{Identity, PublicKey},
        rate_limit::{Buckets, Exhausted, Rate},
        zone::Zone,
    },
    homeserver::{Homeserver, rate_limits::subscriber},
    p2p::{
        gateway::{self, Refusal},
        http::MAX_ANSWER_BODY_BYTES,
    },
    ports::{Clock, Lane, TransportError},
};

use super::{
    notary::{self, NotaryError},
    published_keys::PublishedKeys,
    tabs::Tabs,
};
use crate::{federation::FederationClient, node::environment::SystemClock};

/// What one tab may ask of the web: as often as peers may ask each other.
const TAB_RATE: Rate = Rate { burst: 1_000, refill_ms: 10 };
/// What one address may ask of tabs: a large homeserver speaks to many.
const ADDRESS_RATE: Rate = Rate { burst: 4_000, refill_ms: 2 };
/// How many of each are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");

const KEYS_PATH: &str = "/_matrix/key/v2/server";
/// What the gateway answers for itself, as a notary.
const OWN_PATHS: &str = "/_matrix/key/v2/";

pub struct Carrying {
    zone: Zone,
    own_key: PublicKey,
    tabs: Rc<Tabs>,
    web: FederationClient,
    notary: Rc<Homeserver>,
    keys: RefCell<PublishedKeys>,
    tab_rates: RefCell<Buckets<PublicKey>>,
    address_rates: RefCell<Buckets<IpAddr>>,
}

impl Carrying {
    pub async fn start(
        zone: Zone,
        identity: Identity,
        tabs: Rc<Tabs>,
        web: FederationClient,
    ) -> Result<Self, NotaryError> {
        let own_key = identity.public_key();
        let notary = notary::start(identity, zone.clone(), tabs.clone(), web.clone()).await?;
        Ok(Self {
            zone,
            own_key,
            tabs,
            web,
            notary,
            keys: RefCell::default(),
            tab_rates: RefCell::new(Buckets::new(TAB_RATE, REMEMBERED)),
            address_rates: RefCell::new(Buckets::new(ADDRESS_RATE, REMEMBERED)),
        })
    }

    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Before anything of a request from the web is read but its head.
    pub fn admit(&self, address: IpAddr) -> Result<(), Exhausted> {
        self.address_rates.borrow_mut().take(subscriber(address), 1, SystemClock.now_ms())
    }

    /// A tab's request to a server of the web, or to the gateway itself.
    pub async fn out(self: Rc<Self>, tab: PublicKey, request: Request<Bytes>) -> Response<Bytes> {
        self.carry_out(tab, request).await.unwrap_or_else(Refusal::into_response)
    }

    async fn carry_out(self: &Rc<Self>, tab: PublicKey, request: Request<Bytes>) -> Result<Response<Bytes>, Refusal> {
        let now_ms = SystemClock.now_ms();
        if let Err(Exhausted { retry_after_ms }) = self.tab_rates.borrow_mut().take(tab, 1, now_ms) {
            return Ok(limited(retry_after_ms));
        }
        if self.is_for_us(&request) {
            return self.ask_us(request, Origin::Peer(tab)).await;
        }
        let destination = gateway::destination(&request, &tab, &self.zone)?;
        if self.keys.borrow_mut().is_due(&tab, now_ms) {
            self.learn_keys(tab);
        }
        let request = gateway::carried_request(request, &destination)?;
        // In the order in which it comes: a tab sends the next transaction when the one before is answered.
        let answer = self.web.request(&destination, Lane::Queries, request).await.map_err(unreached)?;
        if answer.body().len() > MAX_ANSWER_BODY_BYTES {
            let message = format!("{destination} answered more than {MAX_ANSWER_BODY_BYTES} bytes.");
            return Err(Refusal::new(StatusCode::BAD_GATEWAY, "M_TOO_LARGE", message));
        }
        tracing::debug!(%destination, status = answer.status().as_u16(), "carried out");
        Ok(gateway::carried_answer(answer))
    }

    /// A request of the web to the homeserver with that key.
    pub async fn carry_in(&self, key: PublicKey, request: Request<Bytes>) -> Result<Response<Bytes>, Refusal> {
        gateway::check_incoming(&request)?;
        if request.body().len() > FEDERATION_BODY_MAX_BYTES {
            let message = format!("The request has more than {FEDERATION_BODY_MAX_BYTES} bytes.");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE", message));
        }
        if key == self.own_key {
            return self.ask_us(request, Origin::Https).await;
        }
        let asks_for_keys = request.method() == Method::GET && request.uri().path() == KEYS_PATH;
        let request = gateway::carried_request(request, &self.zone.name_of(&key))?;
        let answered = self.tabs.request(&key, request).await;
        if !asks_for_keys {
            return answered.map(gateway::carried_answer);
        }
        match answered {
            Ok(answer) => {
                if answer.status() == StatusCode::OK {
                    self.keys.borrow_mut().keep(key, &self.zone, answer.body(), SystemClock.now_ms());
                }
                Ok(gateway::carried_answer(answer))
            }
            Err(refusal) => {
                let kept = self.keys.borrow_mut().get(&key).ok_or(refusal)?;
                let json = header::HeaderValue::from_static("application/json");
                let mut response = Response::new(kept);
                response.headers_mut().insert(header::CONTENT_TYPE, json);
                Ok(response)
            }
        }
    }

    fn is_for_us(&self, request: &Request<Bytes>) -> bool {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        host.is_some_and(|host| host == self.own_name().as_str())
    }

    fn own_name(&self) -> OwnedServerName {
        self.zone.name_of(&self.own_key)
    }

    async fn ask_us(&self, request: Request<Bytes>, origin: Origin) -> Result<Response<Bytes>, Refusal> {
        if !request.uri().path().starts_with(OWN_PATHS) {
            let message = "A gateway has keys, and no rooms.";
            return Err(Refusal::new(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", message));
        }
        Ok(api::handle(&self.notary, request, origin).await)
    }

    /// Has what the tab publishes ready for when it sleeps.
    fn learn_keys(self: &Rc<Self>, tab: PublicKey) {
        let carrying = self.clone();
        spawn_local(async move {
            let request = Request::get(KEYS_PATH).body(Bytes::new()).expect("a path and nothing else is a request");
            if let Err(refusal) = carrying.carry_in(tab, request).await {
                tracing::debug!(?tab, reason = refusal.message, "a tab does not say its keys");
            }
        });
    }
}

/// The answer to who asks too often.
pub fn limited(retry_after_ms: u64) -> Response<Bytes> {
    let body =
        json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "You ask too often.", "retry_after_ms": retry_after_ms });
    let mut response = gateway::json_response(StatusCode::TOO_MANY_REQUESTS, &body);
    response.headers_mut().insert(header::RETRY_AFTER, retry_after_ms.div_ceil(1_000).into());
    response
}

/// As proxies say that what is behind them does not answer.
fn unreached(error: TransportError) -> Refusal {
    let status = match error {
        TransportError::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    Refusal::new(status, "M_UNKNOWN", format!("The gateway says: {error}."))
}
