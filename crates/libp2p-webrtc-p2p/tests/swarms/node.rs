//! A peer and a relay in one process, and what can be seen of them.
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::poll_fn};
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport as _,
    core::{ConnectedPoint, muxing::StreamMuxerBox, transport::MemoryTransport, upgrade::Version},
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, relay, swarm,
    swarm::{ConnectionId, NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle, dial_opts::DialOpts},
    yamux,
};
use libp2p_webrtc_p2p::{self as webrtc, backend::memory::MemoryNetwork};

static NEXT_ADDRESS: AtomicU64 = AtomicU64::new(0x5eed_0000);

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    relay: relay::client::Behaviour,
    webrtc: Toggle<webrtc::Behaviour>,
    identify: webrtc::Unaddressed<identify::Behaviour>,
    ping: ping::Behaviour,
    streams: libp2p_stream::Behaviour,
}

#[derive(NetworkBehaviour)]
pub struct RelayBehaviour {
    relay: relay::Behaviour,
    identify: identify::Behaviour,
}

/// What happened, as far as somebody asks.
#[derive(Debug)]
pub enum Seen {
    DialFailed(String),
    Attempt(webrtc::Event),
    Pinged(ConnectionId),
    /// Over a direct connection: where the peer sees us.
    IdentifiedDirectly(Multiaddr),
    /// We may be reachable there.
    Candidate(Multiaddr),
}

pub struct Node {
    pub peer: PeerId,
    pub swarm: Swarm<Behaviour>,
    pub seen: Vec<Seen>,
    connections: BTreeMap<ConnectionId, (PeerId, ConnectedPoint)>,
    dialing: Vec<ConnectionId>,
    listening: Vec<Multiaddr>,
}

pub struct Relay {
    pub peer: PeerId,
    pub address: Multiaddr,
    swarm: Swarm<RelayBehaviour>,
}

fn config() -> swarm::Config {
    swarm::Config::with_executor(|task| drop(tokio::spawn(task))).with_idle_connection_timeout(Duration::from_secs(600))
}

fn identify(key: &Keypair) -> identify::Behaviour {
    identify::Behaviour::new(identify::Config::new("/test/1".to_owned(), key.public()))
}

impl Relay {
    pub fn new() -> Self {
        let key = Keypair::generate_ed25519();
        let peer = key.public().to_peer_id();
        let transport = MemoryTransport::default()
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(&key).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        let mut limits = relay::Config::default();
        limits.reservation_rate_limiters.clear();
        limits.circuit_src_rate_limiters.clear();
        limits.max_circuits_per_peer = 100;
        let behaviour = RelayBehaviour { relay: relay::Behaviour::new(peer, limits), identify: identify(&key) };
        let mut swarm = Swarm::new(transport, behaviour, peer, config());
        let address = Multiaddr::from(Protocol::Memory(NEXT_ADDRESS.fetch_add(1, Ordering::Relaxed)));
        swarm.listen_on(address.clone()).unwrap();
        swarm.add_external_address(address.clone());
        Self { peer, address, swarm }
    }

    fn circuit(&self) -> Multiaddr {
        self.address.clone().with(Protocol::P2p(self.peer)).with(Protocol::P2pCircuit)
    }
}

impl Node {
    pub fn new(network: &MemoryNetwork) -> Self {
        Self::with(Some(network), usize::MAX)
    }

    /// With so many direct peers at most.
    pub fn bounded(network: &MemoryNetwork, peers_max: usize) -> Self {
        Self::with(Some(network), peers_max)
    }

    pub fn without_webrtc() -> Self {
        Self::with(None, 0)
    }

    fn with(network: Option<&MemoryNetwork>, peers_max: usize) -> Self {
        let key = Keypair::generate_ed25519();
        let peer = key.public().to_peer_id();
        let (circuits, relay) = relay::client::new(peer);
        let (direct, behaviour) = webrtc::new(peer, network.cloned().unwrap_or_default());
        let noise = || noise::Config::new(&key).unwrap();
        let transport = direct
            .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
            .or_transport(circuits.upgrade(Version::V1).authenticate(noise()).multiplex(yamux::Config::default()))
            .or_transport(
                MemoryTransport::default()
                    .upgrade(Version::V1)
                    .authenticate(noise())
                    .multiplex(yamux::Config::default()),
            )
            .map(|either, _| match either {
                futures::future::Either::Left(futures::future::Either::Left(output)) => output,
                futures::future::Either::Left(futures::future::Either::Right((peer, muxer))) => {
                    (peer, StreamMuxerBox::new(muxer))
                }
                futures::future::Either::Right((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
            })
            .boxed();
        let behaviour = Behaviour {
            relay,
            webrtc: network.map(|_| behaviour.with_peers_max(peers_max)).into(),
            identify: webrtc::Unaddressed(identify(&key)),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_millis(200))),
            streams: libp2p_stream::Behaviour::new(),
        };
        let swarm = Swarm::new(transport, behaviour, peer, config());
        Self { peer, swarm, seen: Vec::new(), connections: BTreeMap::new(), dialing: Vec::new(), listening: Vec::new() }
    }

    pub fn connect_to(&mut self, relay: &Relay) {
        self.swarm.dial(relay.address.clone().with(Protocol::P2p(relay.peer))).unwrap();
    }

    pub fn reserve_at(&mut self, relay: &Relay) {
        self.swarm.listen_on(relay.circuit()).unwrap();
    }

    pub fn dial(&mut self, address: &Multiaddr) {
        let options = self.swarm.behaviour_mut().webrtc.as_mut().unwrap().dial(address).unwrap();
        self.dialing.push(options.connection_id());
        self.swarm.dial(options).unwrap();
    }

    pub fn dial_circuit(&mut self, relay: &Relay, peer: PeerId) {
        let options = DialOpts::peer_id(peer).addresses(vec![relay.circuit().with(Protocol::P2p(peer))]);
        self.swarm.dial(options.build()).unwrap();
    }

    pub fn control(&self) -> libp2p_stream::Control {
        self.swarm.behaviour().streams.new_control()
    }

    pub fn attempts(&self) -> usize {
        self.swarm.behaviour().webrtc.as_ref().map_or(0, webrtc::Behaviour::attempts)
    }

    pub fn dials_pending(&self) -> usize {
        self.dialing.len()
    }

    /// Our `/webrtc` addresses.
    pub fn addresses(&self) -> Vec<Multiaddr> {
        self.listening.iter().filter(|address| webrtc::address::is_direct(address)).cloned().collect()
    }

    pub fn has_relay(&self) -> bool {
        self.connections.values().any(|(_, endpoint)| !is_direct(endpoint) && !is_circuit(endpoint))
    }

    pub fn direct(&self) -> usize {
        self.connections.values().filter(|(_, endpoint)| is_direct(endpoint)).count()
    }

    pub fn relayed(&self) -> usize {
        self.connections.values().filter(|(_, endpoint)| is_circuit(endpoint)).count()
    }

    pub fn direct_addresses(&self) -> Vec<String> {
        let direct = self.connections.values().filter(|(_, endpoint)| is_direct(endpoint));
        direct.map(|(_, endpoint)| endpoint.get_remote_address().to_string()).collect()
    }

    pub fn direct_is_relayed(&self) -> bool {
        self.connections.values().any(|(_, endpoint)| is_direct(endpoint) && endpoint.is_relayed())
    }

    pub fn pinged_directly(&self) -> bool {
        let is_direct = |id: &ConnectionId| self.connections.get(id).is_some_and(|(_, endpoint)| is_direct(endpoint));
        self.seen.iter().any(|seen| matches!(seen, Seen::Pinged(id) if is_direct(id)))
    }

    pub fn close_all_to(&mut self, peer: PeerId) {
        self.close(peer, |_| true);
    }

    pub fn close_direct_to(&mut self, peer: PeerId) {
        self.close(peer, is_direct);
    }

    fn close(&mut self, peer: PeerId, which: impl Fn(&ConnectedPoint) -> bool) {
        for (id, (to, endpoint)) in &self.connections {
            if *to == peer && which(endpoint) {
                self.swarm.close_connection(*id);
            }
        }
    }

    fn note(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connections.insert(connection_id, (peer_id, endpoint));
                self.dialing.retain(|id| *id != connection_id);
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => {
                self.connections.remove(&connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. }
                if self.dialing.contains(&connection_id) =>
            {
                self.dialing.retain(|id| *id != connection_id);
                self.seen.push(Seen::DialFailed(format!("{error:?} {}", chain(&error))));
            }
            SwarmEvent::NewListenAddr { address, .. } => self.listening.push(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.listening.retain(|known| *known != address),
            SwarmEvent::ListenerClosed { addresses, .. } => {
                self.listening.retain(|known| !addresses.contains(known));
            }
            SwarmEvent::Behaviour(BehaviourEvent::Webrtc(event)) => self.seen.push(Seen::Attempt(event)),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { connection, result: Ok(_), .. })) => {
                self.seen.push(Seen::Pinged(connection));
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                connection_id, info, ..
            })) if self.connections.get(&connection_id).is_some_and(|(_, endpoint)| is_direct(endpoint)) => {
                self.seen.push(Seen::IdentifiedDirectly(info.observed_addr));
            }
            SwarmEvent::NewExternalAddrCandidate { address } => self.seen.push(Seen::Candidate(address)),
            _ => {}
        }
    }
}

fn is_direct(endpoint: &ConnectedPoint) -> bool {
    webrtc::address::is_direct(endpoint.get_remote_address())
}

fn is_circuit(endpoint: &ConnectedPoint) -> bool {
    endpoint.is_relayed() && !is_direct(endpoint)
}

/// The words of an error and of what caused it.
fn chain(error: &swarm::DialError) -> String {
    let swarm::DialError::Transport(errors) = error else { return error.to_string() };
    let mut words = String::new();
    for (_, error) in errors {
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            words.push_str(&format!("{error}; "));
            cause = error.source();
        }
    }
    words
}

/// Lets everything go on until `done`.
pub async fn run_until(
    relay: &mut Relay,
    nodes: &mut [&mut Node],
    patience: Duration,
    mut done: impl FnMut(&[&mut Node]) -> bool,
) {
    let waited = tokio::time::timeout(patience, async {
        while !done(nodes) {
            step(relay, nodes).await;
        }
    });
    if waited.await.is_err() {
        let seen: Vec<_> = nodes.iter().map(|node| (&node.seen, &node.connections, &node.listening)).collect();
        panic!("it did not come to that: {seen:#?}");
    }
}

/// Lets everything go on for a while.
pub async fn run(relay: &mut Relay, nodes: &mut [&mut Node], time: Duration) {
    let _ = tokio::time::timeout(time, async {
        loop {
            step(relay, nodes).await;
        }
    })
    .await;
}

/// Lets everybody take so many turns.
pub async fn steps(relay: &mut Relay, nodes: &mut [&mut Node], count: usize) {
    for _ in 0..count {
        step(relay, nodes).await;
        tokio::task::yield_now().await;
    }
}

/// Until something happened somewhere, or a little time has passed.
async fn step(relay: &mut Relay, nodes: &mut [&mut Node]) {
    let happened = poll_fn(|context| {
        let mut any = false;
        while relay.swarm.poll_next_unpin(context).is_ready() {
            any = true;
        }
        for node in nodes.iter_mut() {
            while let std::task::Poll::Ready(Some(event)) = node.swarm.poll_next_unpin(context) {
                node.note(event);
                any = true;
            }
        }
        if any { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    });
    // What a test waits for need not be an event of a swarm.
    let _ = tokio::time::timeout(Duration::from_millis(5), happened.map(|()| ())).await;
}
