//! A peer for tests/interop, where unmodified js-libp2p dials it and is dialed by it.
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use libp2p_webrtc_p2p::address::is_direct;
use wasm_bindgen::prelude::*;

use crate::webrtc::{Peer, in_time, there_and_back};

const ECHOED_BYTES: u32 = 1024 * 1024;

#[wasm_bindgen]
pub struct InteropPeer(Peer);

#[wasm_bindgen]
impl InteropPeer {
    /// With a reservation at `relay`, `<transport>/p2p/<id>`. Answers `/echo/1.0.0`, ping and identify.
    pub async fn start(relay: String) -> InteropPeer {
        crate::install_log();
        let peer = Peer::start(js_sys::Date::now() as u64, crate::in_window);
        peer.echo(false);
        let relay: Multiaddr = relay.parse().unwrap();
        let dialed = relay.clone();
        peer.act(move |swarm, _| swarm.dial(dialed).unwrap());
        peer.until("the relay", |seen| seen.connections.len() == 1).await;
        peer.act(move |swarm, _| {
            swarm.listen_on(relay.with(Protocol::P2pCircuit)).unwrap();
        });
        peer.until("a reservation", |seen| seen.listening.iter().any(is_direct)).await;
        Self(peer)
    }

    pub fn id(&self) -> String {
        self.0.id.to_string()
    }

    /// Where we can be dialed, as the specification writes it.
    pub fn address(&self) -> String {
        self.0.seen.borrow().listening.iter().find(|address| is_direct(address)).unwrap().to_string()
    }

    pub async fn dial(&self, address: String) {
        self.0.dial_address(address.parse().unwrap());
        self.only_direct().await;
    }

    /// Waits until there is one direct connection that has answered a ping, and closes the circuit beside it.
    pub async fn only_direct(&self) {
        let spoken = |seen: &crate::webrtc::Seen| {
            let direct =
                |id| seen.connections.get(id).is_some_and(|(_, endpoint)| is_direct(endpoint.get_remote_address()));
            !seen.failed.is_empty() || (seen.settled() && seen.pinged.iter().any(direct))
        };
        self.0.until("a direct connection that answers", spoken).await;
        assert!(self.0.seen.borrow().failed.is_empty(), "{:?}", self.0.seen.borrow().failed);
        self.0.close(|endpoint| endpoint.is_relayed());
        self.0.until("no circuit", |seen| !seen.connections.values().any(|(_, endpoint)| endpoint.is_relayed())).await;
        assert_eq!(self.0.seen.borrow().direct(), 1);
    }

    /// A megabyte to the peer's echo and back, each way closed by itself.
    pub async fn echo(&self, peer: String) {
        let stream = in_time("a stream", self.0.open(peer.parse().unwrap(), false)).await;
        let sent: Vec<u8> = (0..ECHOED_BYTES).map(|n| (n % 251) as u8).collect();
        let received = in_time("the echo", there_and_back(stream, &sent)).await;
        assert!(received == sent, "{} bytes came back", received.len());
    }

    /// What the peer says it is.
    pub async fn agent(&self, peer: String) -> String {
        let peer: PeerId = peer.parse().unwrap();
        self.0.until("identify", |seen| seen.agents.contains_key(&peer)).await;
        self.0.seen.borrow().agents[&peer].clone()
    }

    /// Closes every connection but the relay's.
    pub async fn part(&self) {
        let is_peers =
            |endpoint: &libp2p::core::ConnectedPoint| endpoint.is_relayed() || is_direct(endpoint.get_remote_address());
        self.0.close(is_peers);
        self.0.until("alone", move |seen| !seen.connections.values().any(|(_, endpoint)| is_peers(endpoint))).await;
    }
}
