//! Streams to one peer, kept from request to request, so that small things do not wait behind big ones.
use std::{cell::RefCell, rc::Rc};

use libp2p::swarm::ConnectionId;

use super::{
    http::ClientStream,
    turns::{TooMany, Turn, Turns},
};
use crate::ports::Lane;

/// Streams for queries to one peer: what one join asks for at once, and no more than it should serve us.
pub const QUERY_STREAMS_MAX: usize = 4;

/// Requests to one peer that wait for a stream of their lane. More are refused.
pub const WAITING_MAX: usize = 256;

/// The lanes to one peer.
pub struct Lanes {
    transactions: Rc<Streams>,
    queries: Rc<Streams>,
}

impl Default for Lanes {
    fn default() -> Self {
        // One stream, used by one request after another, is what keeps transactions in order.
        Self { transactions: Streams::new(1), queries: Streams::new(QUERY_STREAMS_MAX) }
    }
}

impl Lanes {
    pub fn lane(&self, lane: Lane) -> Rc<Streams> {
        match lane {
            Lane::Transactions => self.transactions.clone(),
            Lane::Queries => self.queries.clone(),
        }
    }
}

/// A stream and the connection it is on.
pub struct Kept {
    pub connection: ConnectionId,
    pub stream: ClientStream,
}

/// The streams of one lane: at most so many in use, first come first served.
pub struct Streams {
    turns: Rc<Turns>,
    idle: RefCell<Vec<Kept>>,
}

impl Streams {
    pub fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self { turns: Turns::new(limit, WAITING_MAX), idle: RefCell::default() })
    }

    /// The right to use one stream, in the order asked for.
    pub async fn turn(self: &Rc<Self>) -> Result<StreamTurn, TooMany> {
        let turn = self.turns.turn().await?;
        Ok(StreamTurn { streams: self.clone(), _turn: turn })
    }
}

/// Given back when dropped.
pub struct StreamTurn {
    streams: Rc<Streams>,
    _turn: Turn,
}

impl StreamTurn {
    /// A stream that lies idle on a connection that `is_good`; those on others are dropped.
    pub fn take_idle(&self, is_good: impl Fn(ConnectionId) -> bool) -> Option<Kept> {
        let mut idle = self.streams.idle.borrow_mut();
        idle.retain(|kept| is_good(kept.connection) && !kept.stream.is_closed());
        idle.pop()
    }

    /// Keeps a stream for the next request.
    pub fn keep(&self, kept: Kept) {
        self.streams.idle.borrow_mut().push(kept);
    }
}
