//! libp2p's `/webrtc` transport, browser to browser: peers that a relay has introduced talk directly.
//!
//! [`new`] gives a [`Transport`] and a [`Behaviour`] that belong together. Three rules for putting them into a swarm:
//!
//! 1. The transport goes **in front of** the relay client's, which takes every address with a circuit in it.
//! 2. Listen on `/webrtc` and hold a reservation at a relay, or listen on `<relay>/p2p/<R>/p2p-circuit/webrtc`.
//! 3. Dial with [`Behaviour::dial`], so that the connection is called `/webrtc/p2p/<peer>`: libp2p takes addresses
//!    with `/p2p-circuit` in them for relayed connections. The spec's addresses can be dialed too, with that drawback.
//!
//! Put [`Unaddressed`] around identify, or js-libp2p forgets what it says over direct connections.
//!
//! The relayed connection stays; close it when the peer has said something over the direct one.
//!
//! What a browser does is behind [`backend::RtcBackend`]; [`backend::memory`] does it without one.
pub mod address;
pub mod backend;
mod behaviour;
mod connection;
pub mod credit;
pub mod diagnosis;
mod error;
mod handler;
mod negotiation;
mod pieces;
pub mod signaling;
pub mod stream;
mod transport;
#[cfg(test)]
mod two_ways;
mod unaddressed;
mod unframe;

pub use self::{
    behaviour::{ATTEMPTS_MAX, Admission, Behaviour, CIRCUITS_MAX, Event, FAREWELLS_MAX, WAITING_MAX, new},
    connection::{CHANNELS_MAX, Connection, ConnectionError, INBOUND_MAX},
    error::Error,
    negotiation::{EARLY_CHANNELS_MAX, NEGOTIATION_S},
    transport::{Output, Transport},
    unaddressed::Unaddressed,
};
