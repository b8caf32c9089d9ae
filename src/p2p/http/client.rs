//! The client half: hyper on a stream, kept for the next request, with time limits of our own.
use std::{
    cell::Cell,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures::{
    AsyncRead, AsyncWrite, FutureExt,
    future::{Either, Fuse, LocalBoxFuture, select},
};
use http::{HeaderMap, header::CONNECTION};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body, Incoming},
    client::conn::http1,
    rt::ReadBufCursor,
};
use thiserror::Error;

use super::{MAX_HEAD_BYTES, MAX_HEADERS, READ_BYTES};
use crate::ports::Clock;

/// How long and how large an exchange may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangeLimits {
    /// How long nothing at all may move on the stream, in milliseconds: includes the time the peer thinks.
    pub stall_ms: u64,
    /// From the request to the whole answer, in milliseconds.
    pub total_ms: u64,
    pub answer_body_bytes: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExchangeError {
    /// The stream ended first. Unless `answer_began`, not a byte of the answer had arrived.
    #[error("the stream ended: {reason}")]
    Lost { answer_began: bool, reason: String },
    #[error("no answer in time")]
    TimedOut,
    /// The answer broke a bound or was not HTTP.
    #[error("{0}")]
    Malformed(String),
}

/// A stream that carries one request at a time. Useless after any error but harmless: the next request says `Lost`.
pub struct ClientStream {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Does the reading and writing; polled only while a request is under way.
    connection: Fuse<LocalBoxFuture<'static, hyper::Result<()>>>,
    traffic: Rc<Traffic>,
    /// The peer said that its last answer was the last one. It may have said so before it had read the whole request, whose
    /// rest then keeps the connection busy for ever.
    ended: bool,
}

impl ClientStream {
    /// Nothing is sent until the first request.
    pub async fn new<S>(stream: S) -> Result<Self, ExchangeError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let traffic = Rc::new(Traffic::default());
        let io = Io { stream, traffic: traffic.clone() };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .handshake(io)
            .await
            .map_err(|error| lost(&error, false))?;
        Ok(Self { sender, connection: connection.boxed_local().fuse(), traffic, ended: false })
    }

    /// Sends `request`, whose URI is path and query only, and resolves to the whole answer.
    pub async fn exchange(
        &mut self,
        request: http::Request<Bytes>,
        limits: ExchangeLimits,
        clock: &dyn Clock,
    ) -> Result<http::Response<Bytes>, ExchangeError> {
        let Self { sender, connection, traffic, ended } = self;
        let read_before = traffic.read.get();
        let answer = pin!(async {
            let failed = |error: hyper::Error| failure(&error, traffic.read.get() > read_before);
            sender.ready().await.map_err(failed)?;
            let (parts, body) = sender.send_request(request.map(Full::new)).await.map_err(failed)?.into_parts();
            *ended |= says_close(&parts.headers);
            let body = collect(body, limits.answer_body_bytes, failed).await?;
            Ok(http::Response::from_parts(parts, body))
        });
        let driven = pin!(drive(answer, connection));
        match select(driven, pin!(traffic.stalled(limits, clock))).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), _)) => Err(ExchangeError::TimedOut),
        }
    }

    /// The peer ended the stream as far as has been noticed.
    pub fn is_closed(&self) -> bool {
        self.ended || self.sender.is_closed()
    }
}

/// `work` while `connection` moves its bytes. Work outlives the connection: it learns from hyper what went wrong.
async fn drive<T>(
    mut work: Pin<&mut impl Future<Output = T>>,
    connection: &mut Fuse<LocalBoxFuture<'static, hyper::Result<()>>>,
) -> T {
    std::future::poll_fn(|context| {
        let done = work.as_mut().poll(context);
        if done.is_ready() {
            return done;
        }
        // An error here reaches `work` as well; polled again because the connection may have unblocked it.
        match connection.poll_unpin(context) {
            Poll::Ready(_) => work.as_mut().poll(context),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn collect(
    mut body: Incoming,
    limit: usize,
    failed: impl Fn(hyper::Error) -> ExchangeError,
) -> Result<Bytes, ExchangeError> {
    let too_large = || ExchangeError::Malformed(format!("the answer exceeds {limit} bytes"));
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(&failed)?.into_data() {
            if data.len() > limit - collected.len() {
                return Err(too_large());
            }
            collected.extend_from_slice(&data);
        }
    }
    Ok(collected.freeze())
}

fn says_close(headers: &HeaderMap) -> bool {
    let mut options =
        headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    options.any(|option| option.trim().eq_ignore_ascii_case("close"))
}

fn failure(error: &hyper::Error, answer_began: bool) -> ExchangeError {
    if error.is_parse() { ExchangeError::Malformed(error.to_string()) } else { lost(error, answer_began) }
}

fn lost(error: &hyper::Error, answer_began: bool) -> ExchangeError {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    ExchangeError::Lost { answer_began, reason: format!("{error}{cause}") }
}

/// Bytes moved so far.
#[derive(Default)]
struct Traffic {
    read: Cell<u64>,
    written: Cell<u64>,
}

impl Traffic {
    fn total(&self) -> u64 {
        self.read.get() + self.written.get()
    }

    /// Resolves when nothing has moved for between one and two `stall_ms`, or the whole time is over.
    async fn stalled(&self, limits: ExchangeLimits, clock: &dyn Clock) {
        let mut left = limits.total_ms;
        let mut before = self.total();
        while left > 0 {
            let step = limits.stall_ms.min(left);
            clock.sleep_ms(step).await;
            left -= step;
            let now = self.total();
            if now == before {
                return;
            }
            before = now;
        }
    }
}

/// A futures stream as hyper wants it, counting.
struct Io<S> {
    stream: S,
    traffic: Rc<Traffic>,
}

impl<S: AsyncRead + Unpin> hyper::rt::Read for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [0; READ_BYTES];
        let room = cursor.remaining().min(READ_BYTES);
        let length = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut chunk[..room]))?;
        cursor.put_slice(&chunk[..length]);
        self.traffic.read.set(self.traffic.read.get() + length as u64);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let length = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.traffic.written.set(self.traffic.written.get() + length as u64);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
