//! Which way a request to a homeserver takes: by libp2p to those whose names certify their keys, to the others by HTTPS.
use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeSet,
    rc::{Rc, Weak},
};

use bytes::Bytes;
use futures::{FutureExt, future::LocalBoxFuture};
use http::{Request, Response};
use ruma::{OwnedServerName, ServerName};
use warren::{
    domain::identity::PublicKey,
    homeserver::Homeserver,
    p2p::network::Network,
    ports::{Lane, Transport, TransportError, Wanted},
};

use crate::federation::FederationClient;

/// Servers remembered as being there; one more, and any of them is forgotten.
const THERE_MAX: usize = 4_096;

/// Cheap to clone.
#[derive(Clone)]
pub struct NodeTransport {
    peers: Network,
    web: FederationClient,
    there: Rc<There>,
}

/// The servers of the web that are there, as far as can be said: asked or heard from, and not missed since.
#[derive(Default)]
struct There {
    servers: RefCell<BTreeSet<OwnedServerName>>,
    homeserver: OnceCell<Weak<Homeserver>>,
}

impl NodeTransport {
    pub fn new(peers: Network, web: FederationClient) -> Self {
        Self { peers, web, there: Rc::default() }
    }

    /// Has `homeserver` told of servers that come to be there.
    pub fn tell(&self, homeserver: &Rc<Homeserver>) {
        let _told_already = self.there.homeserver.set(Rc::downgrade(homeserver));
    }
}

impl Transport for NodeTransport {
    fn request(
        &self,
        destination: OwnedServerName,
        lane: Lane,
        request: Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<Response<Bytes>, TransportError>> {
        if is_peer(&destination) {
            return self.peers.request(destination, lane, request);
        }
        let (web, there) = (self.web.clone(), self.there.clone());
        async move {
            let outcome = web.request(&destination, lane, request).await;
            match &outcome {
                // A proxy that answers for a homeserver which is down.
                Ok(answer) if matches!(answer.status().as_u16(), 502..=504) => there.missed(&destination),
                Ok(_) => there.met(&destination),
                Err(_) => there.missed(&destination),
            }
            outcome
        }
        .boxed_local()
    }

    fn connected(&self) -> Vec<OwnedServerName> {
        let mut connected = self.peers.connected();
        connected.extend(self.there.servers.borrow().iter().cloned());
        connected
    }

    fn known_addresses(&self, server: &ServerName) -> Vec<String> {
        self.peers.known_addresses(server)
    }

    fn add_address_hints(&self, server: &ServerName, addresses: Vec<String>) {
        if is_peer(server) {
            self.peers.add_address_hints(server, addresses);
        }
    }

    fn heard_from(&self, server: &ServerName) {
        if !is_peer(server) {
            self.there.met(server);
        }
    }

    fn set_wanted(&self, wanted: Vec<Wanted>) {
        self.peers.set_wanted(wanted.into_iter().filter(|wanted| is_peer(&wanted.server)).collect());
    }
}

fn is_peer(server: &ServerName) -> bool {
    PublicKey::of_server_name(server).is_some()
}

impl There {
    fn met(&self, server: &ServerName) {
        if self.servers.borrow().contains(server) {
            return;
        }
        {
            let mut servers = self.servers.borrow_mut();
            if servers.len() >= THERE_MAX {
                servers.pop_first();
            }
            servers.insert(server.to_owned());
        }
        if let Some(homeserver) = self.homeserver.get().and_then(Weak::upgrade) {
            homeserver.peer_connected(server.to_owned());
        }
    }

    fn missed(&self, server: &ServerName) {
        self.servers.borrow_mut().remove(server);
    }
}
