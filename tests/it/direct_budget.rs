//! More homeservers than anybody may be connected to directly, one of them out of the sender's reach: what one says, all hear.
//! Networks and relays are real, over memory; peer connections too.
use std::{cell::Cell, rc::Rc, time::Duration};

use futures::{FutureExt, StreamExt, future::LocalBoxFuture};
use libp2p::{
    Multiaddr, Swarm, Transport as _,
    core::{muxing::StreamMuxerBox, transport::MemoryTransport, upgrade::Version},
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, relay, swarm,
    swarm::NetworkBehaviour,
};
use libp2p_webrtc_p2p::backend::memory::MemoryNetwork;
use warren::{
    api,
    domain::identity::DEFAULT_SUFFIX,
    homeserver::{Options, identity},
    p2p::{
        connections::Path,
        network::{BaseTransport, Network, NetworkEvent, NetworkOptions, yamux_config},
    },
    ports::{Clock, Tasks},
    storage::memory::MemoryDisk,
};

use crate::{
    fakes::{PoolTasks, SeededEntropy},
    federation_network::join_path,
    harness::{Surroundings, TestServer, TestUser, request},
};

/// What everybody may have, in direct peers.
const BUDGET: usize = 3;
/// Everybody at the first relay: more than anybody can be connected to directly.
const NEIGHBOURS: usize = 6;
/// A step of real time, which networks live by, and how much passes for homeservers: their waits are long.
const STEP_MS: u64 = 5;
const HOMESERVER_STEP_MS: u64 = 50;
/// A test that waits longer than this for anything has failed.
const PATIENCE_MS: u64 = 90_000;

/// Real time to sleep by; it is as late as the last sleep that ended.
#[derive(Clone, Default)]
struct Sleeping(Rc<Cell<u64>>);

impl Clock for Sleeping {
    fn now_ms(&self) -> u64 {
        self.0.get()
    }

    fn sleep_ms(&self, duration_ms: u64) -> LocalBoxFuture<'static, ()> {
        let (now_ms, until_ms) = (self.0.clone(), self.0.get() + duration_ms);
        let sleep = futures_timer::Delay::new(Duration::from_millis(duration_ms));
        sleep.map(move |()| now_ms.set(now_ms.get().max(until_ms))).boxed_local()
    }
}

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
struct RelayBehaviour {
    relay: relay::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// Memory instead of WebSockets.
fn base(keypair: &Keypair) -> BaseTransport {
    MemoryTransport::default()
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(keypair).unwrap())
        .multiplex(yamux_config())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed()
}

/// A relay at `/memory/<port>`; answers with its address.
fn start_relay(tasks: &PoolTasks, port: u64) -> String {
    let keypair = Keypair::ed25519_from_bytes([port as u8; 32]).unwrap();
    let local = keypair.public().to_peer_id();
    let config = relay::Config { max_circuit_bytes: 0, ..relay::Config::default() };
    let behaviour = RelayBehaviour {
        relay: relay::Behaviour::new(local, config),
        identify: identify::Behaviour::new(identify::Config::new("/relay/1".to_owned(), keypair.public())),
        ping: ping::Behaviour::default(),
    };
    let config = swarm::Config::without_executor().with_idle_connection_timeout(Duration::from_millis(PATIENCE_MS));
    let mut swarm = Swarm::new(base(&keypair), behaviour, local, config);
    let address: Multiaddr = format!("/memory/{port}").parse().unwrap();
    swarm.listen_on(address.clone()).unwrap();
    swarm.add_external_address(address.clone());
    tasks.spawn(Box::pin(async move { while swarm.next().await.is_some() {} }));
    address.with(Protocol::P2p(local)).to_string()
}

struct Tab {
    server: TestServer,
    user: TestUser,
    network: Network,
}

struct World {
    surroundings: Surroundings,
    rtc: MemoryNetwork,
    clock: Sleeping,
}

impl World {
    fn tab(&self, seed: u64, relays: &[&String]) -> Tab {
        let tasks = PoolTasks::new(self.surroundings.pool.borrow().spawner());
        let disk = MemoryDisk::default();
        let entropy = Rc::new(SeededEntropy::new(seed));
        let store = Rc::new(disk.open());
        let made = identity::load_or_create(store, &*entropy, DEFAULT_SUFFIX);
        let made = Rc::new(self.surroundings.pool.borrow_mut().run_until(made).unwrap());
        let keypair = Keypair::ed25519_from_bytes(made.seed()).unwrap();
        let options = NetworkOptions {
            identity: made,
            relays: relays.iter().map(ToString::to_string).collect(),
            rtc: Some(Box::new(self.rtc.clone())),
            direct_peers_max: BUDGET,
            has_ice_servers: false,
            gateway: None,
            clock: Rc::new(self.clock.clone()),
            entropy,
            tasks: Rc::new(tasks),
        };
        let network = Network::new(options, base(&keypair), swarm::Config::without_executor());
        let transport = Rc::new(network.clone());
        let server = TestServer::start_in(&self.surroundings, disk, transport, seed, Options::default());
        let (asked, told) = (Rc::downgrade(&server.homeserver), Rc::downgrade(&server.homeserver));
        network.run(
            Rc::new(move |caller, request| {
                let homeserver = asked.upgrade().expect("it lives as long as the test");
                async move { api::handle(&homeserver, request, caller.into()).await }.boxed_local()
            }),
            Rc::new(move |event| match (event, told.upgrade()) {
                (NetworkEvent::PeerConnected(peer), Some(homeserver)) => homeserver.peer_connected(peer),
                (NetworkEvent::Returned, Some(homeserver)) => homeserver.network_returned(),
                _ => {}
            }),
        );
        let user = server.register(&format!("user{seed}"));
        Tab { server, user, network }
    }

    /// Lets time pass, for networks and homeservers, until it is so.
    #[track_caller]
    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        for _ in 0..PATIENCE_MS / STEP_MS {
            if is_so() {
                return;
            }
            self.pass();
        }
        panic!("it never came about that {what}");
    }

    fn pass(&self) {
        let mut pool = self.surroundings.pool.borrow_mut();
        pool.run_until(futures_timer::Delay::new(Duration::from_millis(STEP_MS)));
        self.surroundings.clock.advance(HOMESERVER_STEP_MS);
        pool.run_until_stalled();
    }

    fn join(&self, tab: &Tab, room: &str, via: &Tab) {
        let path = join_path(room, via.server.server_name());
        let pending = tab.server.queue(request("POST", &path, Some(&tab.user.token), "{}"));
        let mut answer = None;
        self.until("a join is answered", || {
            answer = pending.take();
            answer.is_some()
        });
        answer.unwrap().ok();
    }
}

impl Tab {
    fn peers_by(&self, path: Path) -> usize {
        self.network.status().peers.iter().filter(|peer| peer.path() == Some(path)).count()
    }

    fn is_at_relays(&self, count: usize) -> bool {
        self.network.status().addresses.len() == count
    }

    fn heard(&self, room: &str, text: &str) -> bool {
        self.server.said_in(&self.user, room).iter().any(|said| said == text)
    }
}

#[test]
fn what_one_says_all_hear_directly_or_by_circuit_or_from_others() {
    let world = World { surroundings: Surroundings::new(), rtc: MemoryNetwork::default(), clock: Sleeping::default() };
    let relay_tasks = PoolTasks::new(world.surroundings.pool.borrow().spawner());
    let (near, far) = (start_relay(&relay_tasks, 7_001), start_relay(&relay_tasks, 7_002));
    let mut tabs: Vec<Tab> = (1..NEIGHBOURS as u64).map(|seed| world.tab(seed, &[&near])).collect();
    let bridge = world.tab(NEIGHBOURS as u64, &[&near, &far]);
    // Nobody but the bridge is at its relay, or hears where that is.
    let hermit = world.tab(NEIGHBOURS as u64 + 1, &[&far]);
    world.until("all are at their relays", || {
        tabs.iter().chain([&hermit]).all(|tab| tab.is_at_relays(1)) && bridge.is_at_relays(2)
    });
    let room = tabs[0].server.public_room(&tabs[0].user);
    for tab in tabs[1..].iter().chain([&bridge]) {
        world.join(tab, &room, &tabs[0]);
    }
    world.join(&hermit, &room, &bridge);
    tabs.extend([bridge, hermit]);
    let within_budget = || tabs.iter().all(|tab| tab.peers_by(Path::Direct) <= BUDGET);

    for (n, speaker) in tabs.iter().enumerate() {
        let text = format!("said by {n}");
        speaker.server.say(&speaker.user, &room, &text);
        world.until(&format!("all hear {n}"), || {
            assert!(within_budget());
            tabs.iter().all(|tab| tab.heard(&room, &text))
        });
    }
    // So far for the words; what it was about:
    let at_near = &tabs[..NEIGHBOURS];
    world.until("everybody at one relay is connected", || {
        at_near.iter().all(|tab| tab.peers_by(Path::Direct) + tab.peers_by(Path::Relay) >= NEIGHBOURS - 1)
    });
    assert!(at_near.iter().any(|tab| tab.peers_by(Path::Direct) == BUDGET), "the budget is used");
    assert!(at_near.iter().any(|tab| tab.peers_by(Path::Relay) > 0), "there are more than it allows");
    let hermit = &tabs[NEIGHBOURS];
    assert_eq!(hermit.network.status().peers.iter().filter(|peer| peer.path().is_some()).count(), 1, "one knows it");
    assert!(within_budget());
    let heads = tabs[0].server.heads_of(&room);
    world.until("all agree", || tabs.iter().all(|tab| tab.server.heads_of(&room) == heads));
}
