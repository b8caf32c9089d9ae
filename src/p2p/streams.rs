//! Opens and accepts HTTP streams on a connection of our choice: between homeservers, and between one and its gateway.
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

use super::{gateway, http};

/// Who speaks HTTP with whom on a stream, which is what its protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// One homeserver with another.
    Homeservers,
    /// A homeserver with its gateway, or the other way round.
    Gateway,
}

impl Spoken {
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Homeservers => http::PROTOCOL,
            Self::Gateway => gateway::PROTOCOL,
        }
    }
}

/// A stream for HTTP, with credit or without.
pub type HttpStream = Either<Stream, Credited<Stream>>;

/// Streams asked for and not yet begun to open, per connection. More are refused.
const QUEUED_OPENS_MAX: usize = 64;

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("the peer does not speak {0}")]
    Unsupported(&'static str),
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
    pub spoken: Spoken,
    pub stream: HttpStream,
}

pub struct Behaviour {
    listens: Vec<Spoken>,
    actions: VecDeque<ToSwarm<Incoming, Open>>,
}

impl Behaviour {
    /// Accepts streams of these kinds; opens those of any.
    pub fn new(listens: impl Into<Vec<Spoken>>) -> Self {
        Self { listens: listens.into(), actions: VecDeque::new() }
    }

    /// Opens a stream on `connection` and tells `answer`; dropped unanswered where that connection is gone.
    pub fn open(&mut self, peer: PeerId, connection: ConnectionId, spoken: Spoken, answer: Answer) {
        let handler = NotifyHandler::One(connection);
        self.actions.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: Open(spoken, answer) });
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
        Ok(Handler::new(&self.listens, is_direct(remote)))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(&self.listens, is_direct(remote)))
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        Accepted(spoken, stream): THandlerOutEvent<Self>,
    ) {
        self.actions.push_back(ToSwarm::GenerateEvent(Incoming { peer, connection, spoken, stream }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // Whoever adds an action polls the swarm afterwards, so there is no waker to keep.
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// To a connection: open a stream.
pub struct Open(Spoken, Answer);

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Open")
    }
}

/// From a connection: the peer opened a stream.
#[derive(Debug)]
pub struct Accepted(Spoken, HttpStream);

/// What is spoken on a connection, best first: under which name, and whether with credit.
#[derive(Clone)]
pub struct Protocols(Vec<(StreamProtocol, Spoken, bool)>);

impl Protocols {
    fn new(spoken: &[Spoken], with_credit: bool) -> Self {
        let names = |spoken: Spoken| {
            let credited = StreamProtocol::try_from_owned(protocol_name(spoken.protocol())).ok();
            let credited = credited.filter(|_| with_credit).map(|name| (name, spoken, true));
            credited.into_iter().chain([(StreamProtocol::new(spoken.protocol()), spoken, false)])
        };
        Self(spoken.iter().copied().flat_map(names).collect())
    }

    /// The library negotiates no other protocol than one of these.
    fn stream(&self, stream: Stream, name: &StreamProtocol) -> (Spoken, HttpStream) {
        let found = self.0.iter().find(|(known, ..)| known == name);
        let (spoken, credited) =
            found.map_or((Spoken::Homeservers, false), |(_, spoken, credited)| (*spoken, *credited));
        (spoken, if credited { Either::Right(Credited::new(stream)) } else { Either::Left(stream) })
    }
}

impl UpgradeInfo for Protocols {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.iter().map(|(name, ..)| name.clone()).collect::<Vec<_>>().into_iter()
    }
}

impl InboundUpgrade<Stream> for Protocols {
    type Output = (Spoken, HttpStream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok(self.stream(stream, &name)))
    }
}

impl OutboundUpgrade<Stream> for Protocols {
    type Output = (Spoken, HttpStream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok(self.stream(stream, &name)))
    }
}

pub struct Handler {
    listens: Protocols,
    with_credit: bool,
    opens: VecDeque<Open>,
    accepted: VecDeque<Accepted>,
}

impl Handler {
    fn new(listens: &[Spoken], with_credit: bool) -> Self {
        let listens = Protocols::new(listens, with_credit);
        Self { listens, with_credit, opens: VecDeque::new(), accepted: VecDeque::new() }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Accepted;
    type InboundProtocol = Protocols;
    type OutboundProtocol = Protocols;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Open;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(self.listens.clone(), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Open, Self::ToBehaviour>> {
        // A connection polls its handler after every event it gives it, so there is no waker to keep.
        if let Some(accepted) = self.accepted.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(accepted));
        }
        if let Some(open) = self.opens.pop_front() {
            let protocol = SubstreamProtocol::new(Protocols::new(&[open.0], self.with_credit), open);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, open: Open) {
        if self.opens.len() < QUEUED_OPENS_MAX {
            self.opens.push_back(open);
        } else {
            let _ = open.1.send(Err(OpenError::TooMany));
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol, (), Open>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                let (spoken, stream) = protocol;
                self.accepted.push_back(Accepted(spoken, stream));
            }
            // Whoever asked may have stopped waiting: then the stream is dropped, and reset.
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                let _ = info.1.send(Ok(protocol.1));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info }) => {
                let _ = info.1.send(Err(open_error(error, info.0)));
            }
            _ => {}
        }
    }
}

fn open_error(error: StreamUpgradeError<Infallible>, spoken: Spoken) -> OpenError {
    match error {
        StreamUpgradeError::NegotiationFailed => OpenError::Unsupported(spoken.protocol()),
        StreamUpgradeError::Timeout => OpenError::Broken("the peer did not answer a new stream in time".to_owned()),
        StreamUpgradeError::Io(error) => OpenError::Broken(error.to_string()),
        StreamUpgradeError::Apply(never) => match never {},
    }
}
