//! What a shell shows of the network.
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use ruma::OwnedServerName;

use super::Network;
use crate::p2p::{address_book::RelayAddress, connections::Path};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkStatus {
    pub peer_id: PeerId,
    /// One per configured relay.
    pub relays: Vec<RelayStatus>,
    /// Where peers can dial us.
    pub addresses: Vec<Multiaddr>,
    /// Homeservers with a live connection.
    pub peers: Vec<PeerStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayStatus {
    /// `<transport>/p2p/<relay>`.
    pub address: Multiaddr,
    pub state: RelayState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayState {
    /// Not tried to the end yet.
    Connecting,
    /// Peers can dial us at these addresses.
    Ready { addresses: Vec<Multiaddr> },
    /// Tried again soon.
    Offline { reason: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    pub server: OwnedServerName,
    pub path: Path,
}

impl RelayStatus {
    pub(super) fn new(relay: &RelayAddress) -> Self {
        Self { address: relay.address.clone().with(Protocol::P2p(relay.peer)), state: RelayState::Connecting }
    }
}

impl Network {
    pub fn status(&self) -> NetworkStatus {
        let relays = self.0.reservations.borrow().clone();
        let ready = relays.iter().filter_map(|relay| match &relay.state {
            RelayState::Ready { addresses } => Some(addresses),
            _ => None,
        });
        let addresses = ready.flatten().cloned().collect();
        let connections = self.0.connections.borrow();
        let peer = |(peer, server): (&PeerId, &OwnedServerName)| {
            Some(PeerStatus { server: server.clone(), path: connections.path(peer)? })
        };
        let peers = self.0.homeservers.borrow().iter().filter_map(peer).collect();
        NetworkStatus { peer_id: self.0.local, relays, addresses, peers }
    }
}
