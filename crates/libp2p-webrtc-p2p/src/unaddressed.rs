//! For behaviours that tell a peer at which address it is seen: over a direct connection there is none to be told.
use std::task::{Context, Poll};

use libp2p_core::{Endpoint, Multiaddr, transport::PortUse};
use libp2p_identity::PeerId;
use libp2p_swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};

use crate::address;

/// Keeps the addresses of direct connections from a behaviour, identify's above all: libp2p's tells every peer what its
/// connection is called, and js-libp2p takes `/webrtc/p2p/<peer>` for the address of a socket and then drops all else
/// that identify has said. An empty address is passed over by everybody.
#[derive(Clone, Debug, Default)]
pub struct Unaddressed<B>(pub B);

fn shown(address: &Multiaddr) -> Multiaddr {
    if address::is_direct(address) { Multiaddr::empty() } else { address.clone() }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Unaddressed<B> {
    type ConnectionHandler = B::ConnectionHandler;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.0.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.0.handle_established_inbound_connection(connection, peer, local, &shown(remote))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.0.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.0.handle_established_outbound_connection(connection, peer, &shown(address), role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        self.0.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.0.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            match self.0.poll(context) {
                // What a peer has told us of a direct connection is no place where we can be dialed, either.
                Poll::Ready(ToSwarm::NewExternalAddrCandidate(address))
                    if address.is_empty() || address::is_direct(&address) => {}
                other => return other,
            }
        }
    }
}
