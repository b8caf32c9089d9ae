//! Gets a connection to a peer: the one there is, or the one somebody is already making, or a new one.
use std::{cell::RefCell, collections::BTreeMap, pin::pin, rc::Rc};

use futures::{
    FutureExt,
    channel::oneshot,
    future::{Either, LocalBoxFuture, join_all, select},
};
use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};

use super::{
    Command, Inner, NetworkEvent, Reaching,
    known_peers::{Cause, Unreached},
};
use crate::p2p::{
    address_book::RelayAddress,
    turns::{TooMany, Turns},
};

/// Peers to which a circuit is asked for at the same time; others wait for their turn. Fewer than libp2p asks for (10), which
/// drops the rest, and fewer than a relay of libp2p takes of one peer.
const INTRODUCTIONS_AT_ONCE_MAX: usize = 8;

/// Peers that wait for their turn. More are not reached.
const INTRODUCTIONS_WAITING_MAX: usize = 512;

pub(super) fn introductions() -> Rc<Turns> {
    Turns::new(INTRODUCTIONS_AT_ONCE_MAX, INTRODUCTIONS_WAITING_MAX)
}

impl Inner {
    /// The connection to use for `peer`, made if need be. The error says why there is none.
    pub(super) async fn reach(self: &Rc<Self>, peer: PeerId) -> Result<ConnectionId, Unreached> {
        let best = self.connections.borrow().best(&peer);
        if let Some(connection) = best {
            return Ok(connection);
        }
        let dialing = Box::pin(self.clone().dial_peer(peer));
        share(&self.reaching, peer, dialing).await?;
        let best = self.connections.borrow().best(&peer);
        best.ok_or_else(|| Unreached::new(Cause::Other, "the connection was lost at once"))
    }

    /// A connection to `relay` itself, which is what circuits and reservations are asked for on.
    pub(super) async fn reach_relay(self: &Rc<Self>, relay: &RelayAddress) -> Result<(), Unreached> {
        if self.connections.borrow().has_direct(&relay.peer) {
            return Ok(());
        }
        let dialing = Box::pin(self.clone().dial(relay.peer, vec![relay.address.clone()]));
        share(&self.reaching_relays, relay.peer, dialing).await
    }

    /// Notes what came of it.
    async fn dial_peer(self: Rc<Self>, peer: PeerId) -> Result<(), Unreached> {
        self.tell(NetworkEvent::Changed);
        let (sender, arrived) = oneshot::channel();
        self.arrivals.borrow_mut().insert(peer, sender);
        let dialing = self.clone().dial_addresses_of(peer);
        // A dial to where the peer was before takes long to fail, and meanwhile the peer itself may have come.
        let dialed = match select(pin!(dialing), arrived).await {
            Either::Left((dialed, _)) => dialed,
            Either::Right((Ok(()), _)) => Ok(()),
            Either::Right((Err(_), _)) => Err(Unreached::new(Cause::Other, "the network is stopped")),
        };
        self.arrivals.borrow_mut().remove(&peer);
        self.note(peer).unreached = dialed.clone().err();
        self.tell(NetworkEvent::Changed);
        dialed
    }

    async fn dial_addresses_of(self: Rc<Self>, peer: PeerId) -> Result<(), Unreached> {
        let addresses = self.book.borrow().addresses_to_dial(peer, &self.relays);
        if addresses.is_empty() {
            let reason = "no address of it is known, and there is no relay to look for it";
            return Err(Unreached::new(Cause::NoAddress, reason));
        }
        self.dial_in_turn(peer, addresses).await
    }

    /// Dials those of `addresses` that can be, when it is our turn to be introduced if a relay is to do it.
    async fn dial_in_turn(self: Rc<Self>, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<(), Unreached> {
        let mut addresses = self.with_relays_connected(addresses).await?;
        let mut turn = None;
        if addresses.iter().any(|address| RelayAddress::of_circuit(address).is_some()) {
            let too_many = |TooMany| Unreached::new(Cause::Other, "too many others are being looked for");
            turn = Some(self.introductions.turn().await.map_err(too_many)?);
            // Meanwhile a relay may have gone.
            addresses = self.with_relays_connected(addresses).await?;
        }
        let dialed = self.dial(peer, addresses).await;
        drop(turn);
        dialed
    }

    /// Those of `addresses` that need no relay, or one we are connected to now. A circuit that is asked for while the
    /// relay itself is being dialed is dropped by libp2p, so relays come first.
    async fn with_relays_connected(self: &Rc<Self>, addresses: Vec<Multiaddr>) -> Result<Vec<Multiaddr>, Unreached> {
        let connect = |address: Multiaddr| async move {
            match RelayAddress::of_circuit(&address) {
                Some(relay) => match self.reach_relay(&relay).await {
                    Ok(()) => Ok(address),
                    Err(reason) => Err(format!("the relay is not reachable: {reason}")),
                },
                None => Ok(address),
            }
        };
        let mut reachable = Vec::new();
        let mut why_not = String::new();
        for result in join_all(addresses.into_iter().map(connect)).await {
            match result {
                Ok(address) => reachable.push(address),
                Err(reason) => why_not = reason,
            }
        }
        if reachable.is_empty() { Err(Unreached::new(Cause::RelayUnreachable, why_not)) } else { Ok(reachable) }
    }

    /// Makes a circuit to `peer`, whatever other connections there are.
    pub(super) async fn dial_circuit(self: &Rc<Self>, peer: PeerId) -> Result<(), Unreached> {
        let mut addresses = self.book.borrow().addresses_to_dial(peer, &self.relays);
        addresses.retain(|address| RelayAddress::of_circuit(address).is_some());
        if addresses.is_empty() {
            return Err(Unreached::new(Cause::NoAddress, "no circuit to it is known"));
        }
        self.clone().dial_in_turn(peer, addresses).await
    }

    pub(super) async fn dial(self: Rc<Self>, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<(), Unreached> {
        let (answer, dialed) = oneshot::channel();
        self.command(Command::Dial { peer, addresses, answer });
        dialed.await.unwrap_or_else(|_| Err(Unreached::new(Cause::Other, "the network is stopped")))
    }
}

/// Waits for the dial to `peer` that is under way in `dials`, or for `dialing`.
async fn share(
    dials: &RefCell<BTreeMap<PeerId, Reaching>>,
    peer: PeerId,
    dialing: LocalBoxFuture<'static, Result<(), Unreached>>,
) -> Result<(), Unreached> {
    let shared = dials.borrow_mut().entry(peer).or_insert_with(|| dialing.shared()).clone();
    let result = shared.clone().await;
    let mut dials = dials.borrow_mut();
    // Somebody who waited with us may have begun the next one already.
    if dials.get(&peer).is_some_and(|current| current.ptr_eq(&shared)) {
        dials.remove(&peer);
    }
    result
}
