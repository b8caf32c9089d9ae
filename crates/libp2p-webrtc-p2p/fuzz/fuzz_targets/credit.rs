//! Bytes of anybody on a stream with credit, read now and then.
#![no_main]
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use futures::{AsyncRead, AsyncWrite};
use libfuzzer_sys::fuzz_target;
use libp2p_webrtc_p2p::credit::{Credited, WINDOW_BYTES};

/// Gives what there is, then its end; takes everything.
struct Below(VecDeque<Vec<u8>>);

impl AsyncRead for Below {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(mut piece) = self.0.pop_front() else { return Poll::Ready(Ok(0)) };
        if piece.is_empty() {
            return Poll::Pending;
        }
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        if length < piece.len() {
            self.0.push_front(piece.split_off(length));
        }
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for Below {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What the reader does in between: how much it reads and writes, or that it closes.
fuzz_target!(|input: (Vec<Vec<u8>>, Vec<(u8, u16)>)| {
    let (pieces, turns) = input;
    let mut stream = Credited::new(Below(pieces.into()));
    let mut context = Context::from_waker(Waker::noop());
    for (what, length) in turns {
        let mut buffer = vec![0; usize::from(length)];
        // Errors are the usual case, and must stay errors.
        let _ = match what % 4 {
            0 => Pin::new(&mut stream).poll_write(&mut context, &buffer).is_ready(),
            1 => Pin::new(&mut stream).poll_flush(&mut context).is_ready(),
            2 => Pin::new(&mut stream).poll_close(&mut context).is_ready(),
            _ => Pin::new(&mut stream).poll_read(&mut context, &mut buffer).is_ready(),
        };
        assert!(stream.unread_bytes() <= WINDOW_BYTES);
    }
});
