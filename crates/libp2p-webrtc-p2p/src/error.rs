//! Why there is no direct connection.
use libp2p_core::Multiaddr;
use thiserror::Error;

use crate::{
    backend::RtcError,
    negotiation::NEGOTIATION_S,
    signaling::{
        message::MessageError,
        session::{Failure, Stage},
    },
    unframe::LengthError,
};

#[derive(Debug, Error)]
pub enum Error {
    #[error("{0} is no address of /webrtc")]
    Address(Multiaddr),
    #[error("there is no connection to the peer to signal over, and no circuit to it is known")]
    NoWay,
    #[error("the circuit to the peer could not be made: {0}")]
    Circuit(String),
    #[error("the peer cannot be signalled to: {0}")]
    NotSignalled(String),
    /// Both sides offered at once; the peer's offer won and its connection is there.
    #[error("the peer's own connection was faster")]
    Superseded,
    /// Close it first to have another.
    #[error("there is a direct connection to the peer already")]
    Connected,
    #[error("another attempt to reach the peer is under way")]
    UnderWay,
    #[error("too many connections are being made")]
    Busy,
    #[error("the signalling stream broke: {0}")]
    StreamBroken(String),
    #[error("the peer does not keep to the signalling protocol: {0}")]
    Length(#[from] LengthError),
    #[error("the peer does not keep to the signalling protocol: {0}")]
    Message(#[from] MessageError),
    #[error(transparent)]
    Failed(#[from] Failure),
    #[error(transparent)]
    Rtc(#[from] RtcError),
    #[error("no direct connection within {NEGOTIATION_S} seconds ({0:?})")]
    TimedOut(Stage),
    #[error("the reservation at the relay is lost: {0}")]
    Reservation(String),
    #[error("the behaviour that makes connections is gone")]
    Stopped,
}

impl Error {
    /// Whether the peer turned the offer down without a word, as it does when its own comes first.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::StreamBroken(_) | Self::Failed(Failure::EndedEarly))
    }
}
