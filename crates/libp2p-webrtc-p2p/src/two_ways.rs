//! For tests: a stream in memory that takes everything at once, as a data channel does.
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use futures::{AsyncRead, AsyncWrite};

/// One direction: no end to what it holds.
#[derive(Debug, Default)]
pub(crate) struct Way {
    pub bytes: VecDeque<u8>,
    pub most: usize,
    pub closed: bool,
    reader: Option<Waker>,
}

#[derive(Debug)]
pub(crate) struct Half {
    pub to: Arc<Mutex<Way>>,
    pub from: Arc<Mutex<Way>>,
}

impl AsyncRead for Half {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut way = self.from.lock().unwrap();
        let length = buffer.len().min(way.bytes.len());
        if length == 0 && !way.closed {
            way.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        buffer.iter_mut().zip(way.bytes.drain(..length)).for_each(|(to, byte)| *to = byte);
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for Half {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut way = self.to.lock().unwrap();
        way.bytes.extend(bytes);
        way.most = way.most.max(way.bytes.len());
        way.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut way = self.to.lock().unwrap();
        way.closed = true;
        way.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

/// The two ends of one stream.
pub(crate) fn pair() -> (Half, Half) {
    let (there, back) = (Arc::<Mutex<Way>>::default(), Arc::<Mutex<Way>>::default());
    (Half { to: there.clone(), from: back.clone() }, Half { to: back, from: there })
}

impl Drop for Half {
    fn drop(&mut self) {
        for way in [&self.to, &self.from] {
            let mut way = way.lock().unwrap();
            way.closed = true;
            way.reader.take().into_iter().for_each(Waker::wake);
        }
    }
}
