//! Opens and accepts HTTP streams on a connection of our choice.
//!
//! libp2p-stream picks any connection of a peer, tells nobody which one an incoming stream came by, drops what comes
//! too fast, and opens one stream at a time; between a relayed and a direct connection all of that matters.
//!
//! On a direct connection nothing holds a sender back whose receiver pauses, so there HTTP is spoken with credit where
//! both sides know it; circuits have yamux's windows.
use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    task::{Context, Poll},
};

use futures::{
    channel::oneshot,
    future::{Either, Ready, ready},
};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{
        Endpoint,
        transport::PortUse,
        upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
    },
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use libp2p_webrtc_p2p::{
    address::is_direct,
    credit::{Credited, protocol_name},
};
use thiserror::Error;

use super::http;

const PROTOCOL: StreamProtocol = StreamProtocol::new(http::PROTOCOL);

/// A stream for HTTP, with credit or without.
pub type HttpStream = Either<Stream, Credited<Stream>>;

/// Streams asked for and not yet begun to open, per connection. More are refused.
const QUEUED_OPENS_MAX: usize = 64;

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("the peer does not speak {}", http::PROTOCOL)]
    Unsupported,
    #[error("too many streams are being opened to it")]
    TooMany,
    /// The connection is of no more use.
    #[error("{0}")]
    Broken(String),
}

type Answer = oneshot::Sender<Result<HttpStream, OpenError>>;

/// A peer opened a stream.
#[derive(Debug)]
pub struct Incoming {
    pub peer: PeerId,
    pub connection: ConnectionId,
    pub stream: HttpStream,
}

#[derive(Default)]
pub struct Behaviour {
    actions: VecDeque<ToSwarm<Incoming, Open>>,
}

impl Behaviour {
    /// Opens a stream on `connection` and tells `answer`; dropped unanswered where that connection is gone.
    pub fn open(&mut self, peer: PeerId, connection: ConnectionId, answer: Answer) {
        let handler = NotifyHandler::One(connection);
        self.actions.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: Open(answer) });
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Incoming;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(is_direct(remote)))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(is_direct(remote)))
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        Accepted(stream): THandlerOutEvent<Self>,
    ) {
        self.actions.push_back(ToSwarm::GenerateEvent(Incoming { peer, connection, stream }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // Whoever adds an action polls the swarm afterwards, so there is no waker to keep.
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// To a connection: open a stream.
pub struct Open(Answer);

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Open")
    }
}

/// From a connection: the peer opened a stream.
#[derive(Debug)]
pub struct Accepted(HttpStream);

/// What is spoken on a connection, best first.
#[derive(Clone)]
pub struct Protocols(Vec<(StreamProtocol, bool)>);

impl Protocols {
    fn new(with_credit: bool) -> Self {
        let credited = StreamProtocol::try_from_owned(protocol_name(http::PROTOCOL));
        let credited = credited.ok().filter(|_| with_credit).map(|name| (name, true));
        Self(credited.into_iter().chain([(PROTOCOL, false)]).collect())
    }

    fn stream(&self, stream: Stream, spoken: &StreamProtocol) -> HttpStream {
        let credited = self.0.iter().any(|(name, credited)| name == spoken && *credited);
        if credited { Either::Right(Credited::new(stream)) } else { Either::Left(stream) }
    }
}

impl UpgradeInfo for Protocols {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().into_iter()
    }
}

impl InboundUpgrade<Stream> for Protocols {
    type Output = HttpStream;
    type Error = Infallible;
    type Future = Ready<Result<HttpStream, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, spoken: StreamProtocol) -> Self::Future {
        ready(Ok(self.stream(stream, &spoken)))
    }
}

impl OutboundUpgrade<Stream> for Protocols {
    type Output = HttpStream;
    type Error = Infallible;
    type Future = Ready<Result<HttpStream, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, spoken: StreamProtocol) -> Self::Future {
        ready(Ok(self.stream(stream, &spoken)))
    }
}

pub struct Handler {
    protocols: Protocols,
    opens: VecDeque<Answer>,
    accepted: VecDeque<HttpStream>,
}

impl Handler {
    fn new(with_credit: bool) -> Self {
        Self { protocols: Protocols::new(with_credit), opens: VecDeque::new(), accepted: VecDeque::new() }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Accepted;
    type InboundProtocol = Protocols;
    type OutboundProtocol = Protocols;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Answer;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(self.protocols.clone(), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Answer, Self::ToBehaviour>> {
        // A connection polls its handler after every event it gives it, so there is no waker to keep.
        if let Some(stream) = self.accepted.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Accepted(stream)));
        }
        if let Some(answer) = self.opens.pop_front() {
            let protocol = SubstreamProtocol::new(self.protocols.clone(), answer);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, Open(answer): Open) {
        if self.opens.len() < QUEUED_OPENS_MAX {
            self.opens.push_back(answer);
        } else {
            let _ = answer.send(Err(OpenError::TooMany));
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol, (), Answer>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                self.accepted.push_back(protocol);
            }
            // Whoever asked may have stopped waiting: then the stream is dropped, and reset.
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                let _ = info.send(Ok(protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info }) => {
                let _ = info.send(Err(open_error(error)));
            }
            _ => {}
        }
    }
}

fn open_error(error: StreamUpgradeError<Infallible>) -> OpenError {
    match error {
        StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
        StreamUpgradeError::Timeout => OpenError::Broken("the peer did not answer a new stream in time".to_owned()),
        StreamUpgradeError::Io(error) => OpenError::Broken(error.to_string()),
        StreamUpgradeError::Apply(never) => match never {},
    }
}
