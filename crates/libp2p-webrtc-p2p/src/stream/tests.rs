//! Streams on channels that are written down instead of sent.
use std::{
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use futures::{AsyncReadExt, AsyncWriteExt, channel::mpsc, executor::block_on, task::noop_waker_ref};

use super::{frame::Flag, *};

/// What a channel was told to do.
#[derive(Default)]
struct Log {
    sent: Vec<u8>,
    buffered: usize,
    closed: bool,
}

struct Written(Arc<Mutex<Log>>);

impl Channel for Written {
    fn send(&mut self, message: &[u8]) -> Result<(), ChannelError> {
        assert!(message.len() <= FRAME_MAX_BYTES);
        let mut log = self.0.lock().unwrap();
        log.buffered += message.len();
        log.sent.extend_from_slice(message);
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        self.0.lock().unwrap().buffered
    }

    fn close(&mut self) {
        let before = std::mem::replace(&mut self.0.lock().unwrap().closed, true);
        assert!(!before, "closed twice");
    }
}

struct Fixture {
    log: Arc<Mutex<Log>>,
    pipe: Pipe,
    stream: Option<Stream>,
    lingering: Lingering,
    budget: Arc<Budget>,
}

impl Fixture {
    fn new(open: bool) -> Self {
        let (log, budget) = (Arc::<Mutex<Log>>::default(), Arc::<Budget>::default());
        let pipe = Pipe::new(Box::new(Written(log.clone())), open, budget.clone());
        let (farewell, arrivals) = mpsc::unbounded();
        let stream = Some(Stream::new(pipe.clone(), farewell));
        Self { log, pipe, stream, lingering: Lingering::new(arrivals), budget }
    }

    fn stream(&mut self) -> &mut Stream {
        self.stream.as_mut().unwrap()
    }

    fn sent(&self) -> Vec<u8> {
        std::mem::take(&mut self.log.lock().unwrap().sent)
    }

    fn is_closed(&self) -> bool {
        self.log.lock().unwrap().closed
    }

    fn linger(&mut self) -> usize {
        self.lingering.poll(&mut Context::from_waker(noop_waker_ref()));
        self.lingering.len()
    }
}

#[test]
fn a_request_and_its_answer_end_with_the_channel_closed() {
    let mut fixture = Fixture::new(true);
    block_on(async {
        fixture.stream().write_all(b"ask").await.unwrap();
        fixture.stream().close().await.unwrap();
    });
    assert_eq!(fixture.sent(), [&frame::data(b"ask")[..], &frame::flag(Flag::Fin)].concat());
    fixture.pipe.received(&frame::flag(Flag::FinAck));
    fixture.pipe.received(&frame::data(b"answer"));
    fixture.pipe.received(&frame::flag(Flag::Fin));
    assert_eq!(fixture.sent(), frame::flag(Flag::FinAck), "answered before anybody reads");
    assert!(fixture.is_closed());
    let mut answer = Vec::new();
    block_on(fixture.stream().read_to_end(&mut answer)).unwrap();
    assert_eq!(answer, b"answer");
    fixture.stream.take();
    assert_eq!(fixture.linger(), 0);
}

#[test]
fn nothing_is_written_before_the_channel_is_open_and_much_is_written_in_turns() {
    let fixture = Fixture::new(false);
    let mut context = Context::from_waker(noop_waker_ref());
    assert!(fixture.pipe.poll_write(&mut context, b"early").is_pending());
    assert!(fixture.pipe.poll_finish(&mut context).is_pending());
    fixture.pipe.opened();
    let much = vec![0; 100 * 1024];
    let mut written = 0;
    while let Poll::Ready(length) = fixture.pipe.poll_write(&mut context, &much) {
        written += length.unwrap();
    }
    assert!((SEND_HIGH_WATER_BYTES - FRAME_MAX_BYTES..SEND_HIGH_WATER_BYTES + FRAME_MAX_BYTES).contains(&written));
    fixture.log.lock().unwrap().buffered = 0;
    fixture.pipe.drained();
    assert!(fixture.pipe.poll_write(&mut context, &much).is_ready());
}

#[test]
fn a_stream_dropped_after_it_was_closed_waits_for_last_words() {
    let mut fixture = Fixture::new(true);
    block_on(fixture.stream().close()).unwrap();
    fixture.stream.take();
    assert_eq!(fixture.sent(), [frame::flag(Flag::Fin), frame::flag(Flag::StopSending)].concat());
    assert_eq!(fixture.linger(), 1);
    assert!(!fixture.is_closed());
    fixture.pipe.received(&frame::flag(Flag::FinAck));
    assert_eq!(fixture.linger(), 1);
    fixture.pipe.received(&frame::flag(Flag::Fin));
    assert_eq!(fixture.linger(), 0);
    assert!(fixture.is_closed());
}

#[test]
fn a_stream_dropped_in_the_middle_is_reset() {
    let mut fixture = Fixture::new(true);
    fixture.stream.take();
    assert_eq!(fixture.sent(), frame::flag(Flag::Reset));
    assert!(fixture.is_closed());
    assert_eq!(fixture.linger(), 0);
    let mut unopened = Fixture::new(false);
    unopened.stream.take();
    assert!(unopened.sent().is_empty());
    assert!(unopened.is_closed());
}

#[test]
fn too_many_farewells_cut_the_oldest() {
    let (farewell, arrivals) = mpsc::unbounded();
    let mut lingering = Lingering::new(arrivals);
    let budget = Arc::<Budget>::default();
    for _ in 0..LINGERING_MAX + 3 {
        let pipe = Pipe::new(Box::new(Written(Arc::default())), true, budget.clone());
        let mut stream = Stream::new(pipe, farewell.clone());
        block_on(stream.close()).unwrap();
    }
    lingering.poll(&mut Context::from_waker(noop_waker_ref()));
    assert_eq!(lingering.len(), LINGERING_MAX);
    assert_eq!(budget.channels(), LINGERING_MAX);
}

#[test]
fn streams_of_one_connection_share_a_limit() {
    let budget = Arc::<Budget>::default();
    let frame = frame::data(&[0; 16_000]);
    let mut pipes = Vec::new();
    'filling: loop {
        let log = Arc::<Mutex<Log>>::default();
        pipes.push(Pipe::new(Box::new(Written(log.clone())), true, budget.clone()));
        for _ in 0..UNREAD_MAX_BYTES / 2 / frame.len() {
            pipes.last().unwrap().received(&frame);
            assert!(budget.unread_bytes() <= CONNECTION_UNREAD_MAX_BYTES);
            if log.lock().unwrap().closed {
                break 'filling;
            }
        }
    }
    assert!(pipes.len() >= CONNECTION_UNREAD_MAX_BYTES / UNREAD_MAX_BYTES);
    let mut context = Context::from_waker(noop_waker_ref());
    let Poll::Ready(Err(error)) = pipes.last().unwrap().poll_read(&mut context, &mut [0]) else { panic!("full") };
    assert!(error.to_string().contains("all streams"), "{error}");
    pipes.clear();
    assert_eq!((budget.unread_bytes(), budget.channels()), (0, 0));
}

#[test]
fn reader_and_writer_may_be_two_tasks() {
    let mut fixture = Fixture::new(false);
    let (pipe, stream) = (fixture.pipe.clone(), fixture.stream.take().unwrap());
    let (mut reader, mut writer) = stream.split();
    let mut buffer = [0; 2];
    let events = async {
        pipe.opened();
        pipe.received(&frame::data(b"hi"));
    };
    block_on(async {
        futures::join!(
            async { reader.read_exact(&mut buffer).await.unwrap() },
            async { writer.write_all(b"ho").await.unwrap() },
            events
        )
    });
    assert_eq!(&buffer, b"hi");
    assert_eq!(fixture.sent(), frame::data(b"ho"));
    assert_eq!(fixture.budget.channels(), 1);
}
