//! The one TCP port: accepts connections within limits, speaks HTTP/1.1 on them, and keeps failures apart.
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
};

use crate::{routes, write_deadline::WriteDeadline};

/// HTTP connections at a time; further ones wait in the system's queue. A WebSocket no longer counts here.
const CONNECTIONS_MAX: u32 = 1024;

/// A request's head must be whole after this, and a kept-alive connection brings the next one within it.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// The whole head of a request, in bytes.
const HEAD_MAX_BYTES: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// A peer that takes no byte for this long is dropped.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// When accepting fails (out of files, usually) the next try comes after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers under way may finish for this long after the program was told to stop.
const FINISH_MAX: Duration = Duration::from_millis(300);

/// Serves until `stop` resolves; then accepts nothing more and lets answers under way finish, but not for long.
///
/// `answer` may panic: its client gets a 500, nobody else notices.
pub async fn serve<A, F>(listener: TcpListener, answer: A, stop: impl Future<Output = ()>)
where
    A: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let (stopping, stopped) = watch::channel(());
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, remote, place)) => {
                let (answer, stopped) = (answer.clone(), stopped.clone());
                tokio::spawn(async move {
                    if let Err(error) = speak_http(stream, remote, answer, stopped).await {
                        tracing::debug!(%error, %remote, "a connection ended");
                    }
                    drop(place);
                });
            }
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
    let _ = tokio::time::timeout(FINISH_MAX, all_ended).await;
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

/// Answers the requests of one connection until it ends, is upgraded, or the program stops.
async fn speak_http<S, A, F>(
    stream: S,
    remote: SocketAddr,
    answer: A,
    mut stopped: watch::Receiver<()>,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>, SocketAddr) -> F,
    F: Future<Output = Response<Full<Bytes>>> + Send,
{
    let service = service_fn(|request| {
        let answer = AssertUnwindSafe(async { answer(request, remote).await }).catch_unwind();
        async { Ok::<_, Infallible>(answer.await.unwrap_or_else(|_| routes::broken())) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
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

    #[tokio::test]
    async fn a_panic_answers_500_and_the_connection_goes_on() {
        let (near, mut far) = duplex(64 * 1024);
        let (_stopping, stopped) = watch::channel(());
        let answer = |request: Request<Incoming>, _| async move {
            assert_ne!(request.uri().path(), "/panic", "what this test is about");
            Response::new(Full::from("fine"))
        };
        let connection = tokio::spawn(speak_http(near, "192.0.2.7:1".parse().unwrap(), answer, stopped));
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
            let connection = tokio::spawn(speak_http(near, "192.0.2.7:1".parse().unwrap(), answer, stopped));
            far.write_all(beginning).await.unwrap();
            far.read_to_end(&mut Vec::new()).await.unwrap();
            assert_eq!(started.elapsed().as_secs(), HEAD_MAX.as_secs(), "{beginning:?}");
            let _ = connection.await.unwrap();
        }
    }
}
