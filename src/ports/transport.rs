//! Federation requests to other homeservers, whatever carries them.
use bytes::Bytes;
use futures::future::LocalBoxFuture;
use ruma::{OwnedServerName, ServerName};
use thiserror::Error;

use crate::domain::zone::Found;

/// Which of the kept-alive streams to a peer a request takes, so that nothing waits behind a big answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// One stream, in order: `/send` transactions.
    Transactions,
    /// A small pool: everything else.
    Queries,
}

/// Whether there is a way to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// There is one at this moment.
    Now,
    /// None that is known of now; it may come.
    Later,
    /// None, and by the names of the two there will be none.
    Never {
        /// What a person is told: the rest of a sentence that says so.
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TransportError {
    /// The two servers are on networks that do not meet: nothing was tried, and nothing will help.
    #[error("{server} cannot be reached from here: {reason}")]
    NeverReachable { server: OwnedServerName, reason: String },
    /// No connection to that server and none could be made.
    #[error("{server} is not reachable: {reason}")]
    Unreachable { server: OwnedServerName, reason: String },
    /// The connection ended before the whole answer arrived; the request may or may not have been carried out.
    #[error("connection to {server} was lost: {reason}")]
    Interrupted { server: OwnedServerName, reason: String },
    /// No answer in time; the request may or may not have been carried out.
    #[error("{server} did not answer in time")]
    TimedOut { server: OwnedServerName },
    /// The answer broke a bound or was not HTTP.
    #[error("{server} answered malformed: {reason}")]
    Malformed { server: OwnedServerName, reason: String },
}

/// A server that a good connection is wanted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub server: OwnedServerName,
    /// How much, as of [`Ties::weight`](crate::domain::ties::Ties::weight).
    pub weight: u32,
}

pub trait Transport {
    /// Sends a signed request and resolves to the whole answer. Connects if need be. The URI is path and query only.
    ///
    /// Whoever answers may speak for `destination`, which the transport sees to: its name is the key it connected with, or
    /// it has a certificate for it, or what is trusted to reach it is in between. Its published keys are believed for that
    /// (`/_matrix/key/v2/server`, which is asked for unsigned).
    fn request(
        &self,
        destination: OwnedServerName,
        lane: Lane,
        request: http::Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<http::Response<Bytes>, TransportError>>;

    /// Servers with a live connection right now. The shell calls `Homeserver::peer_connected` when one joins them.
    fn connected(&self) -> Vec<OwnedServerName>;

    /// Whether there is a way to `server`, which is another one than this.
    fn reach(&self, server: &ServerName) -> Reach {
        if self.connected().iter().any(|connected| connected == server) { Reach::Now } else { Reach::Later }
    }

    /// Where `server` is to be found, as far as is known: by its name, unless more is.
    fn found(&self, server: &ServerName) -> Found {
        Found::of(server)
    }

    /// Multiaddresses at which `server` was reached, says it is, or is said to be, best first.
    fn known_addresses(&self, _server: &ServerName) -> Vec<String> {
        Vec::new()
    }

    /// Remembers multiaddresses at which `server` may be reached (from an invite link, say).
    fn add_address_hints(&self, server: &ServerName, addresses: Vec<String>);

    /// `server` asked something and has proven who it is, over what the transport may know nothing of.
    fn heard_from(&self, _server: &ServerName) {}

    /// Replaces whom good connections are wanted to, most wanted first: where there cannot be one for everybody, these get
    /// them. Others are wanted less than any of these.
    fn set_wanted(&self, _wanted: Vec<Wanted>) {}
}
