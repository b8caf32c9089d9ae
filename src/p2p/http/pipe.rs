//! Two ends of a byte stream in memory, as small as wished, so that back-pressure and half-sent bytes can be tried.
use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use futures::{AsyncRead, AsyncWrite};

#[derive(Default)]
struct Direction {
    bytes: VecDeque<u8>,
    ended: bool,
    waiting: Vec<Waker>,
}

impl Direction {
    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

/// One end. Dropping it ends both directions.
pub struct Pipe {
    incoming: Rc<RefCell<Direction>>,
    outgoing: Rc<RefCell<Direction>>,
    capacity: usize,
}

/// A pair of ends that hold at most `capacity` bytes in each direction.
pub fn pipe(capacity: usize) -> (Pipe, Pipe) {
    let (one, other) = (Rc::default(), Rc::default());
    let near = Pipe { incoming: Rc::clone(&one), outgoing: Rc::clone(&other), capacity };
    (near, Pipe { incoming: other, outgoing: one, capacity })
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut incoming = self.incoming.borrow_mut();
        if incoming.bytes.is_empty() && !incoming.ended {
            incoming.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        let length = buffer.len().min(incoming.bytes.len());
        for (slot, byte) in buffer.iter_mut().zip(incoming.bytes.drain(..length)) {
            *slot = byte;
        }
        incoming.wake();
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = self.capacity - outgoing.bytes.len();
        if room == 0 {
            outgoing.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        let length = room.min(bytes.len());
        outgoing.bytes.extend(&bytes[..length]);
        outgoing.wake();
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.ended = true;
        outgoing.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        for direction in [&self.incoming, &self.outgoing] {
            let mut direction = direction.borrow_mut();
            direction.ended = true;
            direction.wake();
        }
    }
}
