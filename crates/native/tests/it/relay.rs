//! libp2p's own WebSocket client, as published, against the relay.
use std::{str::FromStr, time::Duration};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport,
    core::{muxing::StreamMuxerBox, upgrade::Version},
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, relay, swarm,
    swarm::{NetworkBehaviour, SwarmEvent},
    yamux,
};

use crate::warren::{PATIENCE, Warren};

#[derive(NetworkBehaviour)]
struct Behaviour {
    relay: relay::client::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

type Client = Swarm<Behaviour>;

fn client() -> Client {
    let keypair = Keypair::generate_ed25519();
    let (relayed, relay) = relay::client::new(keypair.public().to_peer_id());
    let websocket = libp2p_websocket::Config::new(libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::new()));
    let transport = relayed
        .or_transport(websocket)
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(&keypair).unwrap())
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed();
    let behaviour = Behaviour {
        relay,
        identify: identify::Behaviour::new(identify::Config::new("/test/1".to_owned(), keypair.public())),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_millis(50))),
    };
    let config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(PATIENCE);
    Swarm::new(transport, behaviour, keypair.public().to_peer_id(), config)
}

fn relay_address(warren: &Warren) -> Multiaddr {
    let advertised = Multiaddr::from_str(warren.config()["relays"][0].as_str().unwrap()).unwrap();
    // This client has no resolver.
    let here = Protocol::from(warren.address.ip());
    advertised.replace(0, |_| Some(here)).unwrap()
}

/// The first thing `wanted` finds, while everything else goes on.
async fn until<T>(client: &mut Client, mut wanted: impl FnMut(SwarmEvent<BehaviourEvent>) -> Option<T>) -> T {
    let search = async {
        loop {
            if let Some(found) = wanted(client.select_next_some().await) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("the event comes")
}

async fn connect(client: &mut Client, address: Multiaddr) -> PeerId {
    client.dial(address).unwrap();
    until(client, |event| match event {
        SwarmEvent::ConnectionEstablished { peer_id, .. } => Some(peer_id),
        SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
        _ => None,
    })
    .await
}

/// Connects and reserves; the address under which others reach this client.
async fn reserve(client: &mut Client, relay: &Multiaddr) -> Multiaddr {
    connect(client, relay.clone()).await;
    let listener = client.listen_on(relay.clone().with(Protocol::P2pCircuit)).unwrap();
    until(client, |event| match event {
        SwarmEvent::Behaviour(BehaviourEvent::Relay(relay::client::Event::ReservationReqAccepted {
            renewal: false,
            limit,
            ..
        })) => Some(limit.expect("the relay tells its limits")),
        SwarmEvent::ListenerClosed { listener_id, reason, .. } if listener_id == listener => panic!("{reason:?}"),
        _ => None,
    })
    .await;
    relay.clone().with(Protocol::P2pCircuit).with(Protocol::P2p(*client.local_peer_id()))
}

async fn first_ping(client: &mut Client, of: PeerId) {
    until(client, |event| match event {
        SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { peer, result, .. })) if peer == of => {
            Some(result.unwrap())
        }
        _ => None,
    })
    .await;
}

/// Lets a client live by itself; reports the peers that connect to it.
fn keep_polling(mut client: Client) -> (tokio::sync::mpsc::UnboundedReceiver<PeerId>, tokio::task::JoinHandle<()>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        loop {
            if let SwarmEvent::ConnectionEstablished { peer_id, .. } = client.select_next_some().await {
                let _ = sender.send(peer_id);
            }
        }
    });
    (receiver, task)
}

#[tokio::test]
async fn the_relay_answers_pings_and_says_what_it_is() {
    let warren = Warren::start();
    let mut client = client();
    let relay = connect(&mut client, relay_address(&warren)).await;
    assert_eq!(relay.to_string(), warren.health()["peerId"].as_str().unwrap());
    let info = until(&mut client, |event| match event {
        SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { info, .. })) => Some(info),
        _ => None,
    })
    .await;
    assert!(info.agent_version.starts_with("warren/"));
    assert!(info.protocols.iter().any(|protocol| *protocol == "/libp2p/circuit/relay/0.2.0/hop"));
    first_ping(&mut client, relay).await;
    warren.until_health(&[("connections", 1)]).await;
}

#[tokio::test]
async fn two_clients_reach_each_other_through_the_relay() {
    let warren = Warren::start();
    let relay = relay_address(&warren);
    let (mut near, mut far) = (client(), client());
    let (near_id, far_id) = (*near.local_peer_id(), *far.local_peer_id());
    let far_address = reserve(&mut far, &relay).await;
    let (mut arrived, _task) = keep_polling(far);
    warren.until_health(&[("reservations", 1)]).await;

    connect(&mut near, relay).await;
    assert_eq!(connect(&mut near, far_address).await, far_id);
    first_ping(&mut near, far_id).await;
    assert_eq!(tokio::time::timeout(PATIENCE, arrived.recv()).await.unwrap(), Some(near_id));
    warren.until_health(&[("circuits", 1)]).await;
}

#[tokio::test]
async fn fifty_tabs_behind_one_address_reserve_at_once() {
    let warren = Warren::start();
    let relay = relay_address(&warren);
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let mut client = client();
        reserve(&mut client, &relay).await;
        tasks.push(keep_polling(client));
    }
    warren.until_health(&[("reservations", 50)]).await;
}

#[tokio::test]
async fn many_who_want_the_same_peer_are_all_introduced() {
    let warren = Warren::start();
    let relay = relay_address(&warren);
    let mut far = client();
    let (far_id, far_address) = (*far.local_peer_id(), reserve(&mut far, &relay).await);
    let (_arrived, _far) = keep_polling(far);
    let mut many = Vec::new();
    for _ in 0..50 {
        let mut near = client();
        connect(&mut near, relay.clone()).await;
        many.push(near);
    }
    // Each asks once, all at the same moment.
    let introduced = futures::future::join_all(many.into_iter().map(|mut near| {
        let far_address = far_address.clone();
        async move {
            let peer = connect(&mut near, far_address).await;
            (near, peer)
        }
    }));
    assert!(introduced.await.iter().all(|(_, peer)| *peer == far_id));
    warren.until_health(&[("circuits", 50)]).await;
}

#[tokio::test]
async fn a_circuit_ends_at_its_limit_and_can_be_made_again() {
    let dirs = crate::warren::new_dirs();
    let warren = Warren::start_with(dirs, &["--circuit-seconds", "1"]);
    let relay = relay_address(&warren);
    let (mut near, mut far) = (client(), client());
    let far_id = *far.local_peer_id();
    let far_address = reserve(&mut far, &relay).await;
    let _far = keep_polling(far);
    connect(&mut near, relay).await;
    for _ in 0..2 {
        assert_eq!(connect(&mut near, far_address.clone()).await, far_id);
        until(&mut near, |event| match event {
            SwarmEvent::ConnectionClosed { peer_id, .. } if peer_id == far_id => Some(()),
            _ => None,
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_that_left_frees_its_reservation() {
    let warren = Warren::start();
    let mut client = client();
    reserve(&mut client, &relay_address(&warren)).await;
    warren.until_health(&[("reservations", 1)]).await;
    drop(client);
    warren.until_health(&[("reservations", 0), ("connections", 0)]).await;
}

#[cfg(unix)]
#[tokio::test]
async fn stopping_ends_connections_at_once_and_a_new_start_takes_them_back() {
    let warren = Warren::start();
    let address = warren.address.to_string();
    let relay = relay_address(&warren);
    let mut client = client();
    reserve(&mut client, &relay).await;
    let (status, took, dirs) = warren.stop();
    assert!(status.success() && took < Duration::from_secs(1), "{status} after {took:?}");
    until(&mut client, |event| matches!(event, SwarmEvent::ConnectionClosed { .. }).then_some(())).await;

    // Same port, same key: the address in old links still holds.
    let again = Warren::start_with(dirs, &["--listen", &address]);
    assert_eq!(relay_address(&again), relay);
    reserve(&mut client, &relay).await;
}
