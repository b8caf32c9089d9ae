//! One WebSocket: what its events told, and who waits for them.
use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_timer::Delay;
use wasm_bindgen::prelude::*;
use web_sys::{BinaryType, CloseEvent, Event, MessageEvent, WebSocket};

use crate::connection::{Carrier, Unread};

/// Bytes handed to the browser and not yet sent, above which writing waits. It tells nobody when they are sent.
const MAX_UNSENT_BYTES: u32 = 1024 * 1024;

/// How often it is asked whether they are, in milliseconds.
const UNSENT_POLL_MS: u64 = 10;

/// Bytes written as one message at most, so that an answer in the other direction gets its turn.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Bytes received and not yet read, above which the connection is given up: a WebSocket cannot be paused, and a peer
/// that keeps to the multiplexer's windows never gets there.
const MAX_UNREAD_BYTES: usize = 16 * 1024 * 1024;

pub struct Socket {
    socket: WebSocket,
    state: Rc<State>,
    /// Waits until less is unsent.
    draining: RefCell<Option<Delay>>,
    _on_event: Closure<dyn FnMut(Event)>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
}

#[derive(Default)]
struct State {
    unread: RefCell<Unread>,
    /// Set once; nothing arrives afterwards.
    ended: RefCell<Option<Ended>>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

#[derive(Clone)]
enum Ended {
    /// In order, by the other side or by us.
    Closed,
    Failed(String),
}

impl Socket {
    pub(super) fn connect(url: &str) -> io::Result<Self> {
        let socket = WebSocket::new(url).map_err(|exception| io::Error::other(format!("{url}: {exception:?}")))?;
        socket.set_binary_type(BinaryType::Arraybuffer);
        let state = Rc::new(State::default());
        let on_message = Closure::new({
            let state = state.clone();
            move |event: MessageEvent| state.received(&event.data())
        });
        let on_event = Closure::new({
            let (state, url) = (state.clone(), url.to_owned());
            move |event: Event| state.happened(&event, &url)
        });
        socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        let handler = Some(on_event.as_ref().unchecked_ref());
        socket.set_onopen(handler);
        socket.set_onclose(handler);
        socket.set_onerror(handler);
        Ok(Self { socket, state, draining: RefCell::default(), _on_event: on_event, _on_message: on_message })
    }

    /// Resolves when the socket is open, or to why it is not.
    pub(super) async fn opened(&self) -> io::Result<()> {
        poll_fn(|context| match &*self.state.ended.borrow() {
            Some(ended) => Poll::Ready(Err(ended.error())),
            None if self.socket.ready_state() == WebSocket::OPEN => Poll::Ready(Ok(())),
            None => {
                self.state.writer.replace(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}

impl Carrier for Socket {
    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let length = self.state.unread.borrow_mut().read(buffer);
        if length > 0 {
            return Poll::Ready(Ok(length));
        }
        match &*self.state.ended.borrow() {
            Some(Ended::Closed) => Poll::Ready(Ok(0)),
            Some(failed) => Poll::Ready(Err(failed.error())),
            None => {
                self.state.reader.replace(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }

    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if let Some(ended) = &*self.state.ended.borrow() {
                return Poll::Ready(Err(ended.error()));
            }
            if self.socket.buffered_amount() <= MAX_UNSENT_BYTES {
                let length = bytes.len().min(MAX_MESSAGE_BYTES);
                let sent = self.socket.send_with_u8_array(&bytes[..length]);
                return Poll::Ready(
                    sent.map(|()| length).map_err(|exception| io::Error::other(format!("{exception:?}"))),
                );
            }
            self.state.writer.replace(Some(context.waker().clone()));
            let mut draining = self.draining.borrow_mut();
            let delay = draining.get_or_insert_with(|| Delay::new(Duration::from_millis(UNSENT_POLL_MS)));
            if Pin::new(delay).poll(context).is_pending() {
                return Poll::Pending;
            }
            draining.take();
        }
    }

    fn close(&self) {
        // Closing what is closed already does nothing.
        let _ = self.socket.close();
        self.state.end(Ended::Closed);
    }
}

impl State {
    fn received(&self, data: &JsValue) {
        // Text is no libp2p; an empty message says nothing and must not read as the end.
        let Some(buffer) = data.dyn_ref::<js_sys::ArrayBuffer>() else {
            return self.end(Ended::Failed("the other side sent text".to_owned()));
        };
        let bytes = js_sys::Uint8Array::new(buffer).to_vec();
        if bytes.is_empty() || self.ended.borrow().is_some() {
            return;
        }
        let mut unread = self.unread.borrow_mut();
        if !unread.has_room(bytes.len(), MAX_UNREAD_BYTES) {
            *unread = Unread::default();
            return self.end(Ended::Failed("the other side sent more than is read".to_owned()));
        }
        unread.push(bytes);
        drop(unread);
        wake(&self.reader);
    }

    fn happened(&self, event: &Event, url: &str) {
        match event.type_().as_str() {
            "open" => wake(&self.writer),
            "close" => {
                let clean = event.dyn_ref::<CloseEvent>().is_some_and(CloseEvent::was_clean);
                self.end(if clean {
                    Ended::Closed
                } else {
                    Ended::Failed(format!("the connection to {url} was lost"))
                });
            }
            // Browsers say nothing of what went wrong; "close" follows.
            _ => self.end(Ended::Failed(format!("no connection to {url}"))),
        }
    }

    fn end(&self, ended: Ended) {
        self.ended.borrow_mut().get_or_insert(ended);
        wake(&self.reader);
        wake(&self.writer);
    }
}

impl Ended {
    fn error(&self) -> io::Error {
        match self {
            Self::Closed => io::Error::new(io::ErrorKind::BrokenPipe, "the connection is closed"),
            Self::Failed(reason) => io::Error::new(io::ErrorKind::ConnectionReset, reason.clone()),
        }
    }
}

fn wake(waker: &RefCell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.socket.set_onmessage(None);
        self.socket.set_onopen(None);
        self.socket.set_onclose(None);
        self.socket.set_onerror(None);
        self.close();
    }
}
