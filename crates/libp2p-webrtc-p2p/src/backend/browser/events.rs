//! What a peer connection has told and nobody has heard yet.
use std::{
    cell::RefCell,
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use crate::{backend::RtcEvent, signaling::session::ConnectionState};

/// Events kept; what comes on top is dropped, and a channel closed with it. Far more than one turn of the event loop
/// brings unless somebody means no good.
const EVENTS_MAX: usize = 256;

#[derive(Default)]
pub(super) struct Events {
    queue: RefCell<VecDeque<RtcEvent>>,
    waker: RefCell<Option<Waker>>,
}

impl Events {
    pub fn push(&self, event: RtcEvent) {
        // What ends a connection must get through.
        let ending = matches!(event, RtcEvent::State(ConnectionState::Failed | ConnectionState::Closed));
        if ending || self.queue.borrow().len() < EVENTS_MAX {
            self.queue.borrow_mut().push_back(event);
        }
        let waker = self.waker.borrow_mut().take();
        waker.into_iter().for_each(Waker::wake);
    }

    pub fn poll(&self, context: &Context<'_>) -> Poll<RtcEvent> {
        if let Some(event) = self.queue.borrow_mut().pop_front() {
            return Poll::Ready(event);
        }
        *self.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A state by the name browsers give it.
pub(super) fn state_of(name: &str) -> Option<ConnectionState> {
    Some(match name {
        "new" => ConnectionState::New,
        "connecting" => ConnectionState::Connecting,
        "connected" => ConnectionState::Connected,
        "disconnected" => ConnectionState::Disconnected,
        "failed" => ConnectionState::Failed,
        "closed" => ConnectionState::Closed,
        _ => return None,
    })
}
