//! Until the swarm is wired in: every destination is unreachable, and says so.
use bytes::Bytes;
use futures::future::{LocalBoxFuture, ready};
use ruma::{OwnedServerName, ServerName};

use warren::ports::{Lane, Transport, TransportError};

pub struct OfflineTransport;

impl Transport for OfflineTransport {
    fn request(
        &self,
        server: OwnedServerName,
        _: Lane,
        _: http::Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<http::Response<Bytes>, TransportError>> {
        Box::pin(ready(Err(TransportError::Unreachable { server, reason: "this build has no network".to_owned() })))
    }

    fn connected(&self) -> Vec<OwnedServerName> {
        Vec::new()
    }

    fn add_address_hints(&self, _: &ServerName, _: Vec<String>) {}
}
