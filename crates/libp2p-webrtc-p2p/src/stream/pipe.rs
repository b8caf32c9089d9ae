//! A data channel with the framing of libp2p on it, fed by the events of whoever owns the channel.
use std::{
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use thiserror::Error;

use super::{
    frame::{self, Flag, PAYLOAD_MAX_BYTES},
    state::{ReadOutcome, State},
};

/// Bytes handed to a channel and not yet sent, above which writing waits.
pub const SEND_HIGH_WATER_BYTES: usize = 1024 * 1024;

/// Bytes at which a channel tells that there is room again (`bufferedAmountLowThreshold`).
pub const SEND_LOW_WATER_BYTES: usize = 512 * 1024;

/// Bytes received and not yet read on all streams of a connection, above which the stream that gets more is reset.
pub const CONNECTION_UNREAD_MAX_BYTES: usize = 16 * 1024 * 1024;

/// What the owner of a data channel lets others do with it. None of these calls the [`Pipe`] back before it returns.
pub trait Channel: Send {
    /// Sends one message. Called when the channel is open.
    fn send(&mut self, message: &[u8]) -> Result<(), ChannelError>;

    /// Bytes given to `send` that are not on their way yet.
    fn buffered_bytes(&self) -> usize;

    /// Closes the channel when everything is sent. Called once.
    fn close(&mut self);
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the data channel refuses: {0}")]
pub struct ChannelError(pub String);

/// What the streams of one connection hold together.
#[derive(Debug, Default)]
pub struct Budget {
    unread_bytes: AtomicUsize,
    channels: AtomicUsize,
    /// Waits for fewer channels.
    waiting: Mutex<Option<Waker>>,
}

impl Budget {
    /// Channels that are not closed yet.
    pub fn channels(&self) -> usize {
        self.channels.load(Ordering::Relaxed)
    }

    pub fn unread_bytes(&self) -> usize {
        self.unread_bytes.load(Ordering::Relaxed)
    }

    /// Ready when there are fewer than `max` channels.
    pub(crate) fn poll_below(&self, max: usize, context: &Context<'_>) -> Poll<()> {
        if self.channels() < max {
            return Poll::Ready(());
        }
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        if self.channels() < max { Poll::Ready(()) } else { Poll::Pending }
    }

    fn channel_gone(&self) {
        self.channels.fetch_sub(1, Ordering::Relaxed);
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Clones are the same channel. Whoever owns the channel tells it what happens: [`Self::opened`], [`Self::received`],
/// [`Self::drained`], [`Self::closed`].
#[derive(Clone)]
pub struct Pipe(Arc<Mutex<Core>>);

/// A [`Pipe`] that others keep.
#[derive(Debug)]
pub(crate) struct WeakPipe(Weak<Mutex<Core>>);

impl WeakPipe {
    pub fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }

    pub fn upgrade(&self) -> Option<Pipe> {
        self.0.upgrade().map(Pipe)
    }
}

struct Core {
    state: State,
    channel: Box<dyn Channel>,
    budget: Arc<Budget>,
    /// Of `budget`, what is ours.
    counted_bytes: usize,
    open: bool,
    /// The channel is closed, or has been told to.
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Core")
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipe")
    }
}

impl Pipe {
    /// `open` tells whether messages can be sent already.
    pub fn new(channel: Box<dyn Channel>, open: bool, budget: Arc<Budget>) -> Self {
        budget.channels.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Mutex::new(Core {
            state: State::default(),
            channel,
            budget,
            counted_bytes: 0,
            open,
            closed: false,
            reader: None,
            writer: None,
        })))
    }

    /// Messages can be sent from now on.
    pub fn opened(&self) {
        self.change(|core| core.open = true);
    }

    /// A message arrived.
    pub fn received(&self, message: &[u8]) {
        self.change(|core| {
            if core.closed {
                return;
            }
            let answers = core.state.receive(message);
            core.say(answers);
            if core.count() > CONNECTION_UNREAD_MAX_BYTES {
                let reset = core.state.reset_as_connection_is_full();
                core.say(reset);
            }
        });
    }

    /// There is room for more to send.
    pub fn drained(&self) {
        self.change(|_| {});
    }

    /// The channel is closed: by the other side, or with the connection.
    pub fn closed(&self) {
        self.change(|core| {
            core.closed = true;
            core.state.channel_closed();
        });
    }

    pub(super) fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut core = self.core();
        let outcome = core.state.read(buffer);
        core.count();
        match outcome {
            ReadOutcome::Data(length) => Poll::Ready(Ok(length)),
            ReadOutcome::End => Poll::Ready(Ok(0)),
            ReadOutcome::Broken(broken) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, broken.to_string())))
            }
            ReadOutcome::Nothing => {
                core.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut core = self.core();
        core.state.check_writable().map_err(broken_pipe)?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if !core.open || core.channel.buffered_bytes() >= SEND_HIGH_WATER_BYTES {
            core.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let payload = &bytes[..bytes.len().min(PAYLOAD_MAX_BYTES)];
        core.channel.send(&frame::data(payload)).map_err(|error| broken_pipe(error.to_string()))?;
        Poll::Ready(Ok(payload.len()))
    }

    /// Says that no more is written. Not before the channel is open.
    pub(super) fn poll_finish(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut core = self.core();
        if !core.open && !core.closed {
            core.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let fin = core.state.finish();
        core.say(fin);
        Poll::Ready(Ok(()))
    }

    /// Nobody uses the stream any more. Returns whether the other side still has something to say.
    pub(super) fn abandon(&self) -> bool {
        let mut core = self.core();
        let flags = core.state.abandon();
        core.say(flags);
        core.count();
        !core.closed
    }

    /// Ready when the channel is closed.
    pub(super) fn poll_over(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut core = self.core();
        if core.closed {
            return Poll::Ready(());
        }
        core.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Ends both directions at once, whatever was to be said.
    pub(crate) fn reset(&self) {
        self.change(|core| {
            let reset = core.state.reset();
            core.say(reset);
        });
    }

    pub(crate) fn downgrade(&self) -> WeakPipe {
        WeakPipe(Arc::downgrade(&self.0))
    }

    /// Lets something happen, and wakes whoever it may concern.
    fn change(&self, change: impl FnOnce(&mut Core)) {
        let wakers = {
            let mut core = self.core();
            change(&mut core);
            core.count();
            [core.reader.take(), core.writer.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        // What is in there is whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn broken_pipe(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, why)
}

impl Core {
    /// Sends `flags`, and closes the channel if those were the last words.
    fn say(&mut self, flags: impl IntoIterator<Item = Flag>) {
        for flag in flags {
            if self.open && !self.closed && self.channel.send(&frame::flag(flag)).is_err() {
                self.state.channel_closed();
            }
        }
        if self.state.is_over() {
            self.close();
        }
    }

    fn close(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.channel.close();
        }
    }

    /// Keeps the budget true; returns what all streams hold.
    fn count(&mut self) -> usize {
        let (before, now) = (self.counted_bytes, self.state.unread_bytes());
        self.counted_bytes = now;
        self.budget.unread_bytes.fetch_add(now, Ordering::Relaxed);
        self.budget.unread_bytes.fetch_sub(before, Ordering::Relaxed) - before
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.close();
        self.budget.unread_bytes.fetch_sub(self.counted_bytes, Ordering::Relaxed);
        self.budget.channel_gone();
    }
}
