//! A WebSocket seen as a stream of bytes, which is what libp2p wants: binary messages in, binary messages out.
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{AsyncRead, AsyncWrite, Sink, Stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WebSocketError, Message,
        protocol::{Role, WebSocketConfig},
    },
};

/// The largest frame or message a peer may send. Noise frames are below 64 KiB; browsers may join a few.
const MESSAGE_MAX_BYTES: usize = 256 * 1024;

/// What one write puts into one message. Small enough that a ping never waits long behind it.
const WRITE_MAX_BYTES: usize = 64 * 1024;

/// What is read from the socket at once; allocated for every connection.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// Writing gathers up to this much before it goes to the socket without a flush.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// What may wait for a slow peer, control frames included, before writing fails.
const WRITE_BUFFER_MAX_BYTES: usize = 4 * WRITE_MAX_BYTES;

/// The bytes of the binary messages of one accepted WebSocket; holds a place among the relay's sockets while it lives.
///
/// Reading ends (`Ok(0)`) when the peer closes. A text message or a frame over the limit is an `InvalidData` error.
/// Pings are answered. Writing waits while the socket is full.
pub struct WebSocketBytes<S> {
    socket: WebSocketStream<S>,
    unread: Bytes,
    _place: OwnedSemaphorePermit,
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> WebSocketBytes<S> {
    /// `accepted` has answered the handshake already.
    pub async fn new(accepted: S, place: OwnedSemaphorePermit) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_MAX_BYTES))
            .max_frame_size(Some(MESSAGE_MAX_BYTES))
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(WRITE_BUFFER_MAX_BYTES);
        let socket = WebSocketStream::from_raw_socket(accepted, Role::Server, Some(config)).await;
        Self { socket, unread: Bytes::new(), _place: place }
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> AsyncRead for WebSocketBytes<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(0)),
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, "a WebSocket message that is not binary");
                    return Poll::Ready(Err(error));
                }
                Some(Err(error)) => return Poll::Ready(end_or_error(error).map(|()| 0)),
            }
        }
        let length = buf.len().min(self.unread.len());
        buf[..length].copy_from_slice(&self.unread.split_to(length));
        Poll::Ready(Ok(length))
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> AsyncWrite for WebSocketBytes<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(into_io)?;
        let length = buf.len().min(WRITE_MAX_BYTES);
        let message = Message::Binary(Bytes::copy_from_slice(&buf[..length]));
        Pin::new(&mut self.socket).start_send(message).map_err(into_io)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(into_io)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map(|outcome| outcome.or_else(end_or_error))
    }
}

fn end_or_error(error: WebSocketError) -> io::Result<()> {
    match error {
        WebSocketError::ConnectionClosed | WebSocketError::AlreadyClosed => Ok(()),
        error => Err(into_io(error)),
    }
}

fn into_io(error: WebSocketError) -> io::Error {
    match error {
        WebSocketError::Io(error) => error,
        WebSocketError::ConnectionClosed | WebSocketError::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        WebSocketError::Capacity(error) => io::Error::new(io::ErrorKind::InvalidData, error),
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::{AsyncReadExt, AsyncWriteExt, SinkExt, StreamExt};
    use tokio::{
        io::{DuplexStream, duplex},
        sync::Semaphore,
    };

    use super::*;

    const PIPE_BYTES: usize = 8 * 1024;

    async fn pair() -> (WebSocketBytes<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (near, far) = duplex(PIPE_BYTES);
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let client = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        (WebSocketBytes::new(near, place).await, client)
    }

    #[tokio::test]
    async fn messages_become_one_stream_of_bytes_and_pings_are_answered() {
        let (mut bytes, mut client) = pair().await;
        for message in [&b"ab"[..], b"", b"cde"] {
            client.send(Message::binary(message)).await.unwrap();
        }
        client.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
        client.send(Message::binary(&b"f"[..])).await.unwrap();
        let mut read = [0; 6];
        bytes.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"abcdef");
        bytes.flush().await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"?")));
        client.close(None).await.unwrap();
        assert_eq!(bytes.read(&mut read).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn much_more_than_fits_is_written_in_bounded_messages() {
        let (mut bytes, mut client) = pair().await;
        let sent: Vec<u8> = (0..1_000_000_u32).map(|i| i as u8).collect();
        let copy = sent.clone();
        let writer = tokio::spawn(async move {
            bytes.write_all(&copy).await.unwrap();
            bytes.close().await.unwrap();
        });
        let mut received = Vec::new();
        while let Some(Ok(message)) = client.next().await {
            if let Message::Binary(part) = message {
                assert!(part.len() <= WRITE_MAX_BYTES);
                received.extend_from_slice(&part);
            }
        }
        writer.await.unwrap();
        assert!(received == sent);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_makes_the_writer_wait() {
        let (mut bytes, _client) = pair().await;
        let mut accepted = 0;
        let outcome = futures::future::poll_fn(|cx| {
            loop {
                match Pin::new(&mut bytes).poll_write(cx, &[0; WRITE_MAX_BYTES]) {
                    Poll::Ready(Ok(length)) => accepted += length,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Ready(Ok(())),
                }
            }
        });
        outcome.await.unwrap();
        assert!(accepted <= WRITE_BUFFER_MAX_BYTES, "{accepted}");
    }

    #[tokio::test]
    async fn text_and_oversized_messages_are_errors() {
        let mut buffer = [0; 16];
        let (mut bytes, mut client) = pair().await;
        client.send(Message::text("hello")).await.unwrap();
        assert_eq!(bytes.read(&mut buffer).await.unwrap_err().kind(), io::ErrorKind::InvalidData);

        let (mut bytes, mut client) = pair().await;
        let sender = tokio::spawn(async move { client.send(Message::binary(vec![0; MESSAGE_MAX_BYTES + 1])).await });
        assert_eq!(bytes.read(&mut buffer).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(bytes);
        assert!(sender.await.unwrap().is_err());
    }
}
