//! Connections to hosts of strangers' choosing: the address is judged that is dialed, and the certificate must be for the
//! name that was meant.
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{error::Elapsed, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types};

use super::{names::Names, trust::Trust};
use crate::{public_addresses::is_public, write_deadline::WriteDeadline};

/// Looking a name up may take so long.
const LOOK_UP_MAX: Duration = Duration::from_secs(10);
/// A connection to one address, and then the handshake, each.
const CONNECT_MAX: Duration = Duration::from_secs(5);
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Addresses of a host that are tried.
const ADDRESSES_TRIED_MAX: usize = 4;
/// Connections being made at a time; further ones wait.
const DIALS_AT_ONCE_MAX: usize = 64;
/// One document of the web, from the look-up to its end.
const STEP_MAX: Duration = Duration::from_secs(10);
/// A server that takes no byte for this long is given up.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// Names that are never looked up (RFC 9476).
const NEVER_LOOKED_UP: &str = "alt";

/// Which addresses may be dialed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The public internet's alone.
    Public,
    /// Private ones as well: for a federation within one network, or one machine.
    Everywhere,
    /// What tests on loopback need to tell an address that may be dialed from one that may not.
    #[cfg(test)]
    AllBut(IpAddr),
}

impl Reach {
    fn has(self, address: IpAddr) -> bool {
        match self {
            Self::Public => is_public(address),
            Self::Everywhere => true,
            #[cfg(test)]
            Self::AllBut(denied) => address != denied,
        }
    }
}

/// A host and a port, as a URL or a server name has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    #[error("{host} is at {address}, which is no address of the public internet")]
    Forbidden { host: String, address: IpAddr },
    #[error("{host} cannot be found: {reason}")]
    NotFound { host: String, reason: String },
    #[error("{host} cannot be connected to: {reason}")]
    Refused { host: String, reason: String },
    #[error("{host} is not who it should be: {reason}")]
    Untrusted { host: String, reason: String },
    #[error("{host} has no name that a certificate could be for")]
    NoName { host: String },
}

pub type Stream = TlsStream<WriteDeadline<TcpStream>>;

pub struct Dialer {
    names: Arc<dyn Names>,
    trust: Trust,
    reach: Reach,
    places: Semaphore,
    /// For a document of the web, or where it leads.
    pub(super) step_max: Duration,
}

impl Dialer {
    pub fn new(names: Arc<dyn Names>, trust: Trust, reach: Reach) -> Self {
        Self { names, trust, reach, places: Semaphore::new(DIALS_AT_ONCE_MAX), step_max: STEP_MAX }
    }

    pub(super) fn names(&self) -> &dyn Names {
        &*self.names
    }

    /// A connection to `target` whose other end has a certificate for `certified`, a name or an address.
    pub async fn dial(&self, target: &Target, certified: &str) -> Result<Stream, DialError> {
        let _place = self.places.acquire().await.expect("nobody closes the semaphore");
        let host = target.host.as_str();
        let name = pki_types::ServerName::try_from(certified.to_owned())
            .map_err(|_| DialError::NoName { host: certified.to_owned() })?;
        let (stream, address) = self.connect(target).await?;
        let stream = WriteDeadline::new(stream, WRITE_STALL_MAX);
        let config = match &self.trust.loopback {
            Some(anybody) if address.ip().to_canonical().is_loopback() => anybody,
            _ => &self.trust.verified,
        };
        let shaken = timeout(HANDSHAKE_MAX, TlsConnector::from(config.clone()).connect(name, stream)).await;
        let untrusted = |reason: String| DialError::Untrusted { host: host.to_owned(), reason };
        shaken.map_err(|_| untrusted(late(HANDSHAKE_MAX)))?.map_err(|error| untrusted(error.to_string()))
    }

    /// What is judged is what is dialed: a name that changes its mind between two look-ups gains nothing.
    async fn connect(&self, target: &Target) -> Result<(TcpStream, SocketAddr), DialError> {
        let host = || target.host.clone();
        let found = self.addresses(target).await?;
        let allowed = |address: &&SocketAddr| self.reach.has(address.ip());
        let mut failure = match found.iter().find(|address| !allowed(address)) {
            Some(denied) => DialError::Forbidden { host: host(), address: denied.ip() },
            None => DialError::NotFound { host: host(), reason: "it has no address".to_owned() },
        };
        for address in found.iter().filter(allowed).take(ADDRESSES_TRIED_MAX) {
            match flat(timeout(CONNECT_MAX, TcpStream::connect(address)).await, CONNECT_MAX) {
                Ok(stream) => {
                    // Requests are small and somebody waits for each. A socket that refuses this is closed already.
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, *address));
                }
                Err(reason) => failure = DialError::Refused { host: host(), reason },
            }
        }
        Err(failure)
    }

    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, DialError> {
        let Target { host, port } = target;
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![(address, *port).into()]);
        }
        let not_found = |reason: String| DialError::NotFound { host: host.clone(), reason };
        let last_label = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        if last_label.eq_ignore_ascii_case(NEVER_LOOKED_UP) {
            return Err(not_found(format!("names under .{NEVER_LOOKED_UP} are nowhere on the web")));
        }
        flat(timeout(LOOK_UP_MAX, self.names.addresses(host, *port)).await, LOOK_UP_MAX).map_err(not_found)
    }
}

fn flat<T>(outcome: Result<io::Result<T>, Elapsed>, limit: Duration) -> Result<T, String> {
    outcome.map_err(|_| late(limit))?.map_err(|error| error.to_string())
}

fn late(limit: Duration) -> String {
    format!("not within {} s", limit.as_secs())
}
