//! Channels whose streams are gone while the other side still has something to say.
use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream as _, channel::mpsc};
use futures_timer::Delay;

use super::Pipe;

/// How long the other side has for its last words (FIN, FIN_ACK), in seconds. js-libp2p gives as much.
pub const FAREWELL_S: u64 = 10;

/// Channels of one connection that wait for last words. One more, and the oldest is cut.
pub const LINGERING_MAX: usize = 256;

#[derive(Debug)]
pub(crate) struct Lingering {
    arrivals: mpsc::UnboundedReceiver<Pipe>,
    /// Oldest first.
    waiting: VecDeque<(Pipe, Delay)>,
}

impl Lingering {
    pub fn new(arrivals: mpsc::UnboundedReceiver<Pipe>) -> Self {
        Self { arrivals, waiting: VecDeque::new() }
    }

    /// Never ready; wakes when there is something to do.
    pub fn poll(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(pipe)) = Pin::new(&mut self.arrivals).poll_next(context) {
            self.waiting.push_back((pipe, Delay::new(Duration::from_secs(FAREWELL_S))));
            if self.waiting.len() > LINGERING_MAX
                && let Some((oldest, _)) = self.waiting.pop_front()
            {
                oldest.reset();
            }
        }
        self.waiting.retain_mut(|(pipe, deadline)| {
            if pipe.poll_over(context).is_ready() {
                return false;
            }
            let waits = Pin::new(deadline).poll(context).is_pending();
            if !waits {
                pipe.reset();
            }
            waits
        });
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}
