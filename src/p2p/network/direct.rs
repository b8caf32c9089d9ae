//! Makes direct connections of relayed ones: the relay introduces, and may then go away.
//!
//! Whoever dialed the circuit offers; the other side does so a moment later if nothing has come of it. Which of two
//! connections is used, and when the circuit is closed, `Connections` says.
use std::{collections::BTreeMap, pin::pin, rc::Rc};

use futures::{
    channel::oneshot,
    future::{Either, select},
};
use libp2p::{PeerId, swarm::ConnectionId};

use super::{
    Command, Inner,
    known_peers::{Cause, Unreached},
};
use crate::p2p::connections::Path;

/// When to try, in milliseconds after the try before. After that the circuit is used until it ends; the next circuit
/// begins again.
const TRIES_MS: [u64; 5] = [0, 2_000, 10_000, 60_000, 300_000];

/// How much later the side tries that was dialed, in milliseconds, so that offers seldom cross.
const DIALED_COMES_LATER_MS: u64 = 1_500;

/// A direct connection that has answered no ping for so long is in doubt, in milliseconds. Pings are sent every 5 s; their
/// own failures are told too late, and of a browser that was killed nothing else tells.
const SILENT_MAX_MS: u64 = 11_000;

/// One in doubt is given this long to answer the next ping, in milliseconds: it may be that our own clock was set, or
/// that it was we who stood still.
const DOUBT_MS: u64 = 6_000;

#[derive(Default)]
pub(super) struct Direct {
    /// Whether there is anything to make connections with.
    possible: bool,
    /// Peers for which a connection is being tried, or waited for. Dropping its sender ends it.
    trying: BTreeMap<PeerId, oneshot::Sender<()>>,
}

impl Direct {
    pub fn new(possible: bool) -> Self {
        Self { possible, trying: BTreeMap::new() }
    }
}

/// A circuit to `peer` was made: it is tried from the beginning, whatever came of it before.
pub(super) fn relayed(inner: &Rc<Inner>, peer: PeerId, dialed_by_us: bool) {
    let wanted = inner.connections.borrow().path(&peer) == Some(Path::Relay);
    if !inner.direct.borrow().possible || inner.stopped.get() || !wanted {
        return;
    }
    let (sender, mut ended) = oneshot::channel();
    inner.direct.borrow_mut().trying.insert(peer, sender);
    let inner = inner.clone();
    inner.tasks.clone().spawn(Box::pin(async move {
        if let Either::Left(_) = select(pin!(try_for(&inner, peer, dialed_by_us)), &mut ended).await {
            // It was ours: another would have ended this one.
            inner.direct.borrow_mut().trying.remove(&peer);
        }
    }));
}

/// A connection to `peer` was lost, and others are left. If those are circuits, then there should be more.
pub(super) fn lost_one(inner: &Rc<Inner>, peer: PeerId) {
    let trying = inner.direct.borrow().trying.contains_key(&peer);
    if !trying {
        relayed(inner, peer, inner.local < peer);
    }
}

/// Closes `connection` when the peer has been silent on it for too long.
pub(super) fn watch(inner: &Rc<Inner>, peer: PeerId, connection: ConnectionId) {
    let inner = inner.clone();
    inner.tasks.clone().spawn(Box::pin(async move {
        let mut doubted_since = None;
        loop {
            let heard_ms = inner.connections.borrow().heard_ms(&peer, connection);
            let Some(heard_ms) = heard_ms.filter(|_| !inner.stopped.get()) else { return };
            let silent_ms = inner.clock.now_ms().saturating_sub(heard_ms);
            if silent_ms < SILENT_MAX_MS {
                doubted_since = None;
                inner.clock.sleep_ms(SILENT_MAX_MS - silent_ms).await;
            } else if doubted_since != Some(heard_ms) {
                doubted_since = Some(heard_ms);
                inner.clock.sleep_ms(DOUBT_MS).await;
            } else {
                tracing::debug!(%peer, silent_ms, "a direct connection is dead");
                inner.connection_gone(peer, connection);
                inner.command(Command::Close(connection));
                return;
            }
        }
    }));
}

async fn try_for(inner: &Rc<Inner>, peer: PeerId, dialed_by_us: bool) {
    let later = if dialed_by_us { 0 } else { DIALED_COMES_LATER_MS };
    for delay_ms in TRIES_MS {
        if delay_ms + later > 0 {
            inner.wait(delay_ms + later).await;
        }
        if inner.stopped.get() || inner.connections.borrow().path(&peer) != Some(Path::Relay) {
            return;
        }
        match dial(inner, peer).await {
            Ok(()) => return,
            // The peer's own offer was faster.
            Err(_) if inner.connections.borrow().has_direct(&peer) => return,
            Err(reason) => tracing::info!(%peer, %reason, "no direct connection"),
        }
    }
}

async fn dial(inner: &Rc<Inner>, peer: PeerId) -> Result<(), Unreached> {
    let (answer, dialed) = oneshot::channel();
    inner.command(Command::DialDirect { peer, answer });
    dialed.await.unwrap_or_else(|_| Err(Unreached::new(Cause::Other, "the network is stopped")))
}
