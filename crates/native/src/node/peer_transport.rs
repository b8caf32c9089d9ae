//! The network of a node: libp2p on WebSockets and TCP, dialed and never listened on.
use std::rc::Rc;

use futures::FutureExt;
use libp2p::{
    Transport,
    core::{muxing::StreamMuxerBox, upgrade::Version},
    identity::Keypair,
    noise, swarm,
};
use warren::{
    api,
    homeserver::Homeserver,
    p2p::network::{BaseTransport, Network, NetworkEvent, NetworkOptions, PeerHandler, yamux_config},
};

use super::tcp_dialer::TcpDialer;

/// A network that nothing runs yet.
pub fn prepare(options: NetworkOptions) -> Network {
    let keypair = Keypair::ed25519_from_bytes(options.identity.seed()).expect("any 32 bytes are an ed25519 secret");
    let base: BaseTransport = libp2p_websocket::Config::new(TcpDialer)
        .or_transport(TcpDialer)
        // As circuits do (`p2p/network/behaviour.rs`).
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&keypair).expect("an ed25519 key signs noise's key"))
        .multiplex(yamux_config())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed();
    Network::new(options, base, swarm::Config::with_tokio_executor())
}

/// Dials the relays and answers peers with `homeserver`.
pub fn run(network: &Network, homeserver: &Rc<Homeserver>) {
    let answering = homeserver.clone();
    let handler: PeerHandler = Rc::new(move |caller, request| {
        let homeserver = answering.clone();
        async move { api::handle(&homeserver, request, caller.into()).await }.boxed_local()
    });
    let homeserver = homeserver.clone();
    let observer = move |event| match event {
        NetworkEvent::PeerConnected(server) => {
            tracing::info!(%server, "connected");
            homeserver.peer_connected(server);
        }
        NetworkEvent::Returned => homeserver.network_returned(),
        NetworkEvent::Changed => {}
    };
    network.run(handler, Rc::new(observer));
}
