//! The network of a tab: libp2p on WebSockets, and what the page is told of it.
use std::rc::Rc;

use futures::FutureExt;
use libp2p::{
    Transport,
    core::{muxing::StreamMuxerBox, transport::OptionalTransport, upgrade::Version},
    identity::Keypair,
    noise, swarm,
};

use crate::{
    neighbours::{self, Neighbours},
    status::{
        DirectAttempt, Failure, HostStatus, PathKind, PeerState, PeerStatus, RelayState, RelayStatus, StatusReporter,
    },
    websocket::WebSocketTransport,
};
use warren::{
    api,
    homeserver::Homeserver,
    p2p::{
        connections::Path,
        network::{
            self, BaseTransport, Network, NetworkEvent, NetworkOptions, NetworkStatus, PeerHandler, yamux_config,
        },
    },
};

/// A network that nothing runs yet, and those it may reach without one.
pub fn prepare(options: NetworkOptions) -> (Network, Option<Neighbours>) {
    let keypair = Keypair::ed25519_from_bytes(options.identity.seed()).expect("any 32 bytes are an ed25519 secret");
    let neighbours = Neighbours::new(keypair.public().to_peer_id());
    let near = neighbours.as_ref().map(Neighbours::transport);
    let base: BaseTransport = near
        .map_or_else(OptionalTransport::none, OptionalTransport::some)
        .or_transport(WebSocketTransport)
        // As circuits do (`p2p/network/behaviour.rs`).
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&keypair).expect("an ed25519 key signs noise's key"))
        .multiplex(yamux_config())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed();
    (Network::new(options, base, swarm::Config::with_wasm_executor()), neighbours)
}

/// Dials the relays and the neighbours, answers peers with `homeserver`, and keeps `status` true.
pub fn run(network: &Network, neighbours: Option<&Neighbours>, homeserver: &Rc<Homeserver>, status: &StatusReporter) {
    let answering = homeserver.clone();
    let handler: PeerHandler = Rc::new(move |caller, request| {
        let homeserver = answering.clone();
        async move { api::handle(&homeserver, request, caller.into()).await }.boxed_local()
    });
    let (observed, homeserver, reporter) = (network.clone(), homeserver.clone(), status.clone());
    let observer = move |event| match event {
        NetworkEvent::PeerConnected(server) => homeserver.peer_connected(server),
        NetworkEvent::Returned => homeserver.network_returned(),
        NetworkEvent::Changed => reporter.update(|status| apply(&observed.status(), status)),
    };
    network.run(handler, Rc::new(observer));
    if let Some(neighbours) = neighbours {
        let finding = network.clone();
        neighbours.greet(Box::new(move |peer| finding.found(peer, neighbours::address(peer))));
    }
    status.update(|status| apply(&network.status(), status));
}

fn apply(network: &NetworkStatus, status: &mut HostStatus) {
    status.relay = relay(&network.relays);
    status.addresses = network.addresses.iter().map(ToString::to_string).collect();
    status.peers = network.peers.iter().map(peer).collect();
}

fn peer(peer: &network::PeerStatus) -> PeerStatus {
    let (state, by, round_trip_ms, unreached) = match &peer.state {
        network::PeerState::Connected { path: by, round_trip_ms } => {
            (PeerState::Connected, Some(path(*by)), *round_trip_ms, None)
        }
        network::PeerState::Connecting => (PeerState::Connecting, None, None, None),
        network::PeerState::Away(unreached) => (PeerState::Away, None, None, unreached.as_ref()),
    };
    let unreached =
        unreached.map(|unreached| Failure { cause: cause(unreached.cause), detail: unreached.reason.clone() });
    let direct = peer.direct.as_ref().map(|attempt| DirectAttempt {
        at_ms: attempt.at_ms,
        failure: attempt
            .failure
            .as_ref()
            .map(|(cause, detail)| Failure { cause: cause.name(), detail: detail.clone() }),
        ours: attempt.ours.iter().map(|(kind, number)| (kind.to_string(), *number)).collect(),
        theirs: attempt.theirs.iter().map(|(kind, number)| (kind.to_string(), *number)).collect(),
    });
    PeerStatus {
        server_name: peer.server.to_string(),
        peer_id: peer.peer.to_string(),
        state,
        path: by,
        round_trip_ms,
        seen_ms: peer.seen_ms,
        unreached,
        direct,
    }
}

fn cause(cause: network::Cause) -> &'static str {
    match cause {
        network::Cause::NoAddress => "no_address",
        network::Cause::RelayUnreachable => "relay_unreachable",
        network::Cause::NotAtRelay => "not_at_relay",
        network::Cause::Other => "other",
    }
}

/// The best of the relays stands for all.
fn relay(relays: &[network::RelayStatus]) -> RelayStatus {
    let rank = |relay: &&network::RelayStatus| match relay.state {
        network::RelayState::Ready { .. } => 0,
        network::RelayState::Connecting => 1,
        network::RelayState::Offline { .. } => 2,
    };
    let Some(best) = relays.iter().min_by_key(rank) else { return RelayStatus::default() };
    let (state, error) = match &best.state {
        network::RelayState::Ready { .. } => (RelayState::Connected, None),
        network::RelayState::Connecting => (RelayState::Connecting, None),
        network::RelayState::Offline { reason } => (RelayState::Offline, Some(reason.clone())),
    };
    RelayStatus { state, address: Some(best.address.to_string()), error }
}

fn path(path: Path) -> PathKind {
    match path {
        Path::Relay => PathKind::Relay,
        Path::Direct | Path::Address => PathKind::Direct,
        Path::Browser => PathKind::Browser,
    }
}
