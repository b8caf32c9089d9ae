//! Carries out one session: between its rules, the signalling stream and the browser.
use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use futures::{AsyncRead, AsyncWrite, FutureExt, future::BoxFuture};
use futures_timer::Delay;

use crate::{
    backend::{PeerConnection, RtcError, RtcEvent},
    connection::Connection,
    error::Error,
    signaling::{
        message::{MESSAGE_MAX_BYTES, Message},
        session::{Input, Output, Role, Session, Stage, Tried},
    },
    stream::Pipe,
    unframe::Unframer,
};

/// From the opened stream to the direct connection, in seconds; it also bounds how long a circuit is used for it.
pub const NEGOTIATION_S: u64 = 30;

/// Channels the other side may open before we know that we are connected; more are closed.
pub const EARLY_CHANNELS_MAX: usize = 16;

/// How long the other side may take to close its half of the signalling stream afterwards, in seconds.
const FAREWELL_S: u64 = 5;

/// What the answer of the browser means to the session: nothing, for a candidate.
type Pending = BoxFuture<'static, Result<Option<Input>, RtcError>>;

/// Ready when there is a connection, or none. Dropped before, it resets the stream and closes the connection.
pub(crate) struct Negotiation<S> {
    session: Session,
    /// An offer is made while the stream for it is still being opened.
    stream: Option<S>,
    peer: Option<Box<dyn PeerConnection>>,
    /// For the browser, which does one at a time.
    calls: VecDeque<Output>,
    call: Option<Pending>,
    unsent: BytesMut,
    unflushed: bool,
    unframer: Unframer,
    /// The other side may send more.
    reading: bool,
    early: VecDeque<Pipe>,
    deadline: Delay,
}

/// How it went.
pub(crate) struct Concluded<S> {
    pub result: Result<(Connection, Farewell<S>), Error>,
    pub tried: Tried,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Negotiation<S> {
    pub fn new(role: Role, stream: Option<S>, peer: Box<dyn PeerConnection>) -> Self {
        Self {
            session: Session::new(role),
            stream,
            peer: Some(peer),
            calls: VecDeque::new(),
            call: None,
            unsent: BytesMut::new(),
            unflushed: false,
            unframer: Unframer::new(MESSAGE_MAX_BYTES),
            reading: true,
            early: VecDeque::new(),
            deadline: Delay::new(Duration::from_secs(NEGOTIATION_S)),
        }
    }

    /// The stream is open, and what has been kept for it goes out at the next poll.
    pub fn signal_over(&mut self, stream: S) {
        self.stream = Some(stream);
    }

    #[cfg(test)]
    fn within(mut self, time: Duration) -> Self {
        self.deadline = Delay::new(time);
        self
    }

    /// Whether the other side has answered, so that a broken stream is no refusal any more.
    pub fn stage(&self) -> Stage {
        self.session.stage()
    }

    fn poll_connected(&mut self, context: &mut Context<'_>) -> Poll<Result<(Connection, Farewell<S>), Error>> {
        if self.deadline.poll_unpin(context).is_ready() {
            return Poll::Ready(Err(Error::TimedOut(self.session.stage())));
        }
        loop {
            while let Some(output) = self.session.next_output() {
                match output {
                    Output::Send(message) => self.unsent.extend_from_slice(&message.encode()),
                    Output::Connected => return Poll::Ready(Ok(self.conclude())),
                    call => self.calls.push_back(call),
                }
            }
            self.write(context)?;
            // Each of these is asked until it has nothing more, because only then it wakes us.
            if self.poll_browser(context)?.is_pending() && self.poll_message(context)?.is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn peer(&mut self) -> &mut dyn PeerConnection {
        self.peer.as_deref_mut().expect("it is there until the negotiation has concluded")
    }

    fn conclude(&mut self) -> (Connection, Farewell<S>) {
        let peer = self.peer.take().expect("it is there until the negotiation has concluded");
        let stream = self.stream.take().expect("nobody connects to us without an answer, which came by it");
        let farewell = Farewell {
            stream,
            unsent: std::mem::take(&mut self.unsent),
            deadline: Delay::new(Duration::from_secs(FAREWELL_S)),
        };
        (Connection::new(peer, std::mem::take(&mut self.early)), farewell)
    }

    fn poll_browser(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, Error> {
        if self.call.is_none()
            && let Some(output) = self.calls.pop_front()
        {
            self.call = Some(begin(self.peer(), output));
        }
        if let Some(Poll::Ready(answer)) = self.call.as_mut().map(|call| call.poll_unpin(context)) {
            self.call = None;
            if let Some(input) = answer? {
                self.session.handle(input)?;
            }
            return Ok(Poll::Ready(()));
        }
        let input = match self.peer().poll_event(context) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(RtcEvent::Found(candidate)) => Input::Found(candidate),
            Poll::Ready(RtcEvent::State(state)) => Input::State(state),
            Poll::Ready(RtcEvent::Channel(pipe)) => {
                if self.early.len() < EARLY_CHANNELS_MAX {
                    self.early.push_back(pipe);
                } else {
                    pipe.reset();
                }
                return Ok(Poll::Ready(()));
            }
        };
        self.session.handle(input)?;
        Ok(Poll::Ready(()))
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Result<Poll<()>, Error> {
        if let Some(body) = self.unframer.pop()? {
            self.session.handle(Input::Received(Message::decode(&body)?))?;
            return Ok(Poll::Ready(()));
        }
        let Some(stream) = self.stream.as_mut().filter(|_| self.reading) else { return Ok(Poll::Pending) };
        let mut buffer = [0; 4096];
        match Pin::new(stream).poll_read(context, &mut buffer).map_err(broken)? {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(0) => {
                self.reading = false;
                self.session.handle(Input::Ended)?;
                Ok(Poll::Ready(()))
            }
            Poll::Ready(length) => {
                self.unframer.push(&buffer[..length]);
                Ok(Poll::Ready(()))
            }
        }
    }

    fn write(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        // Pending, it wakes us.
        let _ = send(Pin::new(stream), &mut self.unsent, &mut self.unflushed, context).map_err(broken)?;
        Ok(())
    }
}

/// Ready when all is written and flushed.
fn send<S: AsyncWrite>(
    mut stream: Pin<&mut S>,
    unsent: &mut BytesMut,
    unflushed: &mut bool,
    context: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !unsent.is_empty() {
        match ready!(stream.as_mut().poll_write(context, unsent))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            length => unsent.advance(length),
        }
        *unflushed = true;
    }
    if *unflushed {
        ready!(stream.poll_flush(context))?;
        *unflushed = false;
    }
    Poll::Ready(Ok(()))
}

fn broken(error: io::Error) -> Error {
    Error::StreamBroken(error.to_string())
}

fn begin(peer: &mut dyn PeerConnection, output: Output) -> Pending {
    let described = |sdp: Result<String, RtcError>| sdp.map(|sdp| Some(Input::Described(sdp)));
    match output {
        Output::MakeOffer => peer.make_offer().map(described).boxed(),
        Output::MakeAnswer(offer) => peer.make_answer(offer).map(described).boxed(),
        Output::ApplyAnswer(answer) => {
            peer.apply_answer(answer).map(|applied| applied.map(|()| Some(Input::Applied))).boxed()
        }
        Output::AddCandidate(candidate) => {
            let added = |added: Result<(), RtcError>| {
                if let Err(error) = added {
                    // One that is of no use to the browser is no reason to give up the others.
                    tracing::debug!(%error, "a candidate of the peer was refused");
                }
                Ok(None)
            };
            peer.add_candidate(candidate).map(added).boxed()
        }
        Output::Send(_) | Output::Connected => futures::future::ok(None).boxed(),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Negotiation<S> {
    type Output = Concluded<S>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let result = ready!(this.poll_connected(context));
        Poll::Ready(Concluded { result, tried: this.session.tried().clone() })
    }
}

/// The signalling stream after the connection: closed here, and given a moment to be closed there.
pub(crate) struct Farewell<S> {
    stream: S,
    unsent: BytesMut,
    deadline: Delay,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Farewell<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { stream, unsent, deadline } = &mut *self;
        if deadline.poll_unpin(context).is_ready() {
            return Poll::Ready(());
        }
        let mut unflushed = false;
        match send(Pin::new(stream), unsent, &mut unflushed, context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Ready(Ok(())) => {}
        }
        // An error is met again by reading.
        let _ = Pin::new(&mut *stream).poll_close(context);
        let mut buffer = [0; 1024];
        // What is still said is of no interest any more; each turn reads a little, so that nobody is kept busy by it.
        match Pin::new(stream).poll_read(context, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(1..)) => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(()),
        }
    }
}

#[cfg(test)]
mod tests;
