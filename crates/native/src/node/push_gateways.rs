//! HTTPS to push gateways, whose addresses users choose: nowhere but the public internet, unless the settings say so.
use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    client::conn::http1,
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::Semaphore};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use warren::ports::{PushGatewayError, PushGateways};

use crate::public_addresses::is_public;

/// How long a gateway may take for everything, from its name to the end of its answer.
const PUSH_TIME_MAX: Duration = Duration::from_secs(30);
/// An answer lists keys that were in the request.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// Pushes under way at a time; further ones wait.
const PUSHES_AT_ONCE_MAX: usize = 64;

pub struct WebGateways {
    allows_local: bool,
    tls: TlsConnector,
    places: Arc<Semaphore>,
}

impl WebGateways {
    /// With `allows_local` pushes may go by plain HTTP and to any address.
    pub fn new(allows_local: bool) -> Self {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring speaks the protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let places = Arc::new(Semaphore::new(PUSHES_AT_ONCE_MAX));
        Self { allows_local, tls: TlsConnector::from(Arc::new(config)), places }
    }
}

impl PushGateways for WebGateways {
    fn allows_local(&self) -> bool {
        self.allows_local
    }

    fn post(&self, url: &Uri, body: Bytes) -> LocalBoxFuture<'static, Result<(u16, Bytes), PushGatewayError>> {
        let exchange = Exchange { url: url.clone(), body, allows_local: self.allows_local, tls: self.tls.clone() };
        let places = self.places.clone();
        Box::pin(async move {
            let _place = places.acquire_owned().await.expect("nobody closes the semaphore");
            match tokio::time::timeout(PUSH_TIME_MAX, exchange.run()).await {
                Ok(answer) => answer,
                Err(_) => Err(PushGatewayError::Unreachable(format!("not within {} s", PUSH_TIME_MAX.as_secs()))),
            }
        })
    }
}

/// One request and its answer, on a connection of its own.
struct Exchange {
    url: Uri,
    body: Bytes,
    allows_local: bool,
    tls: TlsConnector,
}

impl Exchange {
    async fn run(self) -> Result<(u16, Bytes), PushGatewayError> {
        let secure = match self.url.scheme_str() {
            Some("https") => true,
            Some("http") if self.allows_local => false,
            _ => return Err(PushGatewayError::Forbidden(self.url.to_string())),
        };
        let host = self.url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = self.url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = self.connect(&host, port).await?;
        if !secure {
            return self.speak(TokioIo::new(stream)).await;
        }
        let name = ServerName::try_from(host).map_err(unreachable)?;
        let stream = self.tls.clone().connect(name, stream).await.map_err(unreachable)?;
        self.speak(TokioIo::new(stream)).await
    }

    /// Connects to an address the name has now, which is also the one that is checked: a name that changes its mind
    /// between two look-ups gains nothing.
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, PushGatewayError> {
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await.map_err(unreachable)?.collect();
        let (allowed, denied): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|address| self.allows_local || is_public(address.ip()));
        if let (true, Some(denied)) = (allowed.is_empty(), denied.first()) {
            return Err(PushGatewayError::Forbidden(format!("{host}, which is at {}", denied.ip())));
        }
        TcpStream::connect(&allowed[..]).await.map_err(unreachable)
    }

    async fn speak<S>(self, stream: S) -> Result<(u16, Bytes), PushGatewayError>
    where
        S: Read + Write + Unpin + 'static,
    {
        let (mut sender, connection) = http1::handshake(stream).await.map_err(unreachable)?;
        let connection = tokio::task::spawn_local(connection);
        let answer = async {
            let authority = self.url.authority().map_or("", |authority| authority.as_str());
            let path = self.url.path_and_query().map_or("/", |path| path.as_str());
            let request = Request::builder()
                .method(Method::POST)
                .uri(path)
                .header(header::HOST, authority)
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::USER_AGENT, concat!("Warren/", env!("CARGO_PKG_VERSION")))
                .body(Full::new(self.body))
                .map_err(unreachable)?;
            let response = sender.send_request(request).await.map_err(unreachable)?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await.map_err(unreachable)?;
            Ok((status, body.to_bytes()))
        }
        .await;
        connection.abort();
        answer
    }
}

fn unreachable(error: impl ToString) -> PushGatewayError {
    PushGatewayError::Unreachable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_is_out_of_reach_by_any_name() {
        for url in ["https://127.0.0.1:1/", "https://localhost:1/", "https://[::1]:1/", "https://[::ffff:127.0.0.1]/"] {
            let refused = WebGateways::new(false).post(&url.parse().unwrap(), Bytes::new()).await;
            assert!(matches!(refused, Err(PushGatewayError::Forbidden(_))), "{url}: {refused:?}");
        }
        let plain = WebGateways::new(false).post(&"http://8.8.8.8/".parse().unwrap(), Bytes::new()).await;
        assert!(matches!(plain, Err(PushGatewayError::Forbidden(_))));
    }

    #[tokio::test]
    async fn a_gateway_without_a_good_certificate_gets_nothing() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let gateway = async {
            use tokio::io::AsyncReadExt;
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 5];
            stream.read_exact(&mut hello).await.unwrap();
            hello
        };
        let (answer, hello) = tokio::join!(WebGateways::new(true).post(&url, "secret".into()), gateway);
        assert_eq!(hello[0], 22, "it speaks TLS");
        assert!(matches!(answer, Err(PushGatewayError::Unreachable(_))));
    }
}
