//! Answers the streams that peers open, with bounds on each peer and on all of them.
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use libp2p::PeerId;

use crate::{
    domain::identity::PublicKey,
    p2p::{
        exchanges::Exchanges,
        http::{self, Budget, MAX_REQUEST_BODY_BYTES},
        peer_name,
        streams::{HttpStream, Spoken},
    },
    ports::{Clock, Tasks},
};

/// Streams one peer may have open here: its lanes on two connections, and some to spare.
pub const STREAMS_PER_PEER_MAX: usize = 16;

/// Streams all peers together may have open here.
pub const STREAMS_MAX: usize = 1024;

/// Bodies being received, in bytes: of one peer, and of all of them.
pub const BODIES_PER_PEER_BYTES: usize = 2 * MAX_REQUEST_BODY_BYTES;
pub const BODIES_BYTES: usize = 8 * MAX_REQUEST_BODY_BYTES;

/// Whose stream a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The homeserver with this key asks for itself.
    Peer(PublicKey),
    /// Our gateway, which has this key, hands on what a server of the web asks.
    Gateway(PublicKey),
}

/// Answers a request that came by a stream.
pub type PeerHandler = Rc<dyn Fn(Caller, ::http::Request<Bytes>) -> LocalBoxFuture<'static, ::http::Response<Bytes>>>;

/// Serves the streams of many peers.
pub struct Serving {
    handler: PeerHandler,
    clock: Rc<dyn Clock>,
    tasks: Rc<dyn Tasks>,
    exchanges: Exchanges,
    bodies: Budget,
    served: Rc<RefCell<BTreeMap<PeerId, Served>>>,
}

/// One peer with streams open here.
struct Served {
    streams: usize,
    bodies: Budget,
}

impl Serving {
    pub fn new(handler: PeerHandler, exchanges: Exchanges, clock: Rc<dyn Clock>, tasks: Rc<dyn Tasks>) -> Self {
        Self { handler, clock, tasks, exchanges, bodies: Budget::new(BODIES_BYTES), served: Rc::default() }
    }

    /// Serves `stream` until it ends; drops it, which resets it, where there are too many. The caller has seen to it that
    /// a stream on which a gateway speaks comes from ours.
    pub fn accept(&self, peer: PeerId, spoken: Spoken, stream: HttpStream) {
        let Some(key) = peer_name::public_key(&peer) else {
            tracing::debug!(%peer, "a peer without an ed25519 key is no homeserver");
            return;
        };
        let Some(bodies) = self.admit(peer) else {
            tracing::debug!(%peer, "too many streams");
            return;
        };
        let (handler, served) = (self.handler.clone(), self.served.clone());
        let caller = match spoken {
            Spoken::Homeservers => Caller::Peer(key),
            Spoken::Gateway => Caller::Gateway(key),
        };
        let handler: http::Handler = Rc::new(move |request| handler(caller, request));
        let (exchanges, clock) = (self.exchanges.clone(), self.clock.clone());
        self.tasks.spawn(Box::pin(async move {
            let begin = async || exchanges.begin(peer).await;
            let ended = http::serve(stream, handler, begin, clock, bodies).await;
            tracing::trace!(%peer, ?ended, "a stream ended");
            leave(&mut served.borrow_mut(), peer);
        }));
    }

    fn admit(&self, peer: PeerId) -> Option<Budget> {
        let mut served = self.served.borrow_mut();
        if served.values().map(|served| served.streams).sum::<usize>() >= STREAMS_MAX {
            return None;
        }
        let bodies = || self.bodies.narrower(BODIES_PER_PEER_BYTES);
        let served = served.entry(peer).or_insert_with(|| Served { streams: 0, bodies: bodies() });
        if served.streams >= STREAMS_PER_PEER_MAX {
            return None;
        }
        served.streams += 1;
        Some(served.bodies.clone())
    }
}

fn leave(served: &mut BTreeMap<PeerId, Served>, peer: PeerId) {
    if let Some(entry) = served.get_mut(&peer) {
        entry.streams -= 1;
        if entry.streams == 0 {
            served.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::virtual_time::VirtualTime;

    #[test]
    fn one_peer_and_all_peers_have_their_bounds() {
        let time = VirtualTime::new();
        let serving = Serving::new(Rc::new(|_, _| unreachable!()), Exchanges::default(), time.clone(), time);
        let greedy = PeerId::random();
        let admitted = (0..2 * STREAMS_PER_PEER_MAX).filter(|_| serving.admit(greedy).is_some()).count();
        assert_eq!(admitted, STREAMS_PER_PEER_MAX);
        let others = (0..2 * STREAMS_MAX).filter(|_| serving.admit(PeerId::random()).is_some()).count();
        assert_eq!(admitted + others, STREAMS_MAX);
        (0..admitted).for_each(|_| leave(&mut serving.served.borrow_mut(), greedy));
        assert!(!serving.served.borrow().contains_key(&greedy), "nothing is kept of a peer that left");
        assert!(serving.admit(greedy).is_some());
    }
}
