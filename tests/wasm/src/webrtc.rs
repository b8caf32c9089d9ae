//! Direct connections on the browser's own WebRTC: two peers in one place, made known to each other in memory.
//!
//! Each test runs twice: in a page, and in a worker whose page makes the connections.
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use futures::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt,
    channel::{mpsc, oneshot},
    future::{Either, join, select},
};
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport as _,
    core::{ConnectedPoint, muxing::StreamMuxerBox, transport::MemoryTransport, upgrade::Version},
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, swarm,
    swarm::{ConnectionId, NetworkBehaviour, StreamProtocol, SwarmEvent},
    yamux,
};
use libp2p_webrtc_p2p::{
    self as webrtc,
    address::{direct, is_direct},
    backend::RtcBackend,
    credit::{Credited, WINDOW_BYTES},
};
use wasm_bindgen_futures::spawn_local;

/// Longer than anything here may take; the driver's own patience ends later.
const PATIENCE: Duration = Duration::from_secs(40);

const ECHO: StreamProtocol = StreamProtocol::new("/echo/1.0.0");

const DIALS_IN_A_ROW: usize = 100;
const CROSSING_DIALS: usize = 50;
const BIG_BYTES: usize = 50 * 1024 * 1024;
const PAUSE: Duration = Duration::from_secs(5);

/// Makes the peer connections of one peer.
pub type Make = fn() -> Box<dyn RtcBackend>;

#[derive(NetworkBehaviour)]
struct Behaviour {
    webrtc: webrtc::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    streams: libp2p_stream::Behaviour,
}

/// What a test sees of a peer.
#[derive(Default)]
struct Seen {
    connections: BTreeMap<ConnectionId, ConnectedPoint>,
    /// Dials of `/webrtc` that are under way, and why others failed.
    dialing: Vec<ConnectionId>,
    failed: Vec<String>,
    attempts: usize,
}

impl Seen {
    fn direct(&self) -> usize {
        self.connections.values().filter(|endpoint| is_direct(endpoint.get_remote_address())).count()
    }

    fn settled(&self) -> bool {
        self.dialing.is_empty() && self.attempts == 0
    }
}

type Act = Box<dyn FnOnce(&mut Swarm<Behaviour>, &mut Seen)>;

/// A peer whose swarm runs in a task of its own, until this is dropped.
struct Peer {
    id: PeerId,
    address: Multiaddr,
    seen: Rc<RefCell<Seen>>,
    acts: mpsc::UnboundedSender<Act>,
    changes: RefCell<mpsc::UnboundedReceiver<()>>,
    control: libp2p_stream::Control,
    ended: oneshot::Receiver<()>,
}

impl Peer {
    fn start(port: u64, make: Make) -> Self {
        let key = Keypair::generate_ed25519();
        let id = key.public().to_peer_id();
        let address = Multiaddr::from(Protocol::Memory(port));
        let mut swarm = swarm(&key, id, make());
        swarm.listen_on(address.clone()).unwrap();
        swarm.listen_on(Multiaddr::from(Protocol::WebRTC)).unwrap();
        let control = swarm.behaviour().streams.new_control();
        let seen = Rc::<RefCell<Seen>>::default();
        let (acts, mut todo) = mpsc::unbounded::<Act>();
        let (changed, changes) = mpsc::unbounded();
        let (end, ended) = oneshot::channel();
        let known = seen.clone();
        spawn_local(async move {
            loop {
                match select(todo.next(), swarm.next()).await {
                    Either::Left((Some(act), _)) => act(&mut swarm, &mut known.borrow_mut()),
                    Either::Right((Some(event), _)) => note(event, &mut known.borrow_mut()),
                    Either::Left((None, _)) | Either::Right((None, _)) => break,
                }
                known.borrow_mut().attempts = swarm.behaviour().webrtc.attempts();
                // A test that has seen enough does not listen any more.
                let _ = changed.unbounded_send(());
            }
            drop(swarm);
            let _ = end.send(());
        });
        Self { id, address, seen, acts, changes: RefCell::new(changes), control, ended }
    }

    fn act(&self, act: impl FnOnce(&mut Swarm<Behaviour>, &mut Seen) + 'static) {
        self.acts.unbounded_send(Box::new(act)).unwrap();
    }

    fn meet(&self, other: &Peer) {
        let options = swarm::dial_opts::DialOpts::peer_id(other.id).addresses(vec![other.address.clone()]).build();
        self.act(move |swarm, _| swarm.dial(options).unwrap());
    }

    fn dial(&self, other: &Peer) {
        let address = direct(other.id);
        self.act(move |swarm, seen| {
            let options = swarm.behaviour_mut().webrtc.dial(&address).unwrap();
            seen.dialing.push(options.connection_id());
            swarm.dial(options).unwrap();
        });
    }

    /// Closes the connections for which `which` says so.
    fn close(&self, which: fn(&ConnectedPoint) -> bool) {
        self.act(move |swarm, seen| {
            for (id, _) in seen.connections.iter().filter(|(_, endpoint)| which(endpoint)) {
                swarm.close_connection(*id);
            }
        });
    }

    async fn until(&self, what: &str, wished: impl Fn(&Seen) -> bool) {
        let wait = async {
            while !wished(&self.seen.borrow()) {
                std::future::poll_fn(|context| self.changes.borrow_mut().poll_next_unpin(context)).await;
            }
        };
        in_time(what, wait).await;
    }

    /// Answers what is asked of it in `/echo/1.0.0`, or with credit.
    fn echo(&self, credited: bool) {
        let mut incoming = self.control.clone().accept(protocol(credited)).unwrap();
        spawn_local(async move {
            while let Some((_, stream)) = incoming.next().await {
                spawn_local(async move {
                    if credited {
                        copy(Credited::new(stream)).await;
                    } else {
                        copy(stream).await;
                    }
                });
            }
        });
    }

    /// A stream on any connection: to be called when only the direct one is left.
    async fn open(&self, other: &Peer, credited: bool) -> libp2p::Stream {
        self.control.clone().open_stream(other.id, protocol(credited)).await.unwrap()
    }

    /// Ends the swarm and all that belongs to it.
    async fn stop(self) {
        drop(self.acts);
        self.ended.await.unwrap();
    }
}

fn protocol(credited: bool) -> StreamProtocol {
    if credited { StreamProtocol::try_from_owned(webrtc::credit::protocol_name(ECHO.as_ref())).unwrap() } else { ECHO }
}

async fn copy(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let (mut reader, mut writer) = stream.split();
    // A stream that is cut ends the echo.
    let _ = futures::io::copy(&mut reader, &mut writer).await;
    let _ = writer.close().await;
}

fn swarm(key: &Keypair, id: PeerId, backend: Box<dyn RtcBackend>) -> Swarm<Behaviour> {
    let (transport, behaviour) = webrtc::new(id, backend);
    let memory = MemoryTransport::default()
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(key).unwrap())
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let transport = transport
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
        .or_transport(memory)
        .map(|either, _| either.into_inner())
        .boxed();
    let behaviour = Behaviour {
        webrtc: behaviour,
        identify: identify::Behaviour::new(identify::Config::new("/test/1".to_owned(), key.public())),
        ping: ping::Behaviour::default(),
        streams: libp2p_stream::Behaviour::new(),
    };
    let config = swarm::Config::with_wasm_executor().with_idle_connection_timeout(Duration::from_secs(3600));
    Swarm::new(transport, behaviour, id, config)
}

fn note(event: SwarmEvent<BehaviourEvent>, seen: &mut Seen) {
    match event {
        SwarmEvent::ConnectionEstablished { connection_id, endpoint, .. } => {
            seen.connections.insert(connection_id, endpoint);
            seen.dialing.retain(|id| *id != connection_id);
        }
        SwarmEvent::ConnectionClosed { connection_id, .. } => drop(seen.connections.remove(&connection_id)),
        SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
            seen.dialing.retain(|id| *id != connection_id);
            seen.failed.push(format!("{error:?}"));
        }
        _ => {}
    }
}

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    match select(std::pin::pin!(work), futures_timer::Delay::new(PATIENCE)).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Two peers that know each other, as if a relay had introduced them. Ports are shared by all of a page.
async fn two(make: Make) -> (Peer, Peer) {
    let port = u64::from(js_sys::Date::now() as u32) << 8 | 1;
    let (one, other) = (Peer::start(port, make), Peer::start(port + 1, make));
    know(&one, &other).await;
    (one, other)
}

async fn know(one: &Peer, other: &Peer) {
    one.meet(other);
    let met = |seen: &Seen| seen.connections.len() == 1;
    join(one.until("introduced", met), other.until("introduced", met)).await;
}

/// Connected directly, and in no other way: what is said now needs no introduction.
async fn two_direct(make: Make) -> (Peer, Peer) {
    let (one, other) = two(make).await;
    connect(&one, &other).await;
    one.close(|endpoint| !is_direct(endpoint.get_remote_address()));
    let alone = |seen: &Seen| seen.connections.len() == 1 && seen.direct() == 1;
    join(one.until("only direct", alone), other.until("only direct", alone)).await;
    (one, other)
}

async fn connect(one: &Peer, other: &Peer) {
    one.dial(other);
    let direct = |seen: &Seen| seen.direct() == 1 && seen.settled();
    join(one.until("a direct connection", direct), other.until("a direct connection", direct)).await;
    assert!(one.seen.borrow().failed.is_empty(), "{:?}", one.seen.borrow().failed);
}

/// A megabyte there and back on one stream, each way closed by itself.
pub async fn a_megabyte_goes_there_and_back(make: Make) {
    let (one, other) = two_direct(make).await;
    for credited in [false, true] {
        one.echo(credited);
        other.echo(credited);
        for (from, to) in [(&one, &other), (&other, &one)] {
            let stream = in_time("a stream", from.open(to, credited)).await;
            let sent: Vec<u8> = (0..1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
            let received = if credited {
                in_time("the echo", there_and_back(Credited::new(stream), &sent)).await
            } else {
                in_time("the echo", there_and_back(stream, &sent)).await
            };
            assert!(received == sent, "{} bytes came back", received.len());
        }
    }
    // The first of each remote address is what libp2p tells relayed connections by.
    let endpoints = one.seen.borrow();
    assert!(endpoints.connections.values().all(|endpoint| !endpoint.is_relayed()));
}

async fn there_and_back(stream: impl AsyncRead + AsyncWrite + Unpin, sent: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = stream.split();
    let mut received = Vec::new();
    let write = async {
        writer.write_all(sent).await.unwrap();
        writer.close().await.unwrap();
    };
    let ((), read) = join(write, reader.read_to_end(&mut received)).await;
    read.unwrap();
    received
}

/// Dial after dial on fresh introductions: none hangs.
pub async fn a_hundred_dials_in_a_row_succeed(make: Make) {
    let (one, other) = two(make).await;
    other.echo(false);
    for round in 0..DIALS_IN_A_ROW {
        let (from, to) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
        connect(from, to).await;
        from.close(|_| true);
        let apart = |seen: &Seen| seen.connections.is_empty();
        join(one.until("apart", apart), other.until("apart", apart)).await;
        know(from, to).await;
    }
}

/// Both dial at the same moment: there is one connection, never two and never none.
pub async fn dials_that_cross_end_in_one_connection(make: Make) {
    let (one, other) = two(make).await;
    for round in 0..CROSSING_DIALS {
        one.dial(&other);
        other.dial(&one);
        let settled = |seen: &Seen| seen.direct() >= 1 && seen.settled();
        join(one.until("one connection", settled), other.until("one connection", settled)).await;
        assert_eq!((one.seen.borrow().direct(), other.seen.borrow().direct()), (1, 1), "round {round}");
        // Closed altogether, so that nobody is told to dial more slowly.
        one.close(|_| true);
        let apart = |seen: &Seen| seen.connections.is_empty();
        join(one.until("apart", apart), other.until("apart", apart)).await;
        know(&one, &other).await;
    }
}

/// The other side learns at once that a peer has closed, or is gone with its swarm.
pub async fn the_end_of_a_connection_is_noticed_at_once(make: Make) {
    let (one, other) = two_direct(make).await;
    let alone = |seen: &Seen| seen.connections.is_empty();
    let before = js_sys::Date::now();
    one.close(|_| true);
    join(one.until("closed here", alone), other.until("closed there", alone)).await;
    know(&one, &other).await;
    connect(&one, &other).await;
    one.stop().await;
    other.until("gone", alone).await;
    assert!(js_sys::Date::now() - before < 5_000.0, "it took {} ms", js_sys::Date::now() - before);
}

/// A reader that pauses in the middle of much data holds one window of it, and then gets all.
pub async fn a_reader_that_pauses_holds_one_window(make: Make) {
    let (one, other) = two_direct(make).await;
    let mut incoming = other.control.clone().accept(protocol(true)).unwrap();
    let mut writer = Credited::new(in_time("a stream", one.open(&other, true)).await);
    spawn_local(async move {
        let piece = vec![7; 64 * 1024];
        for _ in 0..BIG_BYTES / piece.len() {
            writer.write_all(&piece).await.unwrap();
        }
        writer.close().await.unwrap();
        // Held until the reader has finished and closes.
        let _ = writer.read(&mut [0]).await;
    });
    let (_, stream) = in_time("the stream", incoming.next()).await.unwrap();
    let mut reader = Credited::new(stream);
    let mut buffer = vec![0; 64 * 1024];
    let (mut read, mut most) = (0, 0);
    in_time("all the data", async {
        let mut paused = false;
        loop {
            let length = reader.read(&mut buffer).await.unwrap();
            if length == 0 {
                break;
            }
            read += length;
            most = most.max(reader.unread_bytes());
            if read > BIG_BYTES / 2 && !std::mem::replace(&mut paused, true) {
                futures_timer::Delay::new(PAUSE).await;
            }
        }
    })
    .await;
    assert_eq!(read, BIG_BYTES);
    assert!(most <= WINDOW_BYTES, "{most} bytes were held");
}
