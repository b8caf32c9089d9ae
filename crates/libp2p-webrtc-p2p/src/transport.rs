//! The half of the transport that libp2p asks for connections; the behaviour is the half that makes them.
use std::{
    collections::VecDeque,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures::{
    FutureExt, StreamExt,
    channel::{mpsc, oneshot},
    future::BoxFuture,
};
use libp2p_core::{
    Multiaddr,
    transport::{DialOpts, ListenerId, TransportError, TransportEvent},
};
use libp2p_identity::PeerId;

use crate::{
    address::{self, Destination, Listening},
    connection::Connection,
    error::Error,
};

/// A connection and whom it leads to: the peer that the signalling stream ran to, whose word the DTLS fingerprint is.
pub type Output = (PeerId, Connection);

pub(crate) type Answer = oneshot::Sender<Result<Output, Error>>;

/// To the behaviour.
pub(crate) enum Request {
    Dial(Destination, Answer),
    Listen(ListenerId, Listening),
    Unlisten(ListenerId),
}

/// From the behaviour.
pub(crate) enum Notice {
    Incoming(PeerId, Box<Connection>),
    Address(ListenerId, Multiaddr),
    AddressGone(ListenerId, Multiaddr),
    ListenerClosed(ListenerId, Error),
}

type Event = TransportEvent<Ready<Result<Output, Error>>, Error>;

/// Goes in front of the relay client's transport, which takes any address with a circuit in it for its own.
pub struct Transport {
    local: PeerId,
    /// Each of these answers to something libp2p did, and libp2p bounds that.
    requests: mpsc::UnboundedSender<Request>,
    notices: mpsc::UnboundedReceiver<Notice>,
    listeners: Vec<ListenerId>,
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

impl Transport {
    pub(crate) fn new(
        local: PeerId,
        requests: mpsc::UnboundedSender<Request>,
        notices: mpsc::UnboundedReceiver<Notice>,
    ) -> Self {
        Self { local, requests, notices, listeners: Vec::new(), events: VecDeque::new(), waker: None }
    }

    fn event(&mut self, notice: Notice) -> Option<Event> {
        let is_live = |id: &ListenerId| self.listeners.contains(id);
        match notice {
            Notice::Incoming(peer, connection) => {
                // Without a listener the connection is dropped, and closed.
                let listener_id = *self.listeners.first()?;
                let upgrade = ready(Ok((peer, *connection)));
                let (local_addr, send_back_addr) = (address::direct(self.local), address::direct(peer));
                Some(TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr })
            }
            Notice::Address(listener_id, listen_addr) => {
                is_live(&listener_id).then_some(TransportEvent::NewAddress { listener_id, listen_addr })
            }
            Notice::AddressGone(listener_id, listen_addr) => {
                is_live(&listener_id).then_some(TransportEvent::AddressExpired { listener_id, listen_addr })
            }
            Notice::ListenerClosed(listener_id, reason) => {
                let at = self.listeners.iter().position(|id| *id == listener_id)?;
                self.listeners.swap_remove(at);
                Some(TransportEvent::ListenerClosed { listener_id, reason: Err(reason) })
            }
        }
    }
}

impl libp2p_core::Transport for Transport {
    type Output = Output;
    type Error = Error;
    type ListenerUpgrade = Ready<Result<Output, Error>>;
    type Dial = BoxFuture<'static, Result<Output, Error>>;

    /// `/webrtc` follows whatever reservations there are; `<relay>/p2p/<R>/p2p-circuit/webrtc` makes its own. Addresses
    /// are announced when a relay has confirmed them.
    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Error>> {
        let Some(listening) = address::listening(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let asked = self.requests.unbounded_send(Request::Listen(id, listening));
        asked.map_err(|_| TransportError::Other(Error::Stopped))?;
        self.listeners.push(id);
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(at) = self.listeners.iter().position(|listener| *listener == id) else { return false };
        self.listeners.swap_remove(at);
        // A behaviour that is gone has nothing to forget.
        let _ = self.requests.unbounded_send(Request::Unlisten(id));
        self.events.push_back(TransportEvent::ListenerClosed { listener_id: id, reason: Ok(()) });
        self.waker.take().into_iter().for_each(Waker::wake);
        true
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<Error>> {
        let destination = match address::destination(&address) {
            Some(destination) if options.role.is_dialer() => destination,
            _ => return Err(TransportError::MultiaddrNotSupported(address)),
        };
        let requests = self.requests.clone();
        Ok(async move {
            let (answer, dialed) = oneshot::channel();
            let asked = requests.unbounded_send(Request::Dial(destination, answer));
            asked.map_err(|_| Error::Stopped)?;
            dialed.await.map_err(|_| Error::Stopped)?
        }
        .boxed())
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            match self.notices.poll_next_unpin(context) {
                Poll::Ready(Some(notice)) => {
                    if let Some(event) = self.event(notice) {
                        return Poll::Ready(event);
                    }
                }
                Poll::Ready(None) | Poll::Pending => {
                    self.waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}
