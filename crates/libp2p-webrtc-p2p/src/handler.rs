//! Opens and accepts signalling streams on a connection; the behaviour decides what becomes of them.
use std::{
    collections::VecDeque,
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use libp2p_core::upgrade::ReadyUpgrade;
use libp2p_swarm::{
    ConnectionHandler, ConnectionHandlerEvent, Stream, StreamProtocol, StreamUpgradeError, SubstreamProtocol,
    handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
};

use crate::signaling::PROTOCOL;

/// Signalling streams of the peer that the behaviour has not taken yet; more are reset.
const ACCEPTED_MAX: usize = 2;

/// How long the peer may take to agree to a signalling stream, in seconds. Short: a peer that has reloaded never does,
/// and until then its own offers lose against ours.
pub(crate) const OPENING_S: u64 = 5;

/// To a connection: open a stream for this attempt.
#[derive(Clone, Copy, Debug)]
pub struct Open(pub(crate) u64);

/// From a connection.
#[derive(Debug)]
pub enum Told {
    Opened(u64, Stream),
    NotOpened(u64, String),
    Accepted(Stream),
}

#[derive(Default)]
pub struct Handler {
    opens: VecDeque<u64>,
    told: VecDeque<Told>,
}

impl Handler {
    fn accepted(&self) -> usize {
        self.told.iter().filter(|told| matches!(told, Told::Accepted(_))).count()
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Told;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = u64;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, u64, Told>> {
        // A connection polls its handler after every event it gives it, so there is no waker to keep.
        if let Some(told) = self.told.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(told));
        }
        if let Some(number) = self.opens.pop_front() {
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), number)
                .with_timeout(Duration::from_secs(OPENING_S));
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, Open(number): Open) {
        self.opens.push_back(number);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol, (), u64>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. })
                if self.accepted() < ACCEPTED_MAX =>
            {
                self.told.push_back(Told::Accepted(protocol));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                self.told.push_back(Told::Opened(info, protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info }) => {
                self.told.push_back(Told::NotOpened(info, why(error)));
            }
            _ => {}
        }
    }
}

fn why(error: StreamUpgradeError<Infallible>) -> String {
    match error {
        StreamUpgradeError::NegotiationFailed => "it does not speak /webrtc-signaling".to_owned(),
        StreamUpgradeError::Timeout => "it does not answer".to_owned(),
        StreamUpgradeError::Io(error) => error.to_string(),
        StreamUpgradeError::Apply(never) => match never {},
    }
}
