//! Streams to one peer, kept from request to request, so that small things do not wait behind big ones.
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use futures::channel::oneshot;
use libp2p::swarm::ConnectionId;

use super::http::ClientStream;
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
    free: Cell<usize>,
    idle: RefCell<Vec<Kept>>,
    waiting: RefCell<VecDeque<oneshot::Sender<Turn>>>,
}

/// Too many requests wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Streams {
    pub fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self { free: Cell::new(limit), idle: RefCell::default(), waiting: RefCell::default() })
    }

    /// The right to use one stream, in the order asked for.
    pub async fn turn(self: &Rc<Self>) -> Result<Turn, TooMany> {
        if let Some(left) = self.free.get().checked_sub(1) {
            self.free.set(left);
            return Ok(Turn(Some(self.clone())));
        }
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.waiting.borrow_mut();
            waiting.retain(|waiter| !waiter.is_canceled());
            if waiting.len() >= WAITING_MAX {
                return Err(TooMany);
            }
            waiting.push_back(sender);
        }
        // Turns are handed on and never lost, so somebody answers.
        receiver.await.map_err(|_| TooMany)
    }
}

/// Handed to the next in line, or given back, when dropped.
pub struct Turn(Option<Rc<Streams>>);

impl Turn {
    /// A stream that lies idle on a connection that `is_good`; those on others are dropped.
    pub fn take_idle(&self, is_good: impl Fn(ConnectionId) -> bool) -> Option<Kept> {
        let mut idle = self.0.as_ref()?.idle.borrow_mut();
        idle.retain(|kept| is_good(kept.connection) && !kept.stream.is_closed());
        idle.pop()
    }

    /// Keeps a stream for the next request.
    pub fn keep(&self, kept: Kept) {
        if let Some(streams) = &self.0 {
            streams.idle.borrow_mut().push(kept);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Empty in those that could not be handed on, below.
        let Some(streams) = self.0.take() else { return };
        loop {
            let waiter = streams.waiting.borrow_mut().pop_front();
            let Some(waiter) = waiter else { break };
            match waiter.send(Turn(Some(streams.clone()))) {
                Ok(()) => return,
                // That one stopped waiting.
                Err(mut unwanted) => drop(unwanted.0.take()),
            }
        }
        streams.free.set(streams.free.get() + 1);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::{
        executor::block_on,
        future::{join_all, poll_immediate},
        poll,
    };

    use super::*;

    #[test]
    fn turns_go_in_order_and_are_never_lost() {
        block_on(async {
            let streams = Streams::new(1);
            let first = streams.turn().await.unwrap();
            let mut second = Box::pin(streams.turn());
            let mut third = Box::pin(streams.turn());
            let mut fourth = Box::pin(streams.turn());
            assert!(
                poll!(&mut second).is_pending() && poll!(&mut third).is_pending() && poll!(&mut fourth).is_pending()
            );
            drop(second);
            drop(first);
            assert!(poll!(&mut fourth).is_pending(), "the third is before the fourth");
            // Handed the turn but never looked at it.
            drop(third);
            let Poll::Ready(Ok(turn)) = poll!(&mut fourth) else { panic!("the turn was lost") };
            drop(turn);
            assert_eq!(streams.free.get(), 1);
        });
    }

    #[test]
    fn the_line_is_bounded_and_all_streams_are_used() {
        block_on(async {
            let streams = Streams::new(QUERY_STREAMS_MAX);
            let turns = join_all((0..QUERY_STREAMS_MAX).map(|_| streams.turn())).await;
            let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(streams.turn())).collect();
            for waiter in &mut waiting {
                assert!(poll!(waiter).is_pending());
            }
            assert_eq!(streams.turn().await.err(), Some(TooMany));
            waiting.pop();
            assert!(poll_immediate(streams.turn()).await.is_none(), "one has left the line");
            drop(turns);
            drop(waiting);
            assert_eq!(streams.free.get(), QUERY_STREAMS_MAX);
        });
    }
}
