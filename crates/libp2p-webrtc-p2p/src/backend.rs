//! What a browser does for this crate, behind a seam: peer connections, their descriptions, candidates and channels.
#[cfg(target_arch = "wasm32")]
pub mod browser;
pub mod ice;
pub mod memory;

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use libp2p_identity::PeerId;
use thiserror::Error;

use crate::{
    signaling::{candidate::Candidate, session::ConnectionState},
    stream::{Budget, Pipe},
};

/// Something the browser does, which takes a moment.
pub type Call<T> = BoxFuture<'static, Result<T, RtcError>>;

/// What the browser said.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("WebRTC: {0}")]
pub struct RtcError(pub String);

/// Makes peer connections.
pub trait RtcBackend: Send {
    /// To `peer`, which only tells connections apart for people: who is at the other end the descriptions decide.
    fn connect(&mut self, peer: &PeerId) -> Result<Box<dyn PeerConnection>, RtcError>;
}

impl RtcBackend for Box<dyn RtcBackend> {
    fn connect(&mut self, peer: &PeerId) -> Result<Box<dyn PeerConnection>, RtcError> {
        (**self).connect(peer)
    }
}

/// One `RTCPeerConnection`. Dropped, it is closed.
pub trait PeerConnection: Send {
    /// Creates the channel `init` and an offer, and sets it as the local description.
    ///
    /// NOTSPEC: `init` stays open as long as the connection, though webrtc.md has the offerer close it. Firefox sometimes does
    /// not notice the end of a channel that was closed just after it was opened; the next one gets the same number
    /// from the other browser, and is never heard.
    fn make_offer(&mut self) -> Call<String>;

    /// Sets the remote description, creates an answer and sets it as the local description.
    fn make_answer(&mut self, offer: String) -> Call<String>;

    /// Sets the remote description.
    fn apply_answer(&mut self, answer: String) -> Call<()>;

    fn add_candidate(&mut self, candidate: Candidate) -> Call<()>;

    /// A new channel: label `""`, ordered and reliable. It need not be open yet.
    fn open_channel(&mut self) -> Call<Pipe>;

    /// What happened, in order. Also makes pipes hear of what happened to their channels, where that takes turns.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<RtcEvent>;

    /// What the channels hold together.
    fn budget(&self) -> Arc<Budget>;

    /// Closes the connection and its channels. Nothing happens afterwards.
    fn close(&mut self);
}

#[derive(Debug)]
pub enum RtcEvent {
    /// We can be reached there.
    Found(Candidate),
    State(ConnectionState),
    /// The other side opened a channel; not for `init`.
    Channel(Pipe),
}
