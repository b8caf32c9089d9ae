//! The server half: answers one request after another on a stream and trusts nothing that arrives on it.
use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future::LocalBoxFuture};
use http::{Method, StatusCode, header};

use super::{
    Budget, MAX_HEAD_BYTES, MAX_REQUEST_BODY_BYTES, READ_BYTES,
    body::Decoder,
    deadline::{Elapsed, within},
    head::{self, Head, Refusal},
};
use crate::ports::Clock;

/// How long a kept stream may lie unused, in milliseconds. Opening another costs the peer three round trips.
pub const IDLE_MS: u64 = 10 * 60 * 1000;

/// From the first byte of a head to its last, in milliseconds.
pub const HEAD_MS: u64 = 10_000;

/// How long nothing of a body may arrive, or nothing of an answer be taken, in milliseconds.
pub const STALL_MS: u64 = 20_000;

/// From the first byte of a body to its last, in milliseconds: 8 MiB at a slow 40 KiB/s.
pub const BODY_MS: u64 = 200_000;

/// After a refusal: how long and how much of the rest is read, so that the peer gets to read the answer.
const LINGER_MS: u64 = 1_000;
const LINGER_BYTES: usize = 256 * 1024;

/// Answers a request whose body is whole.
pub type Handler = Rc<dyn Fn(http::Request<Bytes>) -> LocalBoxFuture<'static, http::Response<Bytes>>>;

/// Why serving a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The peer closed it between requests, or asked for the last answer.
    Closed,
    /// Nothing arrived for [`IDLE_MS`].
    Idle,
    /// The peer was told this status and the stream closed.
    Refused(StatusCode),
    /// The peer stopped reading, or the stream broke.
    Broken(String),
}

/// Serves `stream` until it ends. Bodies being received count in `budget`. Before a request is handled `begin` is awaited;
/// what that gives is dropped when the answer has been written.
pub async fn serve<S, G>(
    stream: S,
    handler: Handler,
    begin: impl AsyncFn() -> G,
    clock: Rc<dyn Clock>,
    budget: Budget,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut exchange = Serving { stream, input: BytesMut::new(), clock, budget };
    loop {
        match exchange.next(&handler, &begin).await {
            Ok(()) => {}
            Err(Stop::Ended(ended)) => return ended,
            Err(Stop::Refuse(refusal)) => return exchange.refuse(refusal).await,
        }
    }
}

enum Stop {
    Ended(Ended),
    Refuse(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Ended(Ended::Broken(error.to_string()))
    }
}

struct Serving<S> {
    stream: S,
    /// What arrived and is not yet understood.
    input: BytesMut,
    clock: Rc<dyn Clock>,
    budget: Budget,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Serving<S> {
    /// One exchange.
    async fn next<G>(&mut self, handler: &Handler, begin: &impl AsyncFn() -> G) -> Result<(), Stop> {
        self.first_byte().await?;
        let clock = self.clock.clone();
        let Head { request, framing, keep_alive, expects_continue } = within(&*clock, HEAD_MS, self.head())
            .await
            .map_err(|Elapsed| timed_out("the request head did not arrive in time"))??;
        let decoder = Decoder::new(framing, MAX_REQUEST_BODY_BYTES)?;
        if expects_continue {
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = within(&*clock, BODY_MS, self.body(decoder))
            .await
            .map_err(|Elapsed| timed_out("the request body did not arrive in time"))??;
        let wants_body = request.method() != Method::HEAD;
        let _under_way = begin().await;
        let response = handler(request.map(|()| body)).await;
        self.answer(response, keep_alive, wants_body).await?;
        if keep_alive {
            return Ok(());
        }
        self.close().await;
        Err(Stop::Ended(Ended::Closed))
    }

    async fn first_byte(&mut self) -> Result<(), Stop> {
        loop {
            let empty = head::leading_empty_lines(&self.input);
            self.input.advance(empty);
            if !self.input.is_empty() {
                return Ok(());
            }
            let clock = self.clock.clone();
            match within(&*clock, IDLE_MS, self.read()).await {
                Ok(Ok(0)) => return Err(Stop::Ended(Ended::Closed)),
                Ok(read) => read?,
                Err(Elapsed) => return Err(Stop::Ended(Ended::Idle)),
            };
        }
    }

    async fn head(&mut self) -> Result<Head, Stop> {
        let mut scanned = 0;
        loop {
            if let Some(end) = head::end_of_head(&self.input, scanned) {
                let bytes = self.input.split_to(end);
                return Ok(head::parse(&bytes)?);
            }
            scanned = self.input.len();
            if scanned > MAX_HEAD_BYTES {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                return Err(Refusal::new(status, "the request head is too large").into());
            }
            if self.read().await? == 0 {
                return Err(Stop::Ended(Ended::Broken("the peer closed in the middle of a request head".to_owned())));
            }
        }
    }

    async fn body(&mut self, mut decoder: Decoder) -> Result<Bytes, Stop> {
        let clock = self.clock.clone();
        let mut share = self.budget.share();
        let mut counted = 0;
        loop {
            let whole = decoder.decode(&mut self.input)?;
            if !share.grow(decoder.length() - counted) {
                let reason = "too many request bodies are being received at once";
                return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason).into());
            }
            counted = decoder.length();
            if whole {
                return Ok(decoder.into_body());
            }
            match within(&*clock, STALL_MS, self.read()).await {
                Ok(Ok(0)) => {
                    let reason = "the peer closed in the middle of a request body";
                    return Err(Stop::Ended(Ended::Broken(reason.to_owned())));
                }
                Ok(read) => read?,
                Err(Elapsed) => return Err(timed_out("the request body stalled")),
            };
        }
    }

    /// Reads some more into `input`; 0 at the end of the stream.
    async fn read(&mut self) -> std::io::Result<usize> {
        let mut chunk = [0; READ_BYTES];
        let length = self.stream.read(&mut chunk).await?;
        self.input.extend_from_slice(&chunk[..length]);
        Ok(length)
    }

    async fn answer(
        &mut self,
        response: http::Response<Bytes>,
        keep_alive: bool,
        wants_body: bool,
    ) -> Result<(), Stop> {
        let (parts, body) = response.into_parts();
        let mut bytes = BytesMut::with_capacity(256 + if wants_body { body.len() } else { 0 });
        bytes.extend_from_slice(format!("HTTP/1.1 {}\r\n", parts.status).as_bytes());
        for (name, value) in &parts.headers {
            // How the body ends and whether the stream stays open is decided here, not by the handler.
            if [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION].contains(name) {
                continue;
            }
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        let bodiless = parts.status == StatusCode::NO_CONTENT || parts.status == StatusCode::NOT_MODIFIED;
        if !bodiless {
            bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(if keep_alive { b"\r\n" } else { b"connection: close\r\n\r\n" });
        if wants_body && !bodiless {
            bytes.extend_from_slice(&body);
        }
        self.send(&bytes).await
    }

    async fn send(&mut self, mut bytes: &[u8]) -> Result<(), Stop> {
        let clock = self.clock.clone();
        let stalled = |Elapsed| Stop::Ended(Ended::Broken("the peer stopped reading".to_owned()));
        while !bytes.is_empty() {
            let written = within(&*clock, STALL_MS, self.stream.write(bytes)).await.map_err(stalled)??;
            if written == 0 {
                return Err(Stop::Ended(Ended::Broken("the stream takes no more".to_owned())));
            }
            bytes = &bytes[written..];
        }
        Ok(within(&*clock, STALL_MS, self.stream.flush()).await.map_err(stalled)??)
    }

    /// Says why, closes, and reads on for a moment: dropping a stream with unread input may take the answer with it.
    async fn refuse(&mut self, refusal: Refusal) -> Ended {
        tracing::debug!(status = refusal.status.as_u16(), reason = refusal.reason, "refused a peer's request");
        if let Err(Stop::Ended(ended)) = self.answer(response_to(refusal), false, true).await {
            return ended;
        }
        self.close().await;
        let clock = self.clock.clone();
        let _ = within(&*clock, LINGER_MS, async {
            let mut chunk = [0; READ_BYTES];
            let mut left = LINGER_BYTES;
            while let Ok(length @ 1..) = self.stream.read(&mut chunk).await {
                left = left.saturating_sub(length);
                if left == 0 {
                    break;
                }
            }
        })
        .await;
        Ended::Refused(refusal.status)
    }

    async fn close(&mut self) {
        let clock = self.clock.clone();
        // Whether the peer hears of the end is its concern: the answer is already flushed.
        let _ = within(&*clock, STALL_MS, self.stream.close()).await;
    }
}

fn timed_out(reason: &'static str) -> Stop {
    Stop::Refuse(Refusal::new(StatusCode::REQUEST_TIMEOUT, reason))
}

/// A refusal in the form of every Matrix error.
fn response_to(refusal: Refusal) -> http::Response<Bytes> {
    let code = match refusal.status {
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "M_TOO_LARGE",
        StatusCode::SERVICE_UNAVAILABLE => "M_LIMIT_EXCEEDED",
        _ => "M_UNKNOWN",
    };
    let body = format!(r#"{{"errcode":"{code}","error":"{}"}}"#, refusal.reason);
    let mut response = http::Response::new(Bytes::from(body));
    *response.status_mut() = refusal.status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
