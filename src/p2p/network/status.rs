//! What a shell shows of the network.
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use ruma::OwnedServerName;

use super::{
    Network,
    known_peers::{DirectAttempt, Known, Unreached},
};
use crate::p2p::{address_book::RelayAddress, connections::Path};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkStatus {
    pub peer_id: PeerId,
    /// One per configured relay.
    pub relays: Vec<RelayStatus>,
    /// Where peers can dial us.
    pub addresses: Vec<Multiaddr>,
    /// Homeservers met or looked for since the start.
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
    pub peer: PeerId,
    pub server: OwnedServerName,
    pub state: PeerState,
    /// When it last showed that it is alive, in milliseconds since 1970.
    pub seen_ms: Option<u64>,
    /// The last attempt at a direct path.
    pub direct: Option<DirectAttempt>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerState {
    Connected {
        path: Path,
        round_trip_ms: Option<u64>,
    },
    /// Being dialed.
    Connecting,
    /// Why it was not reached last; `None` if that was not tried since it was lost.
    Away(Option<Unreached>),
}

impl PeerStatus {
    /// What carries the connection there is.
    pub fn path(&self) -> Option<Path> {
        if let PeerState::Connected { path, .. } = self.state { Some(path) } else { None }
    }
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
        let (homeservers, reaching) = (self.0.homeservers.borrow(), self.0.reaching.borrow());
        let peer = |(peer, server, known): (&PeerId, &OwnedServerName, &Known)| {
            let path = connections.path(peer).filter(|_| homeservers.contains_key(peer));
            let state = match path {
                Some(path) => PeerState::Connected { path, round_trip_ms: known.round_trip_ms },
                None if reaching.contains_key(peer) => PeerState::Connecting,
                None => PeerState::Away(known.unreached.clone()),
            };
            PeerStatus {
                peer: *peer,
                server: server.clone(),
                state,
                seen_ms: known.seen_ms,
                direct: known.direct.clone(),
            }
        };
        let peers = self.0.known.borrow().homeservers().map(peer).collect();
        NetworkStatus { peer_id: self.0.local, relays, addresses, peers }
    }
}
