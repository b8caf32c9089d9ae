//! One connection between two profiles: a BroadcastChannel with two ends.
//!
//! Posted on it are: a text once, when the answering end is there; arrays of bytes; numbers, for as many bytes taken by the
//! reader; null at the end. A writer has at most a window's worth of bytes posted and not taken, so a reader that pauses
//! holds no more than that.
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use wasm_bindgen::prelude::*;
use web_sys::{BroadcastChannel, MessageEvent};

use crate::connection::{Carrier, Unread};

/// Bytes posted and not yet taken by the other end.
const WINDOW_BYTES: usize = 1024 * 1024;

/// Bytes posted at once.
const MESSAGE_MAX_BYTES: usize = 64 * 1024;

/// Taken bytes are told of in parts of this size, so that telling does not cost more than the bytes.
const TAKEN_TOLD_BYTES: usize = WINDOW_BYTES / 4;

const OPEN: &str = "open";

pub struct Link {
    channel: BroadcastChannel,
    state: Rc<State>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
}

#[derive(Default)]
struct State {
    opened: Cell<bool>,
    unread: RefCell<Unread>,
    /// Read here and not told yet.
    taken: Cell<usize>,
    /// Posted here and not taken yet.
    posted: Cell<usize>,
    ended: Cell<Option<Ended>>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy)]
enum Ended {
    Closed,
    Lost,
    /// The other end does not keep to what is written above.
    Broken,
}

impl Link {
    /// The end that asks; the other is to be told of `id`.
    pub fn ask(id: u64) -> io::Result<Rc<Self>> {
        let link = Self::on_channel(id)?;
        Ok(Rc::new(link))
    }

    /// The end that was asked.
    pub fn answer(id: u64) -> io::Result<Rc<Self>> {
        let link = Self::on_channel(id)?;
        link.state.opened.set(true);
        link.post(&OPEN.into())?;
        Ok(Rc::new(link))
    }

    fn on_channel(id: u64) -> io::Result<Self> {
        let channel = BroadcastChannel::new(&format!("warren/link/1/{id:x}")).map_err(other)?;
        let state = Rc::new(State::default());
        let on_message = Closure::new({
            let state = state.clone();
            move |event: MessageEvent| state.received(&event.data())
        });
        channel.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        Ok(Self { channel, state, _on_message: on_message })
    }

    /// Resolves when the other end is there.
    pub async fn opened(&self) -> io::Result<()> {
        poll_fn(|context| match self.state.ended.get() {
            Some(ended) => Poll::Ready(Err(ended.error())),
            None if self.state.opened.get() => Poll::Ready(Ok(())),
            None => {
                self.state.writer.replace(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    /// The other end is gone without a word.
    pub fn lost(&self) {
        self.state.end(Ended::Lost);
    }

    fn post(&self, message: &JsValue) -> io::Result<()> {
        self.channel.post_message(message).map_err(other)
    }
}

impl Carrier for Link {
    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let state = &self.state;
        let length = state.unread.borrow_mut().read(buffer);
        if length > 0 {
            state.taken.set(state.taken.get() + length);
            if state.taken.get() >= TAKEN_TOLD_BYTES && state.ended.get().is_none() {
                self.post(&JsValue::from_f64(state.taken.take() as f64))?;
            }
            return Poll::Ready(Ok(length));
        }
        match state.ended.get() {
            Some(Ended::Closed) => Poll::Ready(Ok(0)),
            Some(ended) => Poll::Ready(Err(ended.error())),
            None => {
                state.reader.replace(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }

    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(ended) = self.state.ended.get() {
            return Poll::Ready(Err(ended.error()));
        }
        let length = bytes.len().min(MESSAGE_MAX_BYTES).min(WINDOW_BYTES - self.state.posted.get());
        if length == 0 && !bytes.is_empty() {
            self.state.writer.replace(Some(context.waker().clone()));
            return Poll::Pending;
        }
        self.post(&js_sys::Uint8Array::from(&bytes[..length]))?;
        self.state.posted.set(self.state.posted.get() + length);
        Poll::Ready(Ok(length))
    }

    fn close(&self) {
        if self.state.ended.get().is_none() {
            // It is closed then, too.
            let _ = self.post(&JsValue::NULL);
        }
        self.state.end(Ended::Closed);
    }
}

impl State {
    fn received(&self, data: &JsValue) {
        if self.ended.get().is_some() {
            return;
        }
        if let Some(bytes) = data.dyn_ref::<js_sys::Uint8Array>() {
            let mut unread = self.unread.borrow_mut();
            if bytes.length() == 0 || !unread.has_room(bytes.length() as usize, WINDOW_BYTES) {
                return self.end(Ended::Broken);
            }
            unread.push(bytes.to_vec());
            drop(unread);
            wake(&self.reader);
        } else if let Some(taken) = data.as_f64() {
            let taken = taken as usize;
            if taken > self.posted.get() {
                return self.end(Ended::Broken);
            }
            self.posted.set(self.posted.get() - taken);
            wake(&self.writer);
        } else if data.is_null() {
            self.end(Ended::Closed);
        } else if data.as_string().as_deref() == Some(OPEN) {
            self.opened.set(true);
            wake(&self.writer);
        } else {
            self.end(Ended::Broken);
        }
    }

    fn end(&self, ended: Ended) {
        if self.ended.get().is_none() {
            self.ended.set(Some(ended));
        }
        wake(&self.reader);
        wake(&self.writer);
    }
}

impl Ended {
    fn error(self) -> io::Error {
        match self {
            Self::Closed => io::Error::new(io::ErrorKind::BrokenPipe, "the connection is closed"),
            Self::Lost => {
                io::Error::new(io::ErrorKind::ConnectionReset, "the other profile was closed or has reloaded")
            }
            Self::Broken => io::Error::new(io::ErrorKind::InvalidData, "the other profile does not keep to the rules"),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
        self.channel.set_onmessage(None);
        self.channel.close();
    }
}

fn wake(waker: &RefCell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn other(exception: JsValue) -> io::Error {
    io::Error::other(format!("{exception:?}"))
}
