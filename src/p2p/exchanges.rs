//! With whom an exchange is under way, ours or theirs, so that nobody's connection is closed in the middle of one.
use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use libp2p::PeerId;

#[derive(Default)]
struct Peer {
    under_way: usize,
    /// No exchange begins while this is more than 0.
    held: usize,
    /// Woken whenever one of the two falls to 0. Each of those who wait is the peer's or ours, and bounded there.
    wakers: Vec<Waker>,
}

#[derive(Clone, Default)]
pub struct Exchanges(Rc<RefCell<BTreeMap<PeerId, Peer>>>);

impl Exchanges {
    /// An exchange with `peer` begins, as soon as exchanges with it may. It is over when the answer is dropped.
    pub async fn begin(&self, peer: PeerId) -> UnderWay {
        poll_fn(|context| {
            let mut peers = self.0.borrow_mut();
            let entry = peers.entry(peer).or_default();
            if entry.held > 0 {
                return wait(entry, context);
            }
            entry.under_way += 1;
            Poll::Ready(())
        })
        .await;
        UnderWay { exchanges: self.clone(), peer }
    }

    pub fn is_busy(&self, peer: &PeerId) -> bool {
        self.0.borrow().get(peer).is_some_and(|entry| entry.under_way > 0)
    }

    /// No exchange with `peer` begins until the answer is dropped.
    pub fn hold(&self, peer: PeerId) -> Hold {
        self.0.borrow_mut().entry(peer).or_default().held += 1;
        Hold { exchanges: self.clone(), peer }
    }

    /// Waits until no exchange with `peer` is under way.
    pub async fn idle(&self, peer: PeerId) {
        poll_fn(|context| match self.0.borrow_mut().get_mut(&peer) {
            Some(entry) if entry.under_way > 0 => wait(entry, context),
            _ => Poll::Ready(()),
        })
        .await;
    }

    fn release(&self, peer: PeerId, release: impl FnOnce(&mut Peer) -> bool) {
        let mut peers = self.0.borrow_mut();
        let Some(entry) = peers.get_mut(&peer) else { return };
        if release(entry) {
            entry.wakers.drain(..).for_each(Waker::wake);
        }
        if entry.under_way == 0 && entry.held == 0 {
            peers.remove(&peer);
        }
    }
}

fn wait(entry: &mut Peer, context: &mut Context<'_>) -> Poll<()> {
    if !entry.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
        entry.wakers.push(context.waker().clone());
    }
    Poll::Pending
}

pub struct UnderWay {
    exchanges: Exchanges,
    peer: PeerId,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.exchanges.release(self.peer, |entry| {
            entry.under_way -= 1;
            entry.under_way == 0
        });
    }
}

pub struct Hold {
    exchanges: Exchanges,
    peer: PeerId,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.exchanges.release(self.peer, |entry| {
            entry.held -= 1;
            entry.held == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::{executor::block_on, poll};

    use super::*;

    #[test]
    fn what_is_held_begins_no_exchange_and_ends_those_there_are() {
        block_on(async {
            let (exchanges, peer) = (Exchanges::default(), PeerId::random());
            let (first, second) = (exchanges.begin(peer).await, exchanges.begin(peer).await);
            let hold = exchanges.hold(peer);
            let mut idle = pin!(exchanges.idle(peer));
            let mut third = pin!(exchanges.begin(peer));
            assert!(poll!(&mut idle).is_pending() && poll!(&mut third).is_pending());
            drop(first);
            assert!(poll!(&mut idle).is_pending());
            drop(second);
            assert!(poll!(&mut idle).is_ready() && !exchanges.is_busy(&peer));
            assert!(poll!(&mut third).is_pending(), "nothing begins while it is held");
            drop(hold);
            let third = third.await;
            assert!(exchanges.is_busy(&peer));
            drop(third);
            assert!(exchanges.0.borrow().is_empty(), "nothing is kept of a peer without exchanges");
        });
    }
}
