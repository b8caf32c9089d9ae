//! HTTP to push gateways, which are out in the web and not homeservers. Shells that cannot reach them have no such port.
use bytes::Bytes;
use futures::future::LocalBoxFuture;
use thiserror::Error;

/// Why a gateway has not answered. The text is for the log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PushGatewayError {
    /// It is nowhere a push may go: an address within this machine or network, say.
    #[error("pushes do not go to {0}")]
    Forbidden(String),
    #[error("the push gateway did not answer: {0}")]
    Unreachable(String),
}

pub trait PushGateways {
    /// Whether pushes may go by plain HTTP and to addresses that are not of the public internet.
    fn allows_local(&self) -> bool;

    /// Posts JSON to an `http` or `https` URL, without following redirects, and resolves to status and body of the
    /// answer. Time and size are bounded.
    fn post(&self, url: &http::Uri, body: Bytes) -> LocalBoxFuture<'static, Result<(u16, Bytes), PushGatewayError>>;
}
