//! Back-pressure between peers that both know this protocol: nobody sends what the other has not granted room for.
//!
//! A data channel delivers whether or not anybody reads. Underneath its own protocol id ([`protocol_name`]) a stream
//! therefore carries pieces of data and grants of credit: each side begins with [`WINDOW_BYTES`] and gets more as
//! the other reads. A reader that pauses holds at most one window, and the writer waits.
//!
//! On the wire: `0x00`, a length as 2 bytes big-endian, and so many bytes of data; `0x01` and a grant as 4 bytes
//! big-endian; or `0x02`, after which there is no more data, but there are grants. The stream below is closed when both
//! sides have said so.
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use bytes::{Buf, Bytes, BytesMut};
use futures::{AsyncRead, AsyncWrite};

use crate::pieces;

/// Bytes that may be on their way or unread in one direction.
pub const WINDOW_BYTES: usize = 512 * 1024;

/// A grant is sent when so many bytes have been read since the last.
const GRANT_BYTES: usize = WINDOW_BYTES / 4;

/// Bytes of data in one piece; with its head it fits one frame of a data channel.
const PIECE_MAX_BYTES: usize = 16 * 1024 - 8;

/// Bytes of pieces and grants handed to the stream below and not taken yet, above which writing waits.
const UNSENT_MAX_BYTES: usize = 2 * PIECE_MAX_BYTES;

const DATA: u8 = 0;
const GRANT: u8 = 1;
const END: u8 = 2;
const DATA_HEAD_BYTES: usize = 3;
const GRANT_HEAD_BYTES: usize = 5;

/// The name under which `protocol` is spoken with credit: `/credit/1.0.0` and the name itself.
pub fn protocol_name(protocol: &str) -> String {
    format!("/credit/1.0.0{protocol}")
}

/// A stream whose writer waits for its reader. Reading and writing may be two tasks.
#[derive(Debug)]
pub struct Credited<S: AsyncWrite + Unpin> {
    below: S,
    both: Arc<Both>,
    /// Received and not taken apart yet.
    received: BytesMut,
    unread: VecDeque<Bytes>,
    unread_bytes: usize,
    /// Read since the last grant.
    read_bytes: usize,
    /// What the other side may still send.
    granted_bytes: usize,
    /// What we may still send.
    credit_bytes: usize,
    unsent: BytesMut,
    /// We write no more.
    finished: bool,
    /// The other side writes no more.
    ended: bool,
    /// Nothing more comes from the stream below.
    closed: bool,
    failed: Option<String>,
}

/// Reading and writing both read and write the stream below: whatever happens there concerns both.
#[derive(Debug, Default)]
struct Both {
    reader: Mutex<Option<Waker>>,
    writer: Mutex<Option<Waker>>,
}

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        let take = |slot: &Mutex<Option<Waker>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let wakers = [take(&self.reader), take(&self.writer)];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Both {
    fn keep(slot: &Mutex<Option<Waker>>, context: &Context<'_>) {
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Credited<S> {
    /// Both sides must do so: the protocol was negotiated under [`protocol_name`].
    pub fn new(below: S) -> Self {
        Self {
            below,
            both: Arc::default(),
            received: BytesMut::new(),
            unread: VecDeque::new(),
            unread_bytes: 0,
            read_bytes: 0,
            granted_bytes: WINDOW_BYTES,
            credit_bytes: WINDOW_BYTES,
            unsent: BytesMut::new(),
            finished: false,
            ended: false,
            closed: false,
            failed: None,
        }
    }

    /// Bytes received that nobody has read.
    pub fn unread_bytes(&self) -> usize {
        self.unread_bytes
    }

    /// Takes what the stream below has and gives it what is for it. Ready with an error only.
    fn turn(&mut self) -> io::Result<()> {
        if let Some(why) = &self.failed {
            return Err(io::Error::new(io::ErrorKind::InvalidData, why.clone()));
        }
        let waker = Waker::from(self.both.clone());
        let mut context = Context::from_waker(&waker);
        self.receive(&mut context)?;
        self.send(&mut context)
    }

    fn receive(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        while !self.closed {
            let length = match Pin::new(&mut self.below).poll_read(context, &mut buffer) {
                Poll::Pending => return Ok(()),
                Poll::Ready(length) => length?,
            };
            if length == 0 {
                self.closed = true;
                if !self.ended {
                    return self.fail("the stream was closed before the peer had finished");
                }
            }
            self.received.extend_from_slice(&buffer[..length]);
            self.take_apart()?;
        }
        Ok(())
    }

    fn take_apart(&mut self) -> io::Result<()> {
        loop {
            match self.received.first() {
                Some(&END | &DATA) if self.ended => return self.fail("something came after the end"),
                Some(&END) => {
                    self.received.advance(1);
                    self.ended = true;
                }
                Some(&DATA) if self.received.len() >= DATA_HEAD_BYTES => {
                    let length = usize::from(u16::from_be_bytes([self.received[1], self.received[2]]));
                    if length > self.granted_bytes {
                        return self.fail("the peer sent more than it was granted");
                    }
                    if self.received.len() < DATA_HEAD_BYTES + length {
                        return Ok(());
                    }
                    self.received.advance(DATA_HEAD_BYTES);
                    let piece = self.received.split_to(length).freeze();
                    self.granted_bytes -= length;
                    self.unread_bytes += length;
                    if !piece.is_empty() {
                        // A copy of its own: a small piece must not keep a big buffer.
                        self.unread.push_back(Bytes::copy_from_slice(&piece));
                    }
                }
                Some(&GRANT) if self.received.len() >= GRANT_HEAD_BYTES => {
                    self.received.advance(1);
                    let grant = usize::try_from(self.received.get_u32()).unwrap_or(usize::MAX);
                    self.credit_bytes = self.credit_bytes.saturating_add(grant);
                    if self.credit_bytes > WINDOW_BYTES {
                        return self.fail("the peer granted more than a window");
                    }
                }
                Some(&DATA | &GRANT) | None => return Ok(()),
                Some(_) => return self.fail("neither data nor a grant"),
            }
        }
    }

    fn send(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.below).poll_write(context, &self.unsent) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(length)) => self.unsent.advance(length),
                // What it sent is still good, and grants are of no use to it any more.
                Poll::Ready(Err(_)) if self.ended && self.finished => self.unsent.clear(),
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn fail<T>(&mut self, why: &str) -> io::Result<T> {
        self.failed = Some(why.to_owned());
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }

    fn grant(&mut self) {
        if self.read_bytes >= GRANT_BYTES && !self.ended {
            let grant = std::mem::take(&mut self.read_bytes);
            self.granted_bytes += grant;
            self.unsent.extend_from_slice(&[GRANT]);
            self.unsent.extend_from_slice(&u32::try_from(grant).unwrap_or(u32::MAX).to_be_bytes());
        }
    }

    fn take_unread(&mut self, buffer: &mut [u8]) -> usize {
        let length = pieces::take(&mut self.unread, buffer);
        self.unread_bytes -= length;
        self.read_bytes += length;
        length
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Credited<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        Both::keep(&this.both.reader, context);
        let turned = this.turn();
        let length = this.take_unread(buffer);
        if length > 0 || buffer.is_empty() {
            this.grant();
            // The grant goes out now if it can; an error is told when there is nothing left to read.
            let _ = this.turn();
            return Poll::Ready(Ok(length));
        }
        turned?;
        if this.ended { Poll::Ready(Ok(0)) } else { Poll::Pending }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Credited<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        Both::keep(&this.both.writer, context);
        this.turn()?;
        if this.finished {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "writing has been closed")));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.credit_bytes == 0 || this.unsent.len() >= UNSENT_MAX_BYTES {
            return Poll::Pending;
        }
        let piece = &bytes[..bytes.len().min(this.credit_bytes).min(PIECE_MAX_BYTES)];
        this.credit_bytes -= piece.len();
        this.unsent.extend_from_slice(&[DATA]);
        this.unsent.extend_from_slice(&(piece.len() as u16).to_be_bytes());
        this.unsent.extend_from_slice(piece);
        this.turn()?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        Both::keep(&this.both.writer, context);
        this.turn()?;
        if this.unsent.is_empty() { Pin::new(&mut this.below).poll_flush(context) } else { Poll::Pending }
    }

    /// Ready when the end is handed over; the answer can still be read.
    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        Both::keep(&this.both.writer, context);
        if !this.finished {
            this.finished = true;
            this.unsent.extend_from_slice(&[END]);
        }
        this.turn()?;
        if !this.unsent.is_empty() {
            return Poll::Pending;
        }
        if this.ended { Pin::new(&mut this.below).poll_close(context) } else { Poll::Ready(Ok(())) }
    }
}

impl<S: AsyncWrite + Unpin> Drop for Credited<S> {
    fn drop(&mut self) {
        // All is said: dropped unclosed, the stream below would be reset, and what is under way lost.
        if self.finished && self.unsent.is_empty() {
            let _ = Pin::new(&mut self.below).poll_close(&mut Context::from_waker(Waker::noop()));
        }
    }
}

#[cfg(test)]
mod tests;
