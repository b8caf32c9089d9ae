//! Looks again for homeservers whose connection was lost: a circuit ends after minutes, a relay restarts, a tab reloads.
use std::{
    collections::{BTreeSet, VecDeque},
    rc::Rc,
};

use futures::{StreamExt, stream};
use libp2p::PeerId;

use super::Inner;

/// Homeservers looked for again after a loss: those met most recently.
const MET_MAX: usize = 256;

/// When to look after a connection was lost, in milliseconds after the try before. After that the relay's return, a
/// message to send, or the peer itself brings us together.
const TRIES_MS: [u64; 4] = [500, 2_500, 10_000, 45_000];

/// How much later the peer with the larger id looks, in milliseconds, so that dials seldom cross.
const SECOND_COMES_LATER_MS: u64 = 750;

/// Peers dialed at once when a relay is back.
const AT_ONCE_MAX: usize = 8;

#[derive(Default)]
pub(super) struct Sought {
    /// Least recently met first.
    met: VecDeque<PeerId>,
    looking: BTreeSet<PeerId>,
}

/// A homeserver is connected.
pub(super) fn met(inner: &Inner, peer: PeerId) {
    let met = &mut inner.sought.borrow_mut().met;
    met.retain(|other| *other != peer);
    if met.len() == MET_MAX {
        met.pop_front();
    }
    met.push_back(peer);
}

/// The last connection to a homeserver is gone.
pub(super) fn lost(inner: &Rc<Inner>, peer: PeerId) {
    if inner.stopped.get() || !inner.sought.borrow_mut().looking.insert(peer) {
        return;
    }
    let inner = inner.clone();
    inner.tasks.clone().spawn(Box::pin(async move {
        look(&inner, peer).await;
        inner.sought.borrow_mut().looking.remove(&peer);
    }));
}

async fn look(inner: &Rc<Inner>, peer: PeerId) {
    let later = if inner.local < peer { 0 } else { SECOND_COMES_LATER_MS };
    for delay_ms in TRIES_MS {
        inner.wait(delay_ms + later).await;
        if inner.stopped.get() || inner.reach(peer).await.is_ok() {
            return;
        }
    }
}

/// Others may have come back with the relay.
pub(super) fn relay_is_back(inner: &Rc<Inner>) {
    let met: Vec<PeerId> = inner.sought.borrow().met.iter().rev().copied().collect();
    let reaching = stream::iter(met).for_each_concurrent(AT_ONCE_MAX, {
        let inner = inner.clone();
        move |peer| {
            let inner = inner.clone();
            async move {
                if let Err(reason) = inner.reach(peer).await {
                    tracing::debug!(%peer, %reason, "not back yet");
                }
            }
        }
    });
    inner.tasks.spawn(Box::pin(reaching));
}
