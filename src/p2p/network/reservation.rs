//! Keeps a reservation with one relay for as long as the network runs, so that peers can reach us through it.
use std::rc::Rc;

use futures::channel::oneshot;

use super::{Command, Inner, NetworkEvent, RelayState, Reserved, rejoin};

/// The first wait before trying again, and the longest, in milliseconds. It doubles in between; a random half is added.
const RETRY_MIN_MS: u64 = 250;
const RETRY_MAX_MS: u64 = 10_000;

/// Ends when the network is stopped.
pub(super) async fn keep(inner: Rc<Inner>, index: usize) {
    let mut retry_ms = RETRY_MIN_MS;
    while !inner.stopped.get() {
        let reason = match reserve(&inner, index).await {
            Ok(Reserved { addresses, lost }) => {
                retry_ms = RETRY_MIN_MS;
                tracing::info!(?addresses, "reachable through the relay");
                report(&inner, index, RelayState::Ready { addresses });
                rejoin::relay_is_back(&inner);
                inner.tell(NetworkEvent::Returned);
                lost.await.unwrap_or_else(|_| "the network is stopped".to_owned())
            }
            Err(reason) => reason,
        };
        if inner.stopped.get() {
            return;
        }
        tracing::info!(relay = %inner.relays[index].address, reason, "not reachable through the relay");
        report(&inner, index, RelayState::Offline { reason });
        inner.wait(retry_ms + inner.random_below(retry_ms / 2)).await;
        retry_ms = (retry_ms * 2).min(RETRY_MAX_MS);
    }
}

async fn reserve(inner: &Rc<Inner>, index: usize) -> Result<Reserved, String> {
    let relay = &inner.relays[index];
    // A reservation that is asked for while the relay is being dialed is dropped by libp2p.
    inner.reach_relay(relay).await.map_err(|unreached| unreached.reason)?;
    let (answer, reserved) = oneshot::channel();
    inner.command(Command::Reserve { circuit: relay.circuit(), answer });
    reserved.await.unwrap_or_else(|_| Err("the network is stopped".to_owned()))
}

fn report(inner: &Inner, index: usize, state: RelayState) {
    inner.reservations.borrow_mut()[index].state = state;
    inner.tell(NetworkEvent::Changed);
}
