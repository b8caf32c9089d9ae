//! The gateway as a server with a key: what it fetched by HTTPS of the keys of others, signed by it. It is a homeserver without
//! users, of which nothing but that is asked.
use std::rc::Rc;

use bytes::Bytes;
use futures::{FutureExt, future::LocalBoxFuture};
use http::{Request, Response};
use ruma::{OwnedServerName, ServerName};
use warren::{
    domain::{identity::Identity, zone::Zone},
    homeserver::{Homeserver, Options, StartError},
    ports::{Environment, Lane, Transport, TransportError},
    storage::memory::MemoryStore,
};

use super::tabs::Tabs;
use crate::{
    federation::FederationClient,
    node::environment::{BlockingPool, LocalTasks, SystemClock, SystemEntropy},
};

#[derive(Debug, thiserror::Error)]
pub enum NotaryError {
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Starts it. What it knows of keys is in memory, and asked for again by the next one.
pub async fn start(
    identity: Identity,
    zone: Zone,
    tabs: Rc<Tabs>,
    web: FederationClient,
) -> Result<Rc<Homeserver>, NotaryError> {
    let environment = Environment {
        store: Rc::new(MemoryStore::default()),
        transport: Rc::new(Ways { zone, tabs, web }),
        clock: Rc::new(SystemClock),
        entropy: Rc::new(SystemEntropy::check().map_err(NotaryError::Random)?),
        tasks: Rc::new(LocalTasks),
        offload: Rc::new(BlockingPool::default()),
        push_gateways: None,
    };
    let options = Options { limit_rates: true, presence: false, ..Options::default() };
    Ok(Homeserver::start(environment, Rc::new(identity), options).await?)
}

/// To tabs by libp2p, to all others by HTTPS.
struct Ways {
    zone: Zone,
    tabs: Rc<Tabs>,
    web: FederationClient,
}

impl Transport for Ways {
    fn request(
        &self,
        destination: OwnedServerName,
        lane: Lane,
        mut request: Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<Response<Bytes>, TransportError>> {
        let Some(key) = self.zone.key_of(&destination) else {
            let web = self.web.clone();
            return async move { web.request(&destination, lane, request).await }.boxed_local();
        };
        let tabs = self.tabs.clone();
        async move {
            if let Ok(host) = destination.as_str().parse() {
                request.headers_mut().insert(http::header::HOST, host);
            }
            let asked = tabs.request(&key, request).await;
            asked.map_err(|refusal| TransportError::Unreachable { server: destination, reason: refusal.message })
        }
        .boxed_local()
    }

    fn connected(&self) -> Vec<OwnedServerName> {
        Vec::new()
    }

    fn add_address_hints(&self, _: &ServerName, _: Vec<String>) {}
}
