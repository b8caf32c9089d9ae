//! Requests to the homeservers of tabs, on streams that are kept from one to the next.
use std::{cell::RefCell, num::NonZeroUsize, rc::Rc};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use libp2p::{PeerId, swarm::ConnectionId};
use lru::LruCache;
use warren::{
    domain::identity::PublicKey,
    p2p::{
        gateway::Refusal,
        http::{ClientStream, ExchangeError, ExchangeLimits, MAX_ANSWER_BODY_BYTES},
        lanes::{Kept, StreamTurn, Streams},
        peer_name,
    },
    ports::Clock,
};

use super::link::Opens;

/// Requests that one tab answers at once; further ones wait, and too many of those are refused.
const STREAMS_PER_TAB_MAX: usize = 8;

/// Tabs whose streams are kept.
const TABS_KEPT: NonZeroUsize = NonZeroUsize::new(2_048).expect("not zero");

/// A tab may think so long, and an exchange may take so long in all. Servers of the web wait a minute, most of them.
const LIMITS: ExchangeLimits =
    ExchangeLimits { stall_ms: 45_000, total_ms: 120_000, answer_body_bytes: MAX_ANSWER_BODY_BYTES };

pub struct Tabs {
    opens: Opens,
    clock: Rc<dyn Clock>,
    streams: RefCell<LruCache<PeerId, Rc<Streams>>>,
}

impl Tabs {
    pub fn new(opens: Opens, clock: Rc<dyn Clock>) -> Self {
        Self { opens, clock, streams: RefCell::new(LruCache::new(TABS_KEPT)) }
    }

    /// Asks the homeserver with that key. The URI is path and query only.
    pub async fn request(&self, key: &PublicKey, request: Request<Bytes>) -> Result<Response<Bytes>, Refusal> {
        let peer = peer_name::peer_id(key).ok_or_else(away)?;
        let streams = self.streams.borrow_mut().get_or_insert(peer, || Streams::new(STREAMS_PER_TAB_MAX)).clone();
        let turn = streams.turn().await.map_err(|_| busy())?;
        match self.exchange(peer, &turn, request.clone(), true).await {
            // As between peers: the stream had ended unnoticed, and every federation request may be repeated.
            Err(Failure::Exchange(ExchangeError::Lost { answer_began: false, .. })) => {
                self.exchange(peer, &turn, request, false).await.map_err(refusal)
            }
            answer => answer.map_err(refusal),
        }
    }

    async fn exchange(
        &self,
        peer: PeerId,
        turn: &StreamTurn,
        request: Request<Bytes>,
        may_reuse: bool,
    ) -> Result<Response<Bytes>, Failure> {
        let mut kept = match turn.take_idle(|_| may_reuse) {
            Some(kept) => kept,
            None => {
                let stream = self.opens.open(peer).await.ok_or(Failure::Away)?;
                let stream = ClientStream::new(stream).await.map_err(Failure::Exchange)?;
                // Which one it is on is the relay's business: streams end with their connection.
                Kept { connection: ConnectionId::new_unchecked(0), stream }
            }
        };
        let answer = kept.stream.exchange(request, LIMITS, &*self.clock).await.map_err(Failure::Exchange)?;
        turn.keep(kept);
        Ok(answer)
    }
}

enum Failure {
    Away,
    Exchange(ExchangeError),
}

fn refusal(failure: Failure) -> Refusal {
    let bad_gateway = |message: String| Refusal::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", message);
    match failure {
        Failure::Away => away(),
        Failure::Exchange(ExchangeError::Lost { .. }) => {
            bad_gateway("The homeserver's tab went away before it answered. Try again later.".to_owned())
        }
        Failure::Exchange(ExchangeError::TimedOut) => {
            let message = "The homeserver's tab did not answer in time. Try again later.";
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, "M_UNKNOWN", message)
        }
        Failure::Exchange(ExchangeError::Malformed(reason)) => {
            bad_gateway(format!("The homeserver's tab answered what is no answer: {reason}."))
        }
    }
}

fn away() -> Refusal {
    let message = "This homeserver lives in a browser tab that is not open at the moment. Try again later.";
    Refusal::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", message)
}

fn busy() -> Refusal {
    let message = "Too many requests wait for this homeserver's tab.";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "M_LIMIT_EXCEEDED", message)
}
