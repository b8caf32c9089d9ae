//! Takes a direct connection away from a peer, for one that is wanted more: what is under way ends first, and a circuit
//! is there before the direct connection goes.
use std::{pin::pin, rc::Rc};

use futures::future::select;
use libp2p::PeerId;

use super::{Command, Inner, requests};
use crate::p2p::connections::Path;

/// How long a connection may take to close, in milliseconds. The swarm knows of it only then.
const CLOSING_MS: u64 = 10_000;

/// Returns whether there is a place now.
pub(super) async fn evict(inner: &Rc<Inner>, peer: PeerId) -> bool {
    // What would begin meanwhile begins on the circuit. The peer, too, sends again what had no answer yet.
    let _hold = inner.exchanges.hold(peer);
    // Every exchange ends within its own limit.
    select(pin!(inner.exchanges.idle(peer)), inner.clock.sleep_ms(requests::LIMITS.total_ms)).await;
    if inner.stopped.get() || !inner.favourites().holds(&peer) {
        return !inner.stopped.get();
    }
    // Before the circuit is there, as the peer will want to make a direct connection of it.
    inner.favourites().evicted(peer);
    if inner.connections.borrow().count(&peer, Path::Relay) == 0
        && let Err(reason) = inner.dial_circuit(peer).await
    {
        tracing::debug!(%peer, %reason, "no circuit to fall back to");
        if inner.favourites().spare(peer) {
            return false;
        }
    }
    for connection in inner.connections.borrow_mut().retire(&peer, Path::Direct) {
        inner.command(Command::Close(connection));
    }
    let closing = async {
        while inner.favourites().holds(&peer) {
            inner.room(CLOSING_MS).await;
        }
    };
    select(pin!(closing), inner.clock.sleep_ms(CLOSING_MS)).await;
    !inner.favourites().holds(&peer)
}
