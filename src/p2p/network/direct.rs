//! Makes direct connections of relayed ones: the relay introduces, and may then go away.
//!
//! Whoever dialed the circuit offers; the other side does so a moment later if nothing has come of it. Which of two
//! connections is used, and when the circuit is closed, `Connections` says.
use std::{collections::BTreeMap, pin::pin, rc::Rc};

use futures::{
    channel::oneshot,
    future::{Either, select},
};
use libp2p::PeerId;
use libp2p_webrtc_p2p::{self as webrtc, signaling::session::Role};

use super::{
    Command, Inner, eviction,
    known_peers::{Cause, Unreached},
};
use crate::p2p::{connections::Path, favourites::Choice};

/// When to try, in milliseconds after the try before. After that the circuit is used until it ends; the next circuit
/// begins again.
const TRIES_MS: [u64; 5] = [0, 2_000, 10_000, 60_000, 300_000];

/// How much later the side tries that was dialed, in milliseconds, so that offers seldom cross.
const DIALED_COMES_LATER_MS: u64 = 1_500;

/// How often is looked whether there is room for a peer by now, in milliseconds: who was busy may be idle.
const ROOM_LOOK_MS: u64 = 30_000;

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

/// Notes for the choice of direct peers what came of an attempt.
pub(super) fn attempted(inner: &Inner, event: &webrtc::Event) {
    match &event.error {
        Some(_) if event.refused => inner.favourites().refused(event.peer),
        // Those that the peer began say nothing of whether ours would end so.
        Some(_) if event.role == Role::Offerer => inner.favourites().failed(event.peer),
        _ => {}
    }
}

async fn try_for(inner: &Rc<Inner>, peer: PeerId, dialed_by_us: bool) {
    let later = if dialed_by_us { 0 } else { DIALED_COMES_LATER_MS };
    for delay_ms in TRIES_MS {
        if delay_ms + later > 0 {
            inner.wait(delay_ms + later).await;
        }
        let Some(_place) = place_for(inner, peer).await else { return };
        match dial(inner, peer).await {
            Ok(()) => return,
            // The peer's own offer was faster.
            Err(_) if inner.connections.borrow().has_direct(&peer) => return,
            Err(reason) => tracing::info!(%peer, %reason, "no direct connection"),
        }
    }
}

/// A place among the direct peers that is being made use of.
struct Place<'a> {
    inner: &'a Inner,
    peer: PeerId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.inner.favourites().tried(&self.peer);
        self.inner.room_changed();
    }
}

/// Waits for room for `peer`, and makes some if it is wanted enough. `None` when a direct connection is of no use any more.
async fn place_for(inner: &Rc<Inner>, peer: PeerId) -> Option<Place<'_>> {
    loop {
        if inner.stopped.get() || inner.connections.borrow().path(&peer) != Some(Path::Relay) {
            return None;
        }
        let choice = inner.favourites().choose(peer, |other| inner.exchanges.is_busy(other));
        let until_ms = match choice {
            Choice::Connect => return Some(Place { inner, peer }),
            Choice::Replace(evicted) => {
                let place = Place { inner, peer };
                tracing::debug!(%peer, %evicted, "making room for a direct connection");
                if eviction::evict(inner, evicted).await && inner.connections.borrow().path(&peer) == Some(Path::Relay)
                {
                    return Some(place);
                }
                None
            }
            Choice::NotNow { until_ms } => until_ms,
        };
        let now_ms = inner.clock.now_ms();
        let wait_ms = until_ms.map_or(ROOM_LOOK_MS, |until_ms| until_ms.saturating_sub(now_ms).min(ROOM_LOOK_MS));
        inner.room(wait_ms).await;
    }
}

async fn dial(inner: &Rc<Inner>, peer: PeerId) -> Result<(), Unreached> {
    let (answer, dialed) = oneshot::channel();
    inner.command(Command::DialDirect { peer, answer });
    dialed.await.unwrap_or_else(|_| Err(Unreached::new(Cause::Other, "the network is stopped")))
}
