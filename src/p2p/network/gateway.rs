//! Our gateway, through which servers of the web are reached and reach us.
use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use libp2p::PeerId;
use ruma::{OwnedServerName, ServerName};

use super::{Inner, NetworkEvent, requests::Failure};
use crate::{
    domain::{
        identity::PublicKey,
        zone::{Found, Zone},
    },
    p2p::{address_book::RelayAddress, lanes::Streams, peer_name, streams::Spoken},
    ports::Reach,
};

/// Streams to the gateway that are in use at once, below what it serves a peer. A server of the web that thinks long
/// holds one of them.
const STREAMS_MAX: usize = 12;

/// Servers of the web remembered as being there; for one more, another is forgotten.
const MET_MAX: usize = 1_024;

/// Which of our relays is a gateway, and of which zone: as the page's configuration says.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its peer id.
    pub peer: String,
    /// The DNS zone of which it carries requests.
    pub zone: String,
}

impl Gateway {
    /// What it is called in its zone, as a server with a key; `None` where it is no gateway.
    pub fn server_name(&self) -> Option<OwnedServerName> {
        let key = peer_name::public_key(&self.peer.parse().ok()?)?;
        Some(Zone::parse(&self.zone).ok()?.name_of(&key))
    }
}

/// The gateway as requests use it.
pub(super) struct Door {
    relay: RelayAddress,
    /// Our name is of its zone, so that the web can answer.
    serves_us: bool,
    streams: Rc<Streams>,
    /// Servers of the web that are there, as far as can be said: they answered or asked, and were not missed since.
    met: RefCell<BTreeSet<OwnedServerName>>,
}

impl Door {
    /// `None` where it is none of `relays`, or its zone is no DNS name.
    pub(super) fn new(gateway: Gateway, server_name: &ServerName, relays: &[RelayAddress]) -> Option<Self> {
        let Gateway { peer, zone } = gateway;
        let relay = relays.iter().find(|relay| relay.peer.to_string() == peer);
        let (Some(relay), Ok(zone)) = (relay, Zone::parse(&zone)) else {
            tracing::warn!(peer, zone, "this is no gateway: one of the relays, and a DNS name");
            return None;
        };
        let serves_us = zone.key_of(server_name).is_some();
        if !serves_us {
            tracing::info!(zone = zone.as_str(), "our name is not of the gateway's zone");
        }
        Some(Self { relay: relay.clone(), serves_us, streams: Streams::new(STREAMS_MAX), met: RefCell::default() })
    }

    pub(super) fn is(&self, peer: &PeerId) -> bool {
        self.relay.peer == *peer
    }
}

impl Inner {
    /// Whether a way to `server` exists, as far as its name and ours say.
    pub(super) fn reach_of(&self, server: &ServerName) -> Reach {
        if let Some(peer) = peer_name::peer_of_server(server) {
            return if self.homeservers.borrow().contains_key(&peer) { Reach::Now } else { Reach::Later };
        }
        match &self.gateway {
            Some(gateway) if gateway.serves_us => {
                let connected = self.connections.borrow().is_connected(&gateway.relay.peer);
                if connected { Reach::Now } else { Reach::Later }
            }
            _ => Reach::Never { reason: self.why_never() },
        }
    }

    fn why_never(&self) -> String {
        let (name, why) = match (Found::of(&self.server_name), &self.gateway) {
            (Found::OnTheWeb, _) => return "it is not connected to other servers of the web".to_owned(),
            (Found::AmongPeers, _) => (&self.server_name, "which no server of the web can look up"),
            (Found::OnBoth, None) => (&self.server_name, "and this page offers no gateway to the web"),
            (Found::OnBoth, Some(_)) => (&self.server_name, "and the gateway of this page is for other names"),
        };
        let suffix = name.as_str().split_once('.').map_or("", |(_, suffix)| suffix);
        format!("the name of this homeserver ends in .{suffix}, {why}")
    }

    /// Has the gateway carry `request` to a server of the web.
    pub(super) async fn request_through_gateway(
        self: &Rc<Self>,
        destination: &ServerName,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, Failure> {
        let Some(gateway) = self.gateway.as_ref().filter(|gateway| gateway.serves_us) else {
            // Whoever is served by gateways at all may find another page, or this one otherwise, the next time.
            let for_ever = !Found::of(&self.server_name).meets(Found::OnTheWeb);
            return Err(if for_ever { Failure::Never } else { Failure::Unreachable }(self.why_never()));
        };
        if !request.headers().contains_key(header::AUTHORIZATION) {
            return Err(Failure::Unreachable("a gateway carries nothing that is not signed".to_owned()));
        }
        let answer = self.ask_at_gateway(gateway, destination, request).await;
        // What a gateway answers for a server that it does not reach, as proxies do.
        let unreached = [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
        match &answer {
            Ok(answer) if !unreached.contains(&answer.status()) => self.met_on_the_web(destination),
            _ => drop(gateway.met.borrow_mut().remove(destination)),
        }
        answer
    }

    /// A server of the web showed that it is there, and reaches us.
    pub(super) fn met_on_the_web(&self, server: &ServerName) {
        let Some(gateway) = self.gateway.as_ref().filter(|gateway| gateway.serves_us) else { return };
        if PublicKey::of_server_name(server).is_some() || gateway.met.borrow().contains(server) {
            return;
        }
        {
            let mut met = gateway.met.borrow_mut();
            if met.len() >= MET_MAX {
                met.pop_first();
            }
            met.insert(server.to_owned());
        }
        self.tell(NetworkEvent::PeerConnected(server.to_owned()));
    }

    /// The last connection to `peer` ended: if it was our gateway, the web is out of reach.
    pub(super) fn gateway_gone(&self, peer: &PeerId) {
        if let Some(gateway) = self.gateway.as_ref().filter(|gateway| gateway.is(peer)) {
            gateway.met.borrow_mut().clear();
        }
    }

    /// Servers of the web that are there.
    pub(super) fn on_the_web(&self) -> Vec<OwnedServerName> {
        self.gateway.iter().flat_map(|gateway| gateway.met.borrow().iter().cloned().collect::<Vec<_>>()).collect()
    }

    pub(super) async fn ask_at_gateway(
        self: &Rc<Self>,
        gateway: &Door,
        host: &ServerName,
        mut request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, Failure> {
        let host = HeaderValue::from_str(host.as_str());
        request.headers_mut().insert(header::HOST, host.map_err(|error| Failure::Unreachable(error.to_string()))?);
        if let Err(unreached) = self.reach_relay(&gateway.relay).await {
            return Err(Failure::Unreachable(format!("the gateway is not reachable: {}", unreached.reason)));
        }
        self.request_on(gateway.relay.peer, Spoken::Gateway, &gateway.streams, request).await
    }
}
