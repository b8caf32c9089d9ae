//! Networks that meet through a real relay, in memory; time is real, and everything waited for is an event. How long all of a
//! test takes is the machine's business: it fails when it gets nowhere.
mod direct;
mod favourites;
mod gateway;
mod hasty;
mod silence;

use std::{
    cell::RefCell,
    pin::{Pin, pin},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use futures::{
    FutureExt, StreamExt,
    channel::{mpsc, oneshot},
    executor::{LocalPool, LocalSpawner},
    future::{Either, LocalBoxFuture, join, select},
    task::LocalSpawn,
};
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport as _,
    core::{
        muxing::StreamMuxerBox,
        transport::{ListenerId, MemoryTransport},
        upgrade::Version,
    },
    identify,
    identity::Keypair,
    noise, ping, relay, swarm,
    swarm::NetworkBehaviour,
};
use ruma::{OwnedServerName, ServerName};

use super::{behaviour::yamux_config, *};
use crate::{
    domain::identity::DEFAULT_SUFFIX,
    p2p::peer_name,
    ports::{Lane, Transport, TransportError},
};

/// A test that waits longer than this for any one thing has failed.
const PATIENCE: Duration = Duration::from_secs(30);

thread_local! {
    /// As late as the last sleep of this test that ended.
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
    /// How many things that this test waited for have come.
    static COME: Cell<u64> = const { Cell::new(0) };
}

struct RealTime;

impl Clock for RealTime {
    fn now_ms(&self) -> u64 {
        NOW_MS.get()
    }

    fn sleep_ms(&self, duration_ms: u64) -> LocalBoxFuture<'static, ()> {
        let until_ms = NOW_MS.get() + duration_ms;
        let sleep = futures_timer::Delay::new(Duration::from_millis(duration_ms));
        sleep.map(move |()| NOW_MS.set(NOW_MS.get().max(until_ms))).boxed_local()
    }
}

impl Entropy for RealTime {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

#[derive(Clone)]
struct Spawner(LocalSpawner);

impl Tasks for Spawner {
    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        // Only at the very end of a test is there nobody to run it any more.
        let _ = self.0.spawn_local_obj(task.into());
    }
}

fn run<T>(test: impl AsyncFnOnce(Spawner) -> T) -> T {
    let mut pool = LocalPool::new();
    let spawner = Spawner(pool.spawner());
    pool.run_until(async {
        let mut testing = pin!(test(spawner));
        loop {
            let before = COME.get();
            match select(testing, futures_timer::Delay::new(PATIENCE)).await {
                Either::Left((result, _)) => return result,
                Either::Right(((), _)) if COME.get() == before => panic!("nothing happened for {PATIENCE:?}"),
                Either::Right(((), unfinished)) => testing = unfinished,
            }
        }
    })
}

/// Memory instead of a WebSocket; the rest is as it is in a browser.
fn base(keypair: &Keypair) -> BaseTransport {
    MemoryTransport::default()
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair).unwrap())
        .multiplex(yamux_config())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed()
}

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
struct RelayBehaviour {
    relay: relay::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// A relay at `/memory/<port>`.
struct Relay {
    address: Multiaddr,
    alive: oneshot::Sender<()>,
    gone: oneshot::Receiver<()>,
}

impl Relay {
    fn start(spawner: &Spawner, seed: u8, port: u64, config: relay::Config) -> Self {
        let keypair = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
        let local = keypair.public().to_peer_id();
        let behaviour = RelayBehaviour {
            relay: relay::Behaviour::new(local, config),
            identify: identify::Behaviour::new(identify::Config::new("/relay/1".to_owned(), keypair.public())),
            ping: ping::Behaviour::default(),
        };
        let config = swarm::Config::without_executor().with_idle_connection_timeout(PATIENCE);
        let mut swarm = Swarm::new(base(&keypair), behaviour, local, config);
        let address: Multiaddr = format!("/memory/{port}").parse().unwrap();
        let listener = swarm.listen_on(address.clone()).unwrap();
        swarm.add_external_address(address.clone());
        let (alive, died) = oneshot::channel();
        let (ended, gone) = oneshot::channel();
        spawner.spawn(Box::pin(async move {
            select(died, pin!(async { while swarm.next().await.is_some() {} })).await;
            // Unlike a socket, a memory port stays taken unless it is closed.
            swarm.remove_listener(listener);
            while !matches!(swarm.next().await, Some(swarm::SwarmEvent::ListenerClosed { .. })) {}
            drop(swarm);
            ended.send(()).unwrap_or(());
        }));
        Self { address: address.with(libp2p::multiaddr::Protocol::P2p(local)), alive, gone }
    }

    /// Ends the relay and all its connections.
    async fn die(self) {
        drop(self.alive);
        self.gone.await.unwrap();
    }
}

/// A homeserver that answers with its name, who asked, and the path.
struct Tab {
    name: OwnedServerName,
    network: Network,
    events: RefCell<mpsc::UnboundedReceiver<NetworkEvent>>,
}

impl Tab {
    fn start(spawner: &Spawner, seed: u8, relays: &[&Relay]) -> Self {
        Self::start_with(spawner, seed, relays, |answer| async { answer }.boxed_local())
    }

    fn start_with(
        spawner: &Spawner,
        seed: u8,
        relays: &[&Relay],
        delay: impl Fn(http::Response<Bytes>) -> LocalBoxFuture<'static, http::Response<Bytes>> + 'static,
    ) -> Self {
        Self::start_on(spawner, seed, relays, None, delay)
    }

    fn start_on(
        spawner: &Spawner,
        seed: u8,
        relays: &[&Relay],
        rtc: Option<Box<dyn RtcBackend>>,
        delay: impl Fn(http::Response<Bytes>) -> LocalBoxFuture<'static, http::Response<Bytes>> + 'static,
    ) -> Self {
        Self::start_bounded(spawner, seed, relays, rtc, (DIRECT_PEERS_MAX, Rc::new(RealTime)), delay)
    }

    /// With a bound on direct peers, and a clock.
    fn start_bounded(
        spawner: &Spawner,
        seed: u8,
        relays: &[&Relay],
        rtc: Option<Box<dyn RtcBackend>>,
        (direct_peers_max, clock): (usize, Rc<dyn Clock>),
        delay: impl Fn(http::Response<Bytes>) -> LocalBoxFuture<'static, http::Response<Bytes>> + 'static,
    ) -> Self {
        let identity = Rc::new(Identity::from_seed([seed; 32], DEFAULT_SUFFIX).unwrap());
        let name = identity.server_name().to_owned();
        let options = NetworkOptions {
            has_ice_servers: false,
            gateway: None,
            direct_peers_max,
            identity,
            relays: relays.iter().map(|relay| relay.address.to_string()).collect(),
            rtc,
            clock,
            entropy: Rc::new(RealTime),
            tasks: Rc::new(spawner.clone()),
        };
        let keypair = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
        let network = Network::new(options, base(&keypair), swarm::Config::without_executor());
        let (sender, receiver) = mpsc::unbounded();
        let own = name.clone();
        let handler: PeerHandler = Rc::new(move |caller, request| {
            let Caller::Peer(key) = caller else { panic!("nobody here is a gateway") };
            let text = format!("{own} heard {} ask {}", key.label(), request.uri());
            delay(http::Response::new(Bytes::from(text)))
        });
        network.run(handler, Rc::new(move |event| sender.unbounded_send(event).unwrap_or(())));
        Self { name, network, events: RefCell::new(receiver) }
    }

    async fn ask(&self, other: &ServerName, path: &str) -> Result<String, TransportError> {
        let request = http::Request::builder().uri(path).body(Bytes::new()).unwrap();
        let answer = self.network.request(other.to_owned(), Lane::Queries, request).await?;
        COME.set(COME.get() + 1);
        Ok(String::from_utf8(answer.into_body().to_vec()).unwrap())
    }

    /// Waits until the status is as wished.
    async fn until(&self, wished: impl Fn(&NetworkStatus) -> bool) {
        while !wished(&self.network.status()) {
            std::future::poll_fn(|context| self.events.borrow_mut().poll_next_unpin(context)).await;
        }
        COME.set(COME.get() + 1);
    }

    async fn reachable(&self) {
        self.until(|status| status.relays.iter().all(|relay| matches!(relay.state, RelayState::Ready { .. }))).await;
    }

    async fn connected_to(&self, other: &Tab) {
        self.until(|status| status.peers.iter().any(|peer| peer.server == other.name && peer.path().is_some())).await;
    }

    async fn alone(&self) {
        self.until(|status| status.peers.iter().all(|peer| peer.path().is_none())).await;
    }

    fn is_answer(&self, asker: &Tab, path: &str, answer: &str) -> bool {
        answer == format!("{} heard {} ask {path}", self.name, asker.name.as_str().split('.').next().unwrap())
    }
}

fn generous() -> relay::Config {
    relay::Config { max_circuit_bytes: 0, ..relay::Config::default() }
}

#[test]
fn two_meet_through_a_relay_and_both_hear_of_it() {
    run(async |spawner: Spawner| {
        let relay = Relay::start(&spawner, 100, 1001, generous());
        let (one, other) = (Tab::start(&spawner, 1, &[&relay]), Tab::start(&spawner, 2, &[&relay]));
        join(one.reachable(), other.reachable()).await;
        let status = one.network.status();
        assert_eq!(
            status.addresses,
            [format!("{}/p2p-circuit/p2p/{}", relay.address, status.peer_id).parse().unwrap()]
        );
        assert!(status.peers.is_empty() && one.network.connected().is_empty(), "a relay is no homeserver");
        let answer = one.ask(&other.name, "/a?b=c").await.unwrap();
        assert!(other.is_answer(&one, "/a?b=c", &answer), "{answer}");
        join(one.connected_to(&other), other.connected_to(&one)).await;
        assert_eq!(one.network.connected(), std::slice::from_ref(&other.name));
        assert_eq!(other.network.status().peers[0].path(), Some(crate::p2p::connections::Path::Relay));
        let answer = other.ask(&one.name, "/back").await.unwrap();
        assert!(one.is_answer(&other, "/back", &answer), "{answer}");
        // Many at once on few streams, none lost.
        let many = (0..100).map(|n| one.ask(&other.name, if n % 2 == 0 { "/even" } else { "/odd" }));
        assert!(futures::future::join_all(many).await.into_iter().all(|answer| answer.is_ok()));
    });
}

#[test]
fn many_can_be_looked_for_at_once() {
    run(async |spawner: Spawner| {
        let (max_circuits, max_circuits_per_peer) = (64, 64);
        let circuit_src_rate_limiters = Vec::new();
        let sociable = relay::Config { max_circuits, max_circuits_per_peer, circuit_src_rate_limiters, ..generous() };
        let relay = Relay::start(&spawner, 109, 1011, sociable);
        let one = Tab::start(&spawner, 120, &[&relay]);
        let others: Vec<_> = (121..145).map(|seed| Tab::start(&spawner, seed, &[&relay])).collect();
        one.reachable().await;
        futures::future::join_all(others.iter().map(Tab::reachable)).await;
        let answers = futures::future::join_all(others.iter().map(|other| one.ask(&other.name, "/hello"))).await;
        for (other, answer) in others.iter().zip(answers) {
            assert!(other.is_answer(&one, "/hello", &answer.unwrap()));
        }
    });
}

#[test]
fn crossing_dials_harm_nothing() {
    run(async |spawner: Spawner| {
        let relay = Relay::start(&spawner, 101, 1002, generous());
        let (one, other) = (Tab::start(&spawner, 3, &[&relay]), Tab::start(&spawner, 4, &[&relay]));
        join(one.reachable(), other.reachable()).await;
        for round in 0..20 {
            let path = format!("/{round}");
            let (to, fro) = join(one.ask(&other.name, &path), other.ask(&one.name, &path)).await;
            assert!(other.is_answer(&one, &path, &to.unwrap()) && one.is_answer(&other, &path, &fro.unwrap()));
        }
    });
}

#[test]
fn all_find_each_other_again_when_the_relay_returns() {
    run(async |spawner: Spawner| {
        let relay = Relay::start(&spawner, 102, 1003, generous());
        let (one, other) = (Tab::start(&spawner, 5, &[&relay]), Tab::start(&spawner, 6, &[&relay]));
        join(one.reachable(), other.reachable()).await;
        one.ask(&other.name, "/").await.unwrap();
        join(one.connected_to(&other), other.connected_to(&one)).await;
        relay.die().await;
        join(one.alone(), other.alone()).await;
        one.until(|status| matches!(status.relays[0].state, RelayState::Offline { .. })).await;
        assert!(one.network.status().addresses.is_empty());
        let error = one.ask(&other.name, "/").await.unwrap_err();
        assert!(matches!(&error, TransportError::Unreachable { reason, .. } if reason.contains("relay")), "{error}");
        // Nobody asks for anything: they come back by themselves.
        let _relay = Relay::start(&spawner, 102, 1003, generous());
        join(one.connected_to(&other), other.connected_to(&one)).await;
        assert!(other.is_answer(&one, "/again", &one.ask(&other.name, "/again").await.unwrap()));
    });
}

#[test]
fn a_circuit_that_ends_in_the_middle_of_a_request_does_not_lose_it() {
    run(async |spawner: Spawner| {
        let short = relay::Config { max_circuit_duration: Duration::from_secs(1), ..generous() };
        let relay = Relay::start(&spawner, 103, 1004, short);
        let one = Tab::start(&spawner, 7, &[&relay]);
        // The first request is never answered, the second at once.
        let asked = Rc::new(Cell::new(0));
        let count = asked.clone();
        let other = Tab::start_with(&spawner, 8, &[&relay], move |answer| {
            count.set(count.get() + 1);
            if count.get() == 1 { futures::future::pending().boxed_local() } else { async { answer }.boxed_local() }
        });
        join(one.reachable(), other.reachable()).await;
        let answer = one.ask(&other.name, "/join").await.unwrap();
        assert!(other.is_answer(&one, "/join", &answer), "{answer}");
        assert_eq!(asked.get(), 2);
    });
}

#[test]
fn an_answer_larger_than_a_circuit_is_interrupted_and_the_next_request_works() {
    run(async |spawner: Spawner| {
        let narrow = relay::Config { max_circuit_bytes: 64 * 1024, ..generous() };
        let relay = Relay::start(&spawner, 104, 1005, narrow);
        let one = Tab::start(&spawner, 9, &[&relay]);
        let asked = Rc::new(Cell::new(0));
        let other = Tab::start_with(&spawner, 10, &[&relay], move |answer| {
            asked.set(asked.get() + 1);
            let large = http::Response::new(Bytes::from(vec![b'x'; 200_000]));
            let first = asked.get() == 1;
            async move { if first { large } else { answer } }.boxed_local()
        });
        join(one.reachable(), other.reachable()).await;
        let error = one.ask(&other.name, "/large").await.unwrap_err();
        assert!(matches!(error, TransportError::Interrupted { .. }), "{error}");
        assert!(other.is_answer(&one, "/small", &one.ask(&other.name, "/small").await.unwrap()));
    });
}

#[test]
fn a_hint_leads_to_a_peer_behind_another_relay_and_an_announcement_leads_back() {
    run(async |spawner: Spawner| {
        let near = Relay::start(&spawner, 105, 1006, generous());
        let far = Relay::start(&spawner, 106, 1007, generous());
        let (one, other) = (Tab::start(&spawner, 11, &[&near]), Tab::start(&spawner, 12, &[&far]));
        join(one.reachable(), other.reachable()).await;
        let error = one.ask(&other.name, "/").await.unwrap_err();
        assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
        let hints = other.network.status().addresses.iter().map(ToString::to_string).collect();
        one.network.add_address_hints(&other.name, hints);
        assert!(one.ask(&other.name, "/").await.is_ok());
        join(one.connected_to(&other), other.connected_to(&one)).await;
        // Identify told where the first one is; with all connections gone the second still knows.
        let peer = peer_name_of(&one);
        let known = other.network.0.book.borrow().addresses_to_dial(peer, &[]);
        assert_eq!(known, one.network.status().addresses);
    });
}

/// Takes connections at `address` and says nothing, as a network does that somebody has just left.
fn deaf(address: &str) -> LocalBoxFuture<'static, ()> {
    let mut transport = MemoryTransport::default();
    transport.listen_on(ListenerId::next(), address.parse().unwrap()).unwrap();
    async move {
        let mut taken = Vec::new();
        loop {
            let event = std::future::poll_fn(|context| Pin::new(&mut transport).poll(context)).await;
            taken.extend(event.into_incoming().map(|(incoming, _)| incoming.now_or_never()));
        }
    }
    .boxed_local()
}

#[test]
fn whoever_is_dialed_in_vain_and_comes_by_itself_is_reached() {
    run(async |spawner: Spawner| {
        let relay = Relay::start(&spawner, 108, 1009, generous());
        spawner.spawn(deaf("/memory/1010"));
        let one = Tab::start(&spawner, 16, &[&relay]);
        one.reachable().await;
        let absent = Identity::from_seed([17; 32], DEFAULT_SUFFIX).unwrap().server_name().to_owned();
        let peer = peer_name::peer_of_server(&absent).unwrap();
        one.network.add_address_hints(&absent, vec![format!("/memory/1010/p2p/{peer}")]);
        let asking = one.ask(&absent, "/are-you-there");
        let coming = async {
            one.until(|status| status.peers.iter().any(|peer| peer.state == PeerState::Connecting)).await;
            let other = Tab::start(&spawner, 17, &[&relay]);
            other.reachable().await;
            assert!(one.is_answer(&other, "/here", &other.ask(&one.name, "/here").await.unwrap()));
            other
        };
        // The dial itself fails only after that.
        let handshake = futures_timer::Delay::new(Duration::from_secs(10));
        match select(pin!(join(asking, coming)), handshake).await {
            Either::Left(((answer, other), _)) => assert!(other.is_answer(&one, "/are-you-there", &answer.unwrap())),
            Either::Right(_) => panic!("it still waits for its own dial"),
        }
    });
}

fn peer_name_of(tab: &Tab) -> PeerId {
    tab.network.status().peer_id
}

#[test]
fn what_cannot_be_reached_says_why() {
    run(async |spawner: Spawner| {
        let relay = Relay::start(&spawner, 107, 1008, generous());
        let one = Tab::start(&spawner, 13, &[&relay]);
        let lonely = Tab::start(&spawner, 14, &[]);
        one.reachable().await;
        let absent = Identity::from_seed([15; 32], DEFAULT_SUFFIX).unwrap();
        let dns = <&ServerName>::try_from("example.org").unwrap();
        for (tab, name, expected) in [
            (&one, absent.server_name(), "eservation"),
            (&one, &*one.name, "this server"),
            (&lonely, &*one.name, "no relay"),
        ] {
            match tab.ask(name, "/").await.unwrap_err() {
                TransportError::Unreachable { reason, .. } => assert!(reason.contains(expected), "{name}: {reason}"),
                other => panic!("{other}"),
            }
        }
        let never = one.ask(dns, "/").await.unwrap_err();
        assert!(matches!(&never, TransportError::NeverReachable { reason, .. } if reason.contains(".alt")), "{never}");
        // The page has words for these.
        for (tab, name, expected) in
            [(&one, absent.server_name(), Cause::NotAtRelay), (&lonely, &*one.name, Cause::NoAddress)]
        {
            let status = tab.network.status();
            let peer = status.peers.iter().find(|peer| peer.server == name).expect("who was looked for is known");
            assert!(
                matches!(&peer.state, PeerState::Away(Some(unreached)) if unreached.cause == expected),
                "{:?}",
                peer.state
            );
        }
        relay.die().await;
        one.until(|status| matches!(status.relays[0].state, RelayState::Offline { .. })).await;
        assert!(one.ask(absent.server_name(), "/").await.is_err());
        let state = one.network.status().peers[0].state.clone();
        assert!(
            matches!(&state, PeerState::Away(Some(unreached)) if unreached.cause == Cause::RelayUnreachable),
            "{state:?}"
        );
        one.network.stop();
        assert!(one.ask(absent.server_name(), "/").await.is_err());
    });
}
