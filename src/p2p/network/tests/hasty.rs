//! Who dials begins before the other side has agreed to anything: what becomes of it when it does not.
use std::{convert::Infallible, future::Pending, iter::Once};

use futures::stream::FuturesUnordered;
use libp2p::core::{
    UpgradeInfo,
    transport::{ListenerId, TransportEvent},
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
};

use super::*;

/// A multiplexer that nobody knows.
#[derive(Clone)]
struct Unknown;

impl UpgradeInfo for Unknown {
    type Info = &'static str;
    type InfoIter = Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/unknown/1.0.0")
    }
}

impl<C> InboundConnectionUpgrade<C> for Unknown {
    type Output = StreamMuxerBox;
    type Error = Infallible;
    type Future = Pending<Result<StreamMuxerBox, Infallible>>;

    fn upgrade_inbound(self, _: C, _: &'static str) -> Self::Future {
        std::future::pending()
    }
}

impl<C> OutboundConnectionUpgrade<C> for Unknown {
    type Output = StreamMuxerBox;
    type Error = Infallible;
    type Future = Pending<Result<StreamMuxerBox, Infallible>>;

    fn upgrade_outbound(self, _: C, _: &'static str) -> Self::Future {
        std::future::pending()
    }
}

/// Takes connections as `transport` does, none of which comes to anything.
fn listen<T>(spawner: &Spawner, port: u64, keypair: &Keypair, mut transport: T) -> Relay
where
    T: libp2p::Transport + Unpin + 'static,
{
    let address: Multiaddr = format!("/memory/{port}").parse().unwrap();
    transport.listen_on(ListenerId::next(), address.clone()).unwrap();
    let (alive, mut died) = oneshot::channel();
    let (_, gone) = oneshot::channel();
    spawner.spawn(Box::pin(async move {
        let mut upgrades = FuturesUnordered::new();
        std::future::poll_fn(|context| {
            while let std::task::Poll::Ready(event) = std::pin::Pin::new(&mut transport).poll(context) {
                if let TransportEvent::Incoming { upgrade, .. } = event {
                    upgrades.push(upgrade);
                }
            }
            while let std::task::Poll::Ready(Some(upgraded)) = upgrades.poll_next_unpin(context) {
                assert!(upgraded.is_err(), "there is nothing to agree on");
            }
            died.poll_unpin(context)
        })
        .await
        .unwrap_or(());
    }));
    Relay { address: address.with(libp2p::multiaddr::Protocol::P2p(keypair.public().to_peer_id())), alive, gone }
}

async fn is_refused(tab: &Tab) {
    tab.until(|status| matches!(status.relays[0].state, RelayState::Offline { .. })).await;
}

#[test]
fn one_that_does_not_know_our_multiplexer_is_of_no_use_and_does_no_harm() {
    run(async |spawner: Spawner| {
        let keypair = Keypair::ed25519_from_bytes([110; 32]).unwrap();
        let noise = noise::Config::new(&keypair).unwrap();
        let transport = MemoryTransport::default().upgrade(Version::V1).authenticate(noise).multiplex(Unknown);
        let stranger = listen(&spawner, 1110, &keypair, transport);
        let tab = Tab::start(&spawner, 111, &[&stranger]);
        is_refused(&tab).await;
        drop(stranger.alive);
    });
}
