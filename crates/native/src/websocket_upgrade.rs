//! The WebSocket handshake (RFC 6455, section 4.2) on a connection of the HTTP listener, and the hand-over to whom it is
//! for: the relay, mostly.
use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{circuit_relay::RelayDoor, handed_over_sockets::Arrival, websocket_bytes::WebSocketBytes};

/// What the relay gets: the bytes of an upgraded connection.
pub type RelaySocket = WebSocketBytes<TokioIo<Upgraded>>;

/// Where the relay is. A multiaddr that ends in `/ws` means the path `/`.
const RELAY_PATHS: [&str; 2] = ["/", "/p2p"];

/// A client told that the relay is full should come back after this many seconds.
const RETRY_AFTER_SECONDS: u64 = 5;

/// Whether this request asks for a WebSocket where the relay offers one.
pub fn is_for_relay<B>(request: &Request<B>) -> bool {
    RELAY_PATHS.contains(&request.uri().path()) && is_wanted(request)
}

/// Whether this request asks for a WebSocket.
pub fn is_wanted<B>(request: &Request<B>) -> bool {
    has_token(request.headers(), header::CONNECTION, "upgrade")
        && has_token(request.headers(), header::UPGRADE, "websocket")
}

/// Answers the handshake as [`switch`] does; once the answer is sent the socket belongs to the relay.
///
/// 503 while the relay has no place left.
pub fn accept(
    request: Request<Incoming>,
    remote: SocketAddr,
    relay: &Arc<RelayDoor<RelaySocket>>,
) -> Response<Full<Bytes>> {
    let Some(place) = relay.place() else {
        let mut refusal = refuse(StatusCode::SERVICE_UNAVAILABLE, "The relay has no place left. Try again later.\n");
        refusal.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        return refusal;
    };
    let relay = relay.clone();
    switch(request, remote, async move |upgraded| {
        let bytes = WebSocketBytes::new(TokioIo::new(upgraded), place).await;
        relay.enter(Arrival { bytes, remote }).await;
    })
}

/// Answers the handshake; once the answer is sent `then` gets the connection.
///
/// 400 for a handshake that is none, 426 for another version than 13.
pub fn switch<F>(
    mut request: Request<Incoming>,
    remote: SocketAddr,
    then: impl FnOnce(Upgraded) -> F + Send + 'static,
) -> Response<Full<Bytes>>
where
    F: Future<Output = ()> + Send + 'static,
{
    let accept_key = match check(&request) {
        Ok(accept_key) => accept_key,
        Err(refusal) => return refusal.into_response(),
    };
    tokio::spawn(hand_over(hyper::upgrade::on(&mut request), remote, then));
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept_key);
    response
}

/// Why a handshake is none.
#[derive(Debug, PartialEq)]
enum Refusal {
    Malformed(&'static str),
    OtherVersion,
}

impl Refusal {
    fn into_response(self) -> Response<Full<Bytes>> {
        match self {
            Self::Malformed(reason) => refuse(StatusCode::BAD_REQUEST, reason),
            Self::OtherVersion => {
                let mut response = refuse(StatusCode::UPGRADE_REQUIRED, "This WebSocket speaks version 13.\n");
                response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
                response
            }
        }
    }
}

/// The value of Sec-WebSocket-Accept for a proper handshake.
fn check<B>(request: &Request<B>) -> Result<HeaderValue, Refusal> {
    if request.method() != Method::GET {
        return Err(Refusal::Malformed("A WebSocket handshake is a GET request.\n"));
    }
    if request.headers().get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::OtherVersion);
    }
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let key = key.ok_or(Refusal::Malformed("Sec-WebSocket-Key is missing.\n"))?;
    HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|_| Refusal::Malformed("Sec-WebSocket-Key is malformed.\n"))
}

async fn hand_over<F: Future<Output = ()>>(upgrade: OnUpgrade, remote: SocketAddr, then: impl FnOnce(Upgraded) -> F) {
    match upgrade.await {
        Ok(upgraded) => then(upgraded).await,
        Err(error) => tracing::debug!(%error, %remote, "a WebSocket was asked for and then abandoned"),
    }
}

fn refuse(status: StatusCode, reason: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(reason));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    let mut tokens = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    tokens.any(|candidate| candidate.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(headers: &[(&'static str, &'static str)]) -> Request<()> {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request
    }

    #[test]
    fn handshakes_are_recognised_as_browsers_send_them() {
        assert!(is_for_relay(&handshake(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")])));
        assert!(!is_wanted(&handshake(&[("connection", "keep-alive"), ("upgrade", "websocket")])));
        assert!(!is_wanted(&handshake(&[("connection", "upgrade"), ("upgrade", "h2c")])));
        let mut elsewhere = handshake(&[("connection", "upgrade"), ("upgrade", "websocket")]);
        *elsewhere.uri_mut() = "/other".parse().unwrap();
        assert!(is_wanted(&elsewhere) && !is_for_relay(&elsewhere));
    }

    #[test]
    fn the_accept_key_is_the_one_of_the_standard() {
        let version = ("sec-websocket-version", "13");
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(check(&handshake(&[version, key])).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(matches!(check(&handshake(&[version])), Err(Refusal::Malformed(_))));
        assert_eq!(check(&handshake(&[("sec-websocket-version", "8"), key])), Err(Refusal::OtherVersion));
    }
}
