//! The `Transport` port: a request goes out on a kept stream of its lane, or on a fresh one.
use std::{collections::BTreeMap, rc::Rc};

use bytes::Bytes;
use futures::{channel::oneshot, future::LocalBoxFuture};
use http::{HeaderValue, header};
use libp2p::PeerId;
use ruma::{OwnedServerName, ServerName};

use super::{Command, Inner, Network};
use crate::{
    p2p::{
        address_book::Provenance,
        http::{ClientStream, ExchangeError, ExchangeLimits, MAX_ANSWER_BODY_BYTES},
        lanes::{Kept, Lanes, StreamTurn, Streams},
        peer_name,
        streams::{OpenError, Spoken},
    },
    ports::{Lane, Reach, Transport, TransportError, Wanted},
};

/// How long a peer may take to think, and how long an exchange may take in all, in milliseconds. A transaction may
/// make its receiver fetch what it lacks from others before it answers.
pub(super) const LIMITS: ExchangeLimits =
    ExchangeLimits { stall_ms: 45_000, total_ms: 300_000, answer_body_bytes: MAX_ANSWER_BODY_BYTES };

/// Connections on which opening a stream is tried for one request.
const OPEN_TRIES: u32 = 2;

/// Address hints taken at once for one server.
const HINTS_MAX: usize = 8;

impl Transport for Network {
    fn request(
        &self,
        destination: OwnedServerName,
        lane: Lane,
        request: http::Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<http::Response<Bytes>, TransportError>> {
        let inner = self.0.clone();
        Box::pin(async move {
            match inner.request(&destination, lane, request).await {
                Ok(response) => Ok(response),
                Err(failure) => Err(failure.into_error(destination)),
            }
        })
    }

    fn connected(&self) -> Vec<OwnedServerName> {
        let mut connected: Vec<_> = self.0.homeservers.borrow().values().cloned().collect();
        connected.extend(self.0.on_the_web());
        connected
    }

    fn reach(&self, server: &ServerName) -> Reach {
        self.0.reach_of(server)
    }

    fn known_addresses(&self, server: &ServerName) -> Vec<String> {
        let Some(peer) = peer_name::peer_of_server(server) else { return Vec::new() };
        self.0.book.borrow().addresses_to_dial(peer, &[]).iter().map(ToString::to_string).collect()
    }

    fn heard_from(&self, server: &ServerName) {
        self.0.met_on_the_web(server);
    }

    fn set_wanted(&self, wanted: Vec<Wanted>) {
        let mut weights: BTreeMap<PeerId, u32> = BTreeMap::new();
        for Wanted { server, weight } in wanted {
            // One key has as many names as there are suffixes.
            if let Some(peer) = peer_name::peer_of_server(&server) {
                let known = weights.entry(peer).or_default();
                *known = weight.max(*known);
            }
        }
        self.0.favourites().want(weights);
        self.0.room_changed();
    }

    fn add_address_hints(&self, server: &ServerName, addresses: Vec<String>) {
        let Some(peer) = peer_name::peer_of_server(server) else { return };
        // Best first, and the book takes what it hears last for the best.
        for address in addresses.iter().take(HINTS_MAX).rev().filter_map(|address| address.parse().ok()) {
            self.0.learn(peer, address, Provenance::Hint);
        }
    }
}

pub(super) enum Failure {
    /// There is no way, and there will be none.
    Never(String),
    Unreachable(String),
    Exchange(ExchangeError),
}

impl Failure {
    pub(super) fn into_error(self, server: OwnedServerName) -> TransportError {
        match self {
            Self::Never(reason) => TransportError::NeverReachable { server, reason },
            Self::Unreachable(reason) => TransportError::Unreachable { server, reason },
            Self::Exchange(ExchangeError::Lost { reason, .. }) => TransportError::Interrupted { server, reason },
            Self::Exchange(ExchangeError::TimedOut) => TransportError::TimedOut { server },
            Self::Exchange(ExchangeError::Malformed(reason)) => TransportError::Malformed { server, reason },
        }
    }
}

impl Inner {
    async fn request(
        self: &Rc<Self>,
        destination: &ServerName,
        lane: Lane,
        mut request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, Failure> {
        let Some(peer) = peer_name::peer_of_server(destination) else {
            return self.request_through_gateway(destination, request).await;
        };
        if let Some(gateway) = self.gateway.as_ref().filter(|gateway| gateway.is(&peer)) {
            return self.ask_at_gateway(gateway, destination, request).await;
        }
        if peer == self.local {
            return Err(Failure::Unreachable("it is this server".to_owned()));
        }
        self.note(peer).server.get_or_insert_with(|| destination.to_owned());
        let host = HeaderValue::from_str(destination.as_str());
        request.headers_mut().insert(header::HOST, host.map_err(|error| Failure::Unreachable(error.to_string()))?);
        let streams = self.lanes_to(peer).lane(lane);
        self.request_on(peer, Spoken::Homeservers, &streams, request).await
    }

    /// On one of `streams`, which go to `peer`.
    pub(super) async fn request_on(
        self: &Rc<Self>,
        peer: PeerId,
        spoken: Spoken,
        streams: &Rc<Streams>,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, Failure> {
        let turn =
            streams.turn().await.map_err(|_| Failure::Unreachable("too many requests wait for it".to_owned()))?;
        match self.exchange(peer, spoken, &turn, request.clone(), true).await {
            // The stream, the connection or the whole circuit had ended unnoticed. Sending again is safe even if the
            // request did arrive: every federation request is idempotent by its nature, as transactions carry an
            // id, events are known by their hash, and the rest only reads.
            Err(Failure::Exchange(ExchangeError::Lost { answer_began: false, reason })) => {
                tracing::debug!(%peer, reason, "sending once more");
                self.exchange(peer, spoken, &turn, request, false).await
            }
            result => result,
        }
    }

    /// One try, on a kept stream if `may_reuse`.
    async fn exchange(
        self: &Rc<Self>,
        peer: PeerId,
        spoken: Spoken,
        turn: &StreamTurn,
        request: http::Request<Bytes>,
        may_reuse: bool,
    ) -> Result<http::Response<Bytes>, Failure> {
        let _under_way = self.exchanges.begin(peer).await;
        let is_good = |connection| may_reuse && self.connections.borrow().is_in_use(&peer, connection);
        let mut kept = match turn.take_idle(is_good) {
            Some(kept) => kept,
            None => self.open(peer, spoken).await?,
        };
        let response = kept.stream.exchange(request, LIMITS, &*self.clock).await.map_err(Failure::Exchange)?;
        turn.keep(kept);
        Ok(response)
    }

    /// A fresh stream, on a fresh connection if the one there was turns out to be of no more use.
    async fn open(self: &Rc<Self>, peer: PeerId, spoken: Spoken) -> Result<Kept, Failure> {
        let mut tries_left = OPEN_TRIES;
        loop {
            let connection = self.reach(peer).await.map_err(|unreached| Failure::Unreachable(unreached.reason))?;
            let (answer, opened) = oneshot::channel();
            self.command(Command::OpenStream { peer, connection, spoken, answer });
            let broken = match opened.await {
                Ok(Ok(stream)) => {
                    let stream = ClientStream::new(stream).await.map_err(Failure::Exchange)?;
                    return Ok(Kept { connection, stream });
                }
                Ok(Err(OpenError::Broken(reason))) => reason,
                Ok(Err(refused)) => return Err(Failure::Unreachable(refused.to_string())),
                Err(_) => "the connection ended".to_owned(),
            };
            tries_left -= 1;
            if tries_left == 0 {
                return Err(Failure::Unreachable(broken));
            }
            // It may be that the swarm has not heard yet, or never will.
            self.connection_gone(peer, connection);
            self.command(Command::Close(connection));
        }
    }

    fn lanes_to(&self, peer: PeerId) -> Rc<Lanes> {
        self.lanes.borrow_mut().entry(peer).or_default().clone()
    }
}
