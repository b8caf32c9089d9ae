//! What comes and goes in messages, as the stream of bytes that libp2p wants.
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use send_wrapper::SendWrapper;

/// Something of the browser's that carries messages.
pub trait Carrier {
    /// As [`AsyncRead::poll_read`].
    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// As [`AsyncWrite::poll_write`]. What it takes needs no flushing: the browser sends what it has been given, also when
    /// it is closed right afterwards.
    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Tells the other side that nothing more comes. A second time does nothing.
    fn close(&self);
}

/// Closes its carrier when it is dropped. The worker has one thread; libp2p asks for `Send` because others have more.
pub struct Connection<C: Carrier>(SendWrapper<Rc<C>>);

impl<C: Carrier> Connection<C> {
    pub fn new(carrier: Rc<C>) -> Self {
        Self(SendWrapper::new(carrier))
    }
}

impl<C: Carrier> AsyncRead for Connection<C> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.poll_read(context, buffer)
    }
}

impl<C: Carrier> AsyncWrite for Connection<C> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.close();
        Poll::Ready(Ok(()))
    }
}

impl<C: Carrier> Drop for Connection<C> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Messages that came and are not read, or not to their end.
#[derive(Default)]
pub struct Unread {
    messages: VecDeque<Vec<u8>>,
    /// Bytes of the first message that are read.
    first_read: usize,
    /// Bytes not read.
    bytes: usize,
}

impl Unread {
    /// Whether there would be at most `most` bytes with so many more.
    pub fn has_room(&self, bytes: usize, most: usize) -> bool {
        self.bytes + bytes <= most
    }

    /// Takes a message that is not empty.
    pub fn push(&mut self, message: Vec<u8>) {
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    /// As much of the first message as fits; zero when there is none.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        let Some(message) = self.messages.front() else { return 0 };
        let rest = &message[self.first_read..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.first_read += length;
        self.bytes -= length;
        if length == rest.len() {
            self.messages.pop_front();
            self.first_read = 0;
        }
        length
    }
}
