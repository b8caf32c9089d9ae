//! The relay: libp2p circuit relay v2 with identify and ping, on sockets that the HTTP listener hands over.
mod few_at_once;

use std::{
    collections::HashSet,
    convert::Infallible,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite, StreamExt};
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport, connection_limits,
    connection_limits::ConnectionLimits,
    core::{muxing::StreamMuxerBox, transport::Boxed, transport::timeout::TransportTimeout, upgrade::Version},
    identify,
    identity::Keypair,
    memory_connection_limits, noise, ping, relay, swarm,
    swarm::{NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle},
    yamux,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use warren::p2p::streams::{self, Spoken};

use crate::{
    gateway::link::{Connected, RelayEnd},
    handed_over_sockets::{Arrival, HandedOverSockets},
};

/// Sockets of the relay, counted from the WebSocket handshake on.
const SOCKETS_MAX: usize = 2048;

/// Sockets in the libp2p handshake; a stranger costs nothing more than one of these.
const HANDSHAKES_MAX: u32 = 256;

/// A handshake that takes longer is abandoned.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Connections one peer may have: a page that reloads meets the connection of its former self.
const CONNECTIONS_PER_PEER_MAX: u32 = 8;

/// Streams of one connection that have not said yet which protocol they want.
const NEGOTIATING_STREAMS_MAX: usize = 16;

/// Above this resident size of the process no further connection is admitted.
const MEMORY_MAX_BYTES: usize = 1024 * 1024 * 1024;

/// A connection without any stream is kept this long. Not more than 24 days: timers of browsers end there.
const IDLE_MAX: Duration = Duration::from_secs(6 * 3600);

const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

const RESERVATIONS_MAX: usize = 1024;
const RESERVATIONS_PER_PEER_MAX: usize = 4;

/// Long, because a reservation's end is a time of day and clocks of visitors are wrong by hours (time zones); it costs
/// nothing, as a reservation ends with its connection anyway.
const RESERVATION_DURATION: Duration = Duration::from_secs(24 * 3600);

const CIRCUITS_MAX: usize = 4096;
/// A peer counts as the source and as the destination of a circuit.
const CIRCUITS_PER_PEER_MAX: usize = 128;

/// Token buckets. A whole school or a reverse proxy looks like one address, so an address gets what 50 peers get.
const RESERVATIONS_PER_PEER_BURST: u32 = 60;
const RESERVATIONS_PER_PEER_REFILL: Duration = Duration::from_secs(10);
const CIRCUITS_PER_PEER_BURST: u32 = 256;
const CIRCUITS_PER_PEER_REFILL: Duration = Duration::from_secs(1);
const PEERS_PER_ADDRESS: u32 = 50;

/// After the relay itself failed, it starts again after this pause.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

const PROTOCOL_VERSION: &str = "/warren/1.0.0";

/// What the relay is told once, at the start.
#[derive(Clone)]
pub struct RelaySettings {
    pub keypair: Keypair,
    /// Where the HTTP listener listens.
    pub listen: Multiaddr,
    /// Where browsers reach it. Without one the relay would refuse every reservation.
    pub external: Multiaddr,
    pub circuit_duration: Duration,
    /// Of both directions together.
    pub circuit_bytes: u64,
    /// Takes the streams that tabs open to their gateway, if there is one, and asks for streams to tabs.
    pub gateway: Option<RelayEnd>,
}

/// How many of what the relay carries right now.
#[derive(Default)]
pub struct RelayCounts {
    pub connections: AtomicUsize,
    pub reservations: AtomicUsize,
    pub circuits: AtomicUsize,
}

/// The way of accepted sockets to the relay.
pub struct RelayDoor<S> {
    arrivals: Mutex<mpsc::Sender<Arrival<S>>>,
    places: Arc<Semaphore>,
    pub counts: RelayCounts,
}

impl<S> RelayDoor<S> {
    /// A place for one more socket, held until it is dropped; `None` when the relay is full.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Hands a socket over, waiting while the relay is busy; dropped if the relay is just restarting.
    pub async fn enter(&self, arrival: Arrival<S>) {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if arrivals.send(arrival).await.is_err() {
            tracing::debug!("a socket came while the relay restarts");
        }
    }
}

/// Starts the relay as a task that starts again should it ever fail; lives as long as the runtime.
pub fn start<S>(settings: RelaySettings) -> Arc<RelayDoor<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (arrivals, sockets) = HandedOverSockets::new();
    let door = Arc::new(RelayDoor {
        arrivals: Mutex::new(arrivals),
        places: Arc::new(Semaphore::new(SOCKETS_MAX)),
        counts: RelayCounts::default(),
    });
    tokio::spawn(keep_running(settings, door.clone(), sockets));
    door
}

/// A peer that finds a way to make the swarm panic costs everybody a reconnection, not the server.
async fn keep_running<S>(settings: RelaySettings, door: Arc<RelayDoor<S>>, mut sockets: HandedOverSockets<S>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    loop {
        let running = tokio::spawn(run(settings.clone(), door.clone(), sockets));
        let Err(error) = running.await;
        tracing::error!(%error, "the relay failed and starts again");
        let (arrivals, fresh) = HandedOverSockets::new();
        *door.arrivals.lock().unwrap_or_else(PoisonError::into_inner) = arrivals;
        sockets = fresh;
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

async fn run<S>(settings: RelaySettings, door: Arc<RelayDoor<S>>, sockets: HandedOverSockets<S>) -> Infallible
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut swarm = build_swarm(&settings, sockets);
    let mut reserved = HashSet::new();
    door.counts.circuits.store(0, Ordering::Relaxed);
    let mut connected = Connected::default();
    loop {
        let event = tokio::select! {
            event = swarm.select_next_some() => event,
            open = asked(settings.gateway.as_ref()) => {
                if let Some(streams) = swarm.behaviour_mut().streams.as_mut() {
                    connected.open(open, streams);
                }
                continue;
            }
        };
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(incoming)) => {
                if let Some(gateway) = &settings.gateway {
                    gateway.accept(incoming);
                }
                continue;
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => connected.made(peer_id, connection_id),
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => connected.ended(peer_id, connection_id),
            _ => {}
        }
        notice(event, &mut swarm, &mut reserved, &door.counts);
    }
}

/// What the gateway asks for next; never anything where there is none.
async fn asked(gateway: Option<&RelayEnd>) -> crate::gateway::link::Open {
    match gateway {
        Some(gateway) => gateway.next().await,
        None => std::future::pending().await,
    }
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    connection_limits: connection_limits::Behaviour,
    memory_limit: memory_connection_limits::Behaviour,
    relay: few_at_once::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    streams: Toggle<streams::Behaviour>,
}

fn build_swarm<S>(settings: &RelaySettings, sockets: HandedOverSockets<S>) -> Swarm<Behaviour>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer_id = settings.keypair.public().to_peer_id();
    let config = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_MAX)
        .with_max_negotiating_inbound_streams(NEGOTIATING_STREAMS_MAX);
    let mut swarm = Swarm::new(build_transport(&settings.keypair, sockets), build_behaviour(settings), peer_id, config);
    swarm.add_external_address(settings.external.clone());
    swarm.listen_on(settings.listen.clone()).expect("a fresh transport accepts one listener");
    swarm
}

fn build_transport<S>(keypair: &Keypair, sockets: HandedOverSockets<S>) -> Boxed<(PeerId, StreamMuxerBox)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let noise = noise::Config::new(keypair).expect("an ed25519 key signs");
    let upgraded = sockets
        .upgrade(Version::V1)
        .authenticate(noise)
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    TransportTimeout::new(upgraded, HANDSHAKE_MAX).boxed()
}

fn build_behaviour(settings: &RelaySettings) -> Behaviour {
    let public_key = settings.keypair.public();
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(HANDSHAKES_MAX))
        .with_max_established_incoming(Some(SOCKETS_MAX as u32))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX));
    let identify = identify::Config::new(PROTOCOL_VERSION.to_owned(), public_key.clone())
        .with_agent_version(concat!("warren/", env!("CARGO_PKG_VERSION")).to_owned())
        .with_cache_size(0)
        .with_hide_listen_addrs(true);
    let ping = ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT);
    Behaviour {
        connection_limits: connection_limits::Behaviour::new(limits),
        memory_limit: memory_connection_limits::Behaviour::with_max_bytes(MEMORY_MAX_BYTES),
        relay: few_at_once::Behaviour(relay::Behaviour::new(public_key.to_peer_id(), relay_limits(settings))),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping),
        streams: settings.gateway.as_ref().map(|_| streams::Behaviour::new([Spoken::Gateway])).into(),
    }
}

fn relay_limits(settings: &RelaySettings) -> relay::Config {
    let per_peer = |burst: u32| NonZeroU32::new(burst).expect("a burst is not zero");
    let per_address = |burst: u32| per_peer(burst * PEERS_PER_ADDRESS);
    relay::Config {
        max_reservations: RESERVATIONS_MAX,
        max_reservations_per_peer: RESERVATIONS_PER_PEER_MAX,
        reservation_duration: RESERVATION_DURATION,
        reservation_rate_limiters: Vec::new(),
        max_circuits: CIRCUITS_MAX,
        max_circuits_per_peer: CIRCUITS_PER_PEER_MAX,
        max_circuit_duration: settings.circuit_duration,
        max_circuit_bytes: settings.circuit_bytes,
        circuit_src_rate_limiters: Vec::new(),
    }
    .reservation_rate_per_peer(per_peer(RESERVATIONS_PER_PEER_BURST), RESERVATIONS_PER_PEER_REFILL)
    .reservation_rate_per_ip(per_address(RESERVATIONS_PER_PEER_BURST), RESERVATIONS_PER_PEER_REFILL / PEERS_PER_ADDRESS)
    .circuit_src_per_peer(per_peer(CIRCUITS_PER_PEER_BURST), CIRCUITS_PER_PEER_REFILL)
    .circuit_src_per_ip(per_address(CIRCUITS_PER_PEER_BURST), CIRCUITS_PER_PEER_REFILL / PEERS_PER_ADDRESS)
}

/// Counts and logs what happens, and closes connections whose other end no longer answers.
fn notice(
    event: SwarmEvent<BehaviourEvent>,
    swarm: &mut Swarm<Behaviour>,
    reserved: &mut HashSet<PeerId>,
    counts: &RelayCounts,
) {
    match event {
        SwarmEvent::ConnectionEstablished { peer_id, .. } => tracing::info!(%peer_id, "peer connected"),
        SwarmEvent::ConnectionClosed { peer_id, num_established, cause, .. } => {
            let cause = cause.as_ref().map(tracing::field::display);
            tracing::info!(%peer_id, num_established, cause, "peer disconnected");
        }
        SwarmEvent::IncomingConnectionError { error, send_back_addr, .. } => {
            tracing::debug!(%error, %send_back_addr, "a connection was not made");
        }
        SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { peer, connection, result: Err(error) })) => {
            tracing::debug!(%peer, %error, "ping failed");
            // A tab that is frozen or gone would otherwise keep its reservation, and those who call it would wait.
            if !matches!(error, ping::Failure::Unsupported) {
                swarm.close_connection(connection);
            }
        }
        SwarmEvent::Behaviour(BehaviourEvent::Relay(event)) => notice_relayed(event, reserved, counts),
        _ => {}
    }
    counts.connections.store(swarm.network_info().connection_counters().num_established() as usize, Ordering::Relaxed);
    counts.reservations.store(reserved.len(), Ordering::Relaxed);
}

fn notice_relayed(event: relay::Event, reserved: &mut HashSet<PeerId>, counts: &RelayCounts) {
    match event {
        relay::Event::ReservationReqAccepted { src_peer_id: peer, renewed } => {
            tracing::info!(%peer, renewed, "reservation");
            reserved.insert(peer);
        }
        relay::Event::ReservationReqDenied { src_peer_id: peer, status } => {
            tracing::warn!(%peer, ?status, "reservation denied");
        }
        // Also told of connections that had no reservation.
        relay::Event::ReservationClosed { src_peer_id: peer }
        | relay::Event::ReservationTimedOut { src_peer_id: peer } => {
            reserved.remove(&peer);
        }
        // Who talks to whom is nobody's business unless somebody debugs.
        relay::Event::CircuitReqAccepted { src_peer_id: source, dst_peer_id: destination } => {
            counts.circuits.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%source, %destination, "circuit");
        }
        relay::Event::CircuitReqDenied { src_peer_id: source, dst_peer_id: destination, status } => {
            tracing::debug!(%source, %destination, ?status, "circuit denied");
        }
        relay::Event::CircuitClosed { src_peer_id: source, dst_peer_id: destination, error } => {
            counts.circuits.fetch_sub(1, Ordering::Relaxed);
            let error = error.as_ref().map(tracing::field::display);
            tracing::debug!(%source, %destination, error, "circuit closed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;
    use libp2p::core::transport::ListenerId;

    use super::*;

    fn settings() -> RelaySettings {
        RelaySettings {
            keypair: Keypair::generate_ed25519(),
            listen: "/ip4/127.0.0.1/tcp/8080/ws".parse().unwrap(),
            external: "/dns4/localhost/tcp/8080/ws".parse().unwrap(),
            circuit_duration: Duration::from_secs(1),
            circuit_bytes: 1,
            gateway: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_relay_that_panics_starts_again_with_a_new_door() {
        let (_, mut broken) = HandedOverSockets::<Cursor<Vec<u8>>>::new();
        // The swarm's own listen_on is refused by this one, which panics.
        broken.listen_on(ListenerId::next(), settings().listen).unwrap();
        let (arrivals, _) = HandedOverSockets::new();
        let door = Arc::new(RelayDoor {
            arrivals: Mutex::new(arrivals.clone()),
            places: Arc::new(Semaphore::new(1)),
            counts: RelayCounts::default(),
        });
        tokio::spawn(keep_running(settings(), door.clone(), broken));
        while door.arrivals.lock().unwrap().same_channel(&arrivals) {
            tokio::time::sleep(RESTART_PAUSE).await;
        }
        let remote = "192.0.2.7:4711".parse().unwrap();
        door.enter(Arrival { bytes: Cursor::new(Vec::new()), remote }).await;
        let fresh = door.arrivals.lock().unwrap().clone();
        while fresh.capacity() < fresh.max_capacity() {
            tokio::time::sleep(RESTART_PAUSE).await;
        }
        assert!(!fresh.is_closed(), "the second relay takes what comes");
    }
}
