//! One libp2p stream on one data channel: bytes both ways, each way closed by itself.
//!
//! A browser delivers what arrives whether or not anybody reads, so messages are taken apart as they come ([`Pipe`])
//! and flags are answered at once; the [`Stream`] reads what has piled up. A stream that is dropped is not gone yet:
//! its channel lives on until both sides agree that all has been said ([`Lingering`]).
pub(crate) mod frame;
mod lingering;
mod pipe;
pub(crate) mod state;
#[cfg(test)]
mod tests;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite, channel::mpsc};

pub use self::pipe::{
    Budget, CONNECTION_UNREAD_MAX_BYTES, Channel, ChannelError, Pipe, SEND_HIGH_WATER_BYTES, SEND_LOW_WATER_BYTES,
};
pub use self::{
    frame::FRAME_MAX_BYTES,
    lingering::{FAREWELL_S, LINGERING_MAX},
    state::UNREAD_MAX_BYTES,
};
pub(crate) use self::{lingering::Lingering, pipe::WeakPipe};

/// One stream of a connection. Reading and writing may be two tasks.
#[derive(Debug)]
pub struct Stream {
    pipe: Pipe,
    /// To the connection, which keeps the channel until the other side has said its last word.
    farewell: mpsc::UnboundedSender<Pipe>,
}

impl Stream {
    pub(crate) fn new(pipe: Pipe, farewell: mpsc::UnboundedSender<Pipe>) -> Self {
        Self { pipe, farewell }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.pipe.poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.pipe.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The browser sends what it has been given; waiting for it would only cost time.
        Poll::Ready(Ok(()))
    }

    /// Ready when the other side has been told; that it knows is waited for after the stream is dropped.
    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.poll_finish(context)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.pipe.abandon() {
            // The connection is gone, and the channel with it.
            let _ = self.farewell.unbounded_send(self.pipe.clone());
        }
    }
}
