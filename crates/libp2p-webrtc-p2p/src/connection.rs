//! A direct connection: one data channel a stream.
use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use futures::{FutureExt, channel::mpsc};
use libp2p_core::{StreamMuxer, muxing::StreamMuxerEvent};
use thiserror::Error;

use crate::{
    backend::{Call, PeerConnection, RtcError, RtcEvent},
    signaling::session::ConnectionState,
    stream::{Budget, Lingering, Pipe, Stream, WeakPipe},
};

/// Channels of one connection, those included that wait for last words. Our own streams wait, the peer's are refused.
pub const CHANNELS_MAX: usize = 512;

/// Streams the peer has opened and nobody has taken yet; more are refused.
pub const INBOUND_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConnectionError {
    #[error("the direct path to the peer is gone")]
    Failed,
    #[error("the connection was closed")]
    Closed,
    #[error(transparent)]
    Rtc(#[from] RtcError),
}

/// The muxer. Dropped, the connection is closed.
pub struct Connection {
    peer: Box<dyn PeerConnection>,
    budget: Arc<Budget>,
    inbound: VecDeque<Pipe>,
    opening: Option<Call<Pipe>>,
    farewell: mpsc::UnboundedSender<Pipe>,
    lingering: Lingering,
    /// Whom to tell that the connection is over: the browser does not.
    pipes: Vec<WeakPipe>,
    acceptor: Option<Waker>,
    over: Option<ConnectionError>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    /// `early` are channels that were opened before both sides knew of the connection.
    pub(crate) fn new(peer: Box<dyn PeerConnection>, early: VecDeque<Pipe>) -> Self {
        let (farewell, arrivals) = mpsc::unbounded();
        let pipes = early.iter().map(Pipe::downgrade).collect();
        Self {
            budget: peer.budget(),
            peer,
            inbound: early,
            opening: None,
            farewell,
            lingering: Lingering::new(arrivals),
            pipes,
            acceptor: None,
            over: None,
        }
    }

    fn keep(&mut self, pipe: &Pipe) {
        if self.pipes.len() == self.pipes.capacity() {
            self.pipes.retain(WeakPipe::is_alive);
        }
        self.pipes.push(pipe.downgrade());
    }

    fn stream(&self, pipe: Pipe) -> Stream {
        Stream::new(pipe, self.farewell.clone())
    }

    fn accept(&mut self, pipe: Pipe) {
        if self.inbound.len() >= INBOUND_MAX || self.budget.channels() > CHANNELS_MAX {
            tracing::debug!("too many streams of the peer, one is refused");
            return pipe.reset();
        }
        self.keep(&pipe);
        self.inbound.push_back(pipe);
        self.acceptor.take().into_iter().for_each(Waker::wake);
    }

    fn check(&self) -> Result<(), ConnectionError> {
        self.over.clone().map_or(Ok(()), Err)
    }

    fn end(&mut self, why: ConnectionError) {
        if self.over.is_some() {
            return;
        }
        self.over = Some(why);
        self.opening = None;
        self.peer.close();
        for pipe in std::mem::take(&mut self.pipes).iter().filter_map(WeakPipe::upgrade) {
            pipe.closed();
        }
        self.inbound.clear();
    }
}

impl StreamMuxer for Connection {
    type Substream = Stream;
    type Error = ConnectionError;

    fn poll_inbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        self.check()?;
        if let Some(pipe) = self.inbound.pop_front() {
            return Poll::Ready(Ok(self.stream(pipe)));
        }
        self.acceptor = Some(context.waker().clone());
        Poll::Pending
    }

    fn poll_outbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        self.check()?;
        if self.opening.is_none() {
            ready!(self.budget.poll_below(CHANNELS_MAX, context));
            self.opening = Some(self.peer.open_channel());
        }
        let Some(opening) = &mut self.opening else { return Poll::Pending };
        let opened = ready!(opening.poll_unpin(context));
        self.opening = None;
        let pipe = opened?;
        self.keep(&pipe);
        Poll::Ready(Ok(self.stream(pipe)))
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, ConnectionError>> {
        loop {
            self.check()?;
            let event = match self.peer.poll_event(context) {
                Poll::Ready(event) => event,
                Poll::Pending => {
                    self.lingering.poll(context);
                    return Poll::Pending;
                }
            };
            match event {
                RtcEvent::Channel(pipe) => self.accept(pipe),
                RtcEvent::State(ConnectionState::Failed) => self.end(ConnectionError::Failed),
                RtcEvent::State(ConnectionState::Closed) => self.end(ConnectionError::Closed),
                // It may recover by itself; whether it does, pings tell.
                RtcEvent::State(_) => {}
                // Signalling is over: nobody to tell.
                RtcEvent::Found(_) => {}
            }
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.end(ConnectionError::Closed);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end(ConnectionError::Closed);
    }
}
