//! What the swarm consists of.
use std::time::Duration;

use libp2p::{
    PeerId, Swarm, Transport, connection_limits,
    connection_limits::ConnectionLimits,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, OptionalTransport, timeout::TransportTimeout},
        upgrade::Version,
    },
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, relay, swarm,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    yamux,
};
use libp2p_webrtc_p2p::{self as webrtc, backend::RtcBackend};
use ruma::ServerName;

use crate::p2p::{
    peer_name,
    streams::{self, Spoken},
};

/// A transport whose connections are authenticated and multiplexed.
pub type BaseTransport = Boxed<(PeerId, StreamMuxerBox)>;

/// Our protocol family, as identify wants one.
const PROTOCOL_VERSION: &str = "/warren/1";

/// Peers with a direct connection, which costs a browser more than a circuit does, unless the shell says otherwise. Whatever
/// is beyond stays on circuits.
pub const DIRECT_PEERS_MAX: usize = 24;

/// From the dial to an authenticated connection, in seconds; likewise for one that comes in. Direct connections bring
/// their own deadlines, because being introduced comes first.
const HANDSHAKE_S: u64 = 15;

/// A connection without streams is closed after this, in seconds. Far below 24 days, the limit of browser timers.
const IDLE_CONNECTION_S: u64 = 6 * 60 * 60;

const PING_INTERVAL_S: u64 = 5;
const PING_TIMEOUT_S: u64 = 12;

/// Connections of strangers in their handshake, and of everybody; more than 6 from one peer are refused: a circuit and a
/// direct one, those they replace, and what crosses.
const HANDSHAKES_MAX: u32 = 64;
const INCOMING_CONNECTIONS_MAX: u32 = 512;
const CONNECTIONS_PER_PEER_MAX: u32 = 6;

/// Incoming streams of one connection that have not said their protocol yet.
const NEGOTIATING_STREAMS_MAX: usize = 32;

/// Streams of one connection, ours and theirs, all protocols.
const STREAMS_PER_CONNECTION_MAX: usize = 128;

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(super) relay: relay::client::Behaviour,
    pub(super) direct: Toggle<webrtc::Behaviour>,
    pub(super) identify: webrtc::Unaddressed<identify::Behaviour>,
    pub(super) ping: ping::Behaviour,
    pub(super) streams: streams::Behaviour,
}

/// What direct connections are made with, and to whom.
pub(super) struct DirectOptions {
    pub rtc: Option<Box<dyn RtcBackend>>,
    pub peers_max: usize,
    pub admission: webrtc::Admission,
}

/// A swarm that dials through `base` and, for circuit addresses, through relays; and makes direct connections of relayed
/// ones.
pub(super) fn build(
    keypair: &Keypair,
    server_name: &ServerName,
    base: BaseTransport,
    direct: DirectOptions,
    listens: &[Spoken],
    config: swarm::Config,
) -> Swarm<Behaviour> {
    let local = keypair.public().to_peer_id();
    let (circuits, relay) = relay::client::new(local);
    // Lazily: who dials says what it speaks and begins at once, which saves two round trips.
    let circuits = circuits
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair).expect("an ed25519 key signs noise's key"))
        .multiplex(yamux_config())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    // Circuits first: some transports take any address that begins with one of theirs.
    let transport = circuits.or_transport(base).map(|either, _| either.into_inner());
    let transport = TransportTimeout::new(transport, Duration::from_secs(HANDSHAKE_S));
    let DirectOptions { rtc, peers_max, admission } = direct;
    let (direct_transport, direct) = rtc.map(|rtc| webrtc::new(local, rtc)).unzip();
    let direct_transport = direct_transport.map_or_else(OptionalTransport::none, OptionalTransport::some);
    // In front of circuits, which take any address with a circuit in it.
    let transport = direct_transport
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
        .or_transport(transport)
        .map(|either, _| either.into_inner())
        .boxed();
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(HANDSHAKES_MAX))
        .with_max_established_incoming(Some(INCOMING_CONNECTIONS_MAX))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX));
    let identify = identify::Config::new(PROTOCOL_VERSION.to_owned(), keypair.public())
        .with_agent_version(peer_name::agent_version(server_name))
        .with_push_listen_addr_updates(true);
    let ping = ping::Config::new()
        .with_interval(Duration::from_secs(PING_INTERVAL_S))
        .with_timeout(Duration::from_secs(PING_TIMEOUT_S));
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        relay,
        direct: direct.map(|direct| direct.with_peers_max(peers_max).with_admission(admission)).into(),
        identify: webrtc::Unaddressed(identify::Behaviour::new(identify)),
        ping: ping::Behaviour::new(ping),
        streams: streams::Behaviour::new(listens),
    };
    let config = config
        .with_idle_connection_timeout(Duration::from_secs(IDLE_CONNECTION_S))
        .with_max_negotiating_inbound_streams(NEGOTIATING_STREAMS_MAX);
    let mut swarm = Swarm::new(transport, behaviour, local, config);
    if swarm.behaviour().direct.is_enabled() {
        let listening = swarm.listen_on(Protocol::WebRTC.into());
        listening.expect("the transport for direct connections takes this address");
    }
    swarm
}

/// The multiplexer for connections of homeservers, whatever carries them.
pub fn yamux_config() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(STREAMS_PER_CONNECTION_MAX);
    config
}
