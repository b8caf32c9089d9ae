//! A TCP port: accepts connections within limits, speaks HTTP/1.1 on them, and keeps failures apart.
mod per_address;

use std::{convert::Infallible, io, net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use self::per_address::{Counted, PerAddress};
use crate::write_deadline::WriteDeadline;

/// HTTP connections at a time; further ones wait in the system's queue. A WebSocket no longer counts here.
const CONNECTIONS_MAX: u32 = 1024;

/// The whole head of a request, in bytes.
const HEAD_MAX_BYTES: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// A peer that takes no byte for this long is dropped.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// The TLS handshake of a connection ends within this.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// When accepting fails (out of files, usually) the next try comes after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers under way may finish for this long after the program was told to stop.
const FINISH_MAX: Duration = Duration::from_millis(300);

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{address} is taken by another program: stop that one, or choose another port with {flag}")]
    Taken { address: SocketAddr, flag: &'static str },
    #[error("cannot listen on {address}: {source}")]
    Other { address: SocketAddr, source: io::Error },
}

/// A listener on `address`, which `flag` chose, and the address with its real port.
pub async fn listen(address: SocketAddr, flag: &'static str) -> Result<(TcpListener, SocketAddr), ListenError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken { address, flag },
        _ => ListenError::Other { address, source },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// One accepted connection. Whoever gets it decides on which thread it is answered.
pub struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    stopped: watch::Receiver<()>,
    place: Place,
}

/// Among all connections, and among those of its address.
type Place = (OwnedSemaphorePermit, Counted);

/// How the requests of a connection are answered.
#[derive(Clone)]
pub struct Answering<A> {
    /// May panic: its client gets what `broken` says, nobody else notices. Dropped when its client goes away.
    pub answer: A,
    pub broken: fn() -> Response<Full<Bytes>>,
    /// A request's head must be whole after this, and a kept-alive connection brings the next one within it.
    pub idle_max: Duration,
}

impl Connection {
    /// Answers the requests of this connection until it ends, is upgraded, or the program stops.
    pub async fn speak_http<A, F>(self, answering: Answering<A>)
    where
        A: Fn(Request<Incoming>, SocketAddr) -> F,
        F: Future<Output = Response<Full<Bytes>>>,
    {
        let Self { stream, remote, stopped, place: _place } = self;
        if let Err(error) = speak_http(stream, remote, answering, stopped).await {
            tracing::debug!(%error, %remote, "a connection ended");
        }
    }
}

impl Connection {
    /// As [`speak_http`](Self::speak_http), within TLS.
    pub async fn speak_https<A, F>(self, acceptor: TlsAcceptor, answering: Answering<A>)
    where
        A: Fn(Request<Incoming>, SocketAddr) -> F,
        F: Future<Output = Response<Full<Bytes>>>,
    {
        let Self { stream, remote, mut stopped, place: _place } = self;
        // The handshake writes as well, to a peer that may not read.
        let handshake = timeout(HANDSHAKE_MAX, acceptor.accept(stream));
        let stream = tokio::select! {
            shaken = handshake => match shaken {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%error, %remote, "a connection did not begin"),
                Err(_) => return tracing::debug!(%remote, "a handshake took too long"),
            },
            _ = stopped.changed() => return,
        };
        if let Err(error) = speak_http(stream, remote, answering, stopped).await {
            tracing::debug!(%error, %remote, "a connection ended");
        }
    }
}

/// Hands out connections until `stop` resolves; then accepts nothing more and lets answers under way finish, but not for
/// long.
pub async fn serve(listener: TcpListener, start: impl Fn(Connection), stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let addresses = PerAddress::default();
    let (stopping, stopped) = watch::channel(());
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, remote, place)) => match addresses.count(remote.ip()) {
                Some(counted) => {
                    start(Connection { stream, remote, stopped: stopped.clone(), place: (place, counted) })
                }
                None => tracing::debug!(%remote, "an address has too many connections"),
            },
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    drop(stopping);
    let all_ended = places.acquire_many(CONNECTIONS_MAX);
    let _ = timeout(FINISH_MAX, all_ended).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (stream, remote) = listener.accept().await?;
    // Relayed messages are small and somebody waits for each. A socket that refuses this is closed already.
    let _ = stream.set_nodelay(true);
    Ok((stream, remote, place))
}

async fn speak_http<S, A, F>(
    stream: S,
    remote: SocketAddr,
    answering: Answering<A>,
    mut stopped: watch::Receiver<()>,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>, SocketAddr) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let Answering { answer, broken, idle_max } = answering;
    let answer = &answer;
    let service = service_fn(|request| {
        let answer = AssertUnwindSafe(async move { answer(request, remote).await }).catch_unwind();
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|_| broken())) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle_max)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(WriteDeadline::new(stream, WRITE_STALL_MAX)), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return outcome,
        _ = stopped.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const IDLE_MAX: Duration = Duration::from_secs(10);

    fn broken() -> Response<Full<Bytes>> {
        Response::builder().status(500).body(Full::default()).unwrap()
    }

    #[tokio::test]
    async fn a_panic_answers_500_and_the_connection_goes_on() {
        let (near, mut far) = duplex(64 * 1024);
        let (_stopping, stopped) = watch::channel(());
        let answer = |request: Request<Incoming>, _| async move {
            assert_ne!(request.uri().path(), "/panic", "what this test is about");
            Response::new(Full::from("fine"))
        };
        let answering = Answering { answer, broken, idle_max: IDLE_MAX };
        let connection = tokio::spawn(speak_http(near, "192.0.2.7:1".parse().unwrap(), answering, stopped));
        far.write_all(b"GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        far.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answers = String::new();
        far.read_to_string(&mut answers).await.unwrap();
        assert!(answers.starts_with("HTTP/1.1 500 "), "{answers}");
        assert!(answers.contains("HTTP/1.1 200 OK") && answers.ends_with("fine"), "{answers}");
        connection.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_and_an_idle_connection_are_dropped() {
        for beginning in [&b"GET / HTTP/1.1\r\nhost:"[..], b"", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
            let (near, mut far) = duplex(64 * 1024);
            let (_stopping, stopped) = watch::channel(());
            let answer = |_: Request<Incoming>, _| async { Response::new(Full::from("fine")) };
            let started = tokio::time::Instant::now();
            let answering = Answering { answer, broken, idle_max: IDLE_MAX };
            let connection = tokio::spawn(speak_http(near, "192.0.2.7:1".parse().unwrap(), answering, stopped));
            far.write_all(beginning).await.unwrap();
            far.read_to_end(&mut Vec::new()).await.unwrap();
            assert_eq!(started.elapsed().as_secs(), IDLE_MAX.as_secs(), "{beginning:?}");
            let _ = connection.await.unwrap();
        }
    }
}
