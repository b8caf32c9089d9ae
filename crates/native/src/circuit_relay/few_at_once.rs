//! Introduces strangers to one peer a few at a time, in order. libp2p's relay begins with all of them at once and loses those
//! beyond ten: whoever asked for such a circuit never gets an answer, and the circuit counts for as long as they are connected.
use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    relay,
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError},
    },
};
use tokio::time::{Instant, Sleep, sleep_until};

/// Introductions on one connection that are under way at the same time; the others wait. Fewer than libp2p takes: 10 here, and
/// 10 in the peer.
const AT_ONCE_MAX: usize = 8;

/// The most that wait on one connection. Beyond them the one that came first is refused.
const WAITING_MAX: usize = 256;

/// Whoever waited for so long has given up, and is refused. As long as a homeserver waits for a connection.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// The relay of libp2p, with patience.
pub struct Behaviour(pub relay::Behaviour);

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler<THandler<relay::Behaviour>>;
    type ToSwarm = relay::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<Self::ConnectionHandler, ConnectionDenied> {
        self.0.handle_established_inbound_connection(connection, peer, local, remote).map(Handler::new)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<Self::ConnectionHandler, ConnectionDenied> {
        self.0.handle_established_outbound_connection(connection, peer, address, role, port).map(Handler::new)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.0.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<relay::Behaviour>,
    ) {
        self.0.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<relay::Event, THandlerInEvent<relay::Behaviour>>> {
        self.0.poll(context)
    }
}

type Outbound<H> =
    SubstreamProtocol<<H as ConnectionHandler>::OutboundProtocol, <H as ConnectionHandler>::OutboundOpenInfo>;

/// Every stream that libp2p's handler asks for is an introduction, and it tells of the end of each.
pub struct Handler<H: ConnectionHandler> {
    inner: H,
    under_way: usize,
    /// In the order they were asked for, and until when they wait.
    waiting: VecDeque<(Outbound<H>, Instant)>,
    /// Refused, and libp2p's handler has still to tell.
    refused: usize,
    /// Until when the first one waits, or one that was the first.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<H: ConnectionHandler> Handler<H> {
    fn new(inner: H) -> Self {
        Self { inner, under_way: 0, waiting: VecDeque::new(), refused: 0, timer: None }
    }

    /// Says to libp2p's handler that a stream could not be had, for each that waits in vain.
    fn refuse(&mut self, context: &mut Context<'_>) {
        while self.waiting.len() > WAITING_MAX || self.is_first_late(context) {
            let Some((protocol, _)) = self.waiting.pop_front() else { return };
            let (_, info) = protocol.into_upgrade();
            let error = DialUpgradeError { info, error: StreamUpgradeError::Timeout };
            self.refused += 1;
            self.inner.on_connection_event(ConnectionEvent::DialUpgradeError(error));
        }
    }

    fn is_first_late(&mut self, context: &mut Context<'_>) -> bool {
        let Some((_, until)) = self.waiting.front() else { return false };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(*until)));
        if timer.deadline() != *until {
            timer.as_mut().reset(*until);
        }
        timer.as_mut().poll(context).is_ready()
    }

    /// An introduction came to its end.
    fn ended(&mut self) {
        match self.refused.checked_sub(1) {
            Some(left) => self.refused = left,
            None => self.under_way = self.under_way.saturating_sub(1),
        }
    }
}

impl<H: ConnectionHandler> ConnectionHandler for Handler<H> {
    type FromBehaviour = H::FromBehaviour;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = H::InboundProtocol;
    type OutboundProtocol = H::OutboundProtocol;
    type InboundOpenInfo = H::InboundOpenInfo;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<H::InboundProtocol, H::InboundOpenInfo> {
        self.inner.listen_protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<H::OutboundProtocol, H::OutboundOpenInfo, H::ToBehaviour>> {
        loop {
            if self.under_way < AT_ONCE_MAX
                && let Some((protocol, _)) = self.waiting.pop_front()
            {
                self.under_way += 1;
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
            self.refuse(context);
            match ready!(self.inner.poll(context)) {
                ConnectionHandlerEvent::OutboundSubstreamRequest { protocol } => {
                    self.waiting.push_back((protocol, Instant::now() + WAIT_MAX));
                }
                ConnectionHandlerEvent::NotifyBehaviour(event) => {
                    if ends_an_introduction(&event) {
                        self.ended();
                    }
                    return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
                }
                other => return Poll::Ready(other),
            }
        }
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<Option<H::ToBehaviour>> {
        self.inner.poll_close(context)
    }

    fn on_behaviour_event(&mut self, event: H::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, H::InboundProtocol, H::OutboundProtocol, H::InboundOpenInfo, H::OutboundOpenInfo>,
    ) {
        self.inner.on_connection_event(event);
    }
}

/// What libp2p calls the two ends of an introduction, in an enum that it lets nobody name.
const ENDS: [&str; 2] = ["Left(Event::OutboundConnectNegotiated ", "Left(Event::OutboundConnectNegotiationFailed "];

fn ends_an_introduction(event: &impl fmt::Debug) -> bool {
    let mut head = Head(String::new());
    // An error once there is enough to tell.
    let _ = write!(head, "{event:?}");
    ENDS.iter().any(|end| head.0.starts_with(end))
}

/// The beginning of what is written.
struct Head(String);

impl fmt::Write for Head {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        if ENDS.iter().all(|end| self.0.len() >= end.len()) { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
