//! Whole swarms: a relay, peers that dial each other through it, and peers that mean no good.
mod node;

use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::PeerId;
use libp2p_webrtc_p2p::{
    self as webrtc, Error,
    backend::memory::{MemoryNetwork, Paths},
    signaling::PROTOCOL,
};

use self::node::{Node, Relay, Seen, run, run_until, steps};

/// Far more than anything here takes, and less than any deadline that a test should notice.
const PATIENCE: Duration = Duration::from_secs(12);

/// Two peers with reservations at one relay.
async fn two_peers(network: &MemoryNetwork) -> (Relay, Node, Node) {
    let mut relay = Relay::new();
    let (mut one, mut two) = (Node::new(network), Node::new(network));
    for node in [&mut one, &mut two] {
        node.connect_to(&relay);
        node.swarm.listen_on("/webrtc".parse().unwrap()).unwrap();
        run_until(&mut relay, &mut [node], PATIENCE, |nodes| nodes[0].has_relay()).await;
        node.reserve_at(&relay);
        run_until(&mut relay, &mut [node], PATIENCE, |nodes| !nodes[0].addresses().is_empty()).await;
    }
    (relay, one, two)
}

#[tokio::test]
async fn a_peer_is_advertised_dialed_and_called_by_its_direct_address() {
    let network = MemoryNetwork::default();
    let (mut relay, mut one, mut two) = two_peers(&network).await;
    let address = two.addresses().remove(0);
    let text = address.to_string();
    assert!(text.ends_with(&format!("/p2p/{}/p2p-circuit/webrtc/p2p/{}", relay.peer, two.peer)), "{text}");
    assert!(two.swarm.external_addresses().any(|external| *external == address), "identify advertises it");
    one.dial(&address);
    let direct = |nodes: &[&mut Node]| nodes.iter().all(|node| node.direct() == 1 && node.pinged_directly());
    run_until(&mut relay, &mut [&mut one, &mut two], PATIENCE, direct).await;
    assert_eq!(one.direct_addresses(), [format!("/webrtc/p2p/{}", two.peer)]);
    assert_eq!(two.direct_addresses(), [format!("/webrtc/p2p/{}", one.peer)]);
    assert!(!one.direct_is_relayed() && !two.direct_is_relayed());
    assert_eq!(network.open_connections(), 2);
    // Told where it was by whoever asks.
    assert!(one.seen.iter().any(|seen| matches!(seen, Seen::Attempt(event) if event.error.is_none())));
}

#[tokio::test]
async fn nobody_is_told_the_name_of_a_direct_connection_for_an_address() {
    let network = MemoryNetwork::default();
    let (mut relay, mut one, mut two) = two_peers(&network).await;
    one.dial(&two.addresses()[0]);
    let identified = |node: &&mut Node| node.seen.iter().any(|seen| matches!(seen, Seen::IdentifiedDirectly(_)));
    run_until(&mut relay, &mut [&mut one, &mut two], PATIENCE, |nodes| nodes.iter().all(identified)).await;
    for seen in one.seen.iter().chain(&two.seen) {
        match seen {
            Seen::IdentifiedDirectly(address) => assert!(address.is_empty(), "{address}"),
            Seen::Candidate(address) => {
                assert!(!address.is_empty() && !webrtc::address::is_direct(address), "{address}");
            }
            Seen::DialFailed(_) | Seen::Attempt(_) | Seen::Pinged(_) => {}
        }
    }
}

#[tokio::test]
async fn the_relay_may_go_away_afterwards() {
    let network = MemoryNetwork::default();
    let (mut relay, mut one, mut two) = two_peers(&network).await;
    one.dial(&two.addresses()[0]);
    let direct = |nodes: &[&mut Node]| nodes.iter().all(|node| node.direct() == 1);
    run_until(&mut relay, &mut [&mut one, &mut two], PATIENCE, direct).await;
    let mut other = Relay::new();
    drop(relay);
    let gone = |nodes: &[&mut Node]| nodes.iter().all(|node| !node.has_relay() && node.relayed() == 0);
    run_until(&mut other, &mut [&mut one, &mut two], PATIENCE, gone).await;
    one.seen.clear();
    run_until(&mut other, &mut [&mut one, &mut two], PATIENCE, |nodes| nodes[0].pinged_directly()).await;
    assert!(one.direct() == 1 && two.direct() == 1);
    assert!(two.addresses().is_empty(), "nobody can dial it any more, and it knows");
    assert_eq!(two.swarm.external_addresses().count(), 0);
}

#[tokio::test]
async fn both_sides_dial_at_once_and_never_have_two_connections_or_none() {
    let network = MemoryNetwork::default();
    let (mut relay, mut one, mut two) = two_peers(&network).await;
    let mut crossed = 0;
    for round in 0..50 {
        one.seen.clear();
        two.seen.clear();
        // In every other round the circuits have to be dialed too, and the sides begin in turns.
        if round % 2 == 0 {
            one.close_all_to(two.peer);
            two.close_all_to(one.peer);
            let apart = |nodes: &[&mut Node]| nodes.iter().all(|node| node.direct() + node.relayed() == 0);
            run_until(&mut relay, &mut [&mut one, &mut two], PATIENCE, apart).await;
        }
        let (first, second) = if round % 4 < 2 { (&mut one, &mut two) } else { (&mut two, &mut one) };
        first.dial(&second.addresses()[0]);
        steps(&mut relay, &mut [first, second], round % 13).await;
        second.dial(&first.addresses()[0]);
        let settled = |nodes: &[&mut Node]| {
            nodes.iter().all(|node| node.direct() >= 1 && node.dials_pending() == 0 && node.attempts() == 0)
        };
        run_until(&mut relay, &mut [&mut one, &mut two], PATIENCE, settled).await;
        run(&mut relay, &mut [&mut one, &mut two], Duration::from_millis(5)).await;
        assert_eq!((one.direct(), two.direct()), (1, 1), "round {round}");
        for node in [&one, &two] {
            for seen in &node.seen {
                match seen {
                    Seen::DialFailed(error) if error.contains("faster") => crossed += 1,
                    Seen::DialFailed(error) => assert!(error.contains("already"), "round {round}: {error}"),
                    Seen::Attempt(_) | Seen::Pinged(_) | Seen::IdentifiedDirectly(_) | Seen::Candidate(_) => {}
                }
            }
        }
        one.close_direct_to(two.peer);
        let apart = |nodes: &[&mut Node]| nodes.iter().all(|node| node.direct() == 0);
        run_until(&mut relay, &mut [&mut one, &mut two], PATIENCE, apart).await;
        assert_eq!(network.open_connections(), 0, "round {round}");
    }
    assert!(crossed >= 10, "only {crossed} dials met another");
}

#[tokio::test]
async fn without_a_path_the_dial_says_so_and_nothing_is_left_over() {
    let network = MemoryNetwork::default();
    let (mut relay, mut one, mut two) = two_peers(&network).await;
    network.set_paths(Paths::Blocked);
    one.dial(&two.addresses()[0]);
    let failed = |nodes: &[&mut Node]| nodes[0].dials_pending() == 0 && nodes[1].attempts() == 0;
    run_until(&mut relay, &mut [&mut one, &mut two], PATIENCE, failed).await;
    assert!(one.seen.iter().any(|seen| matches!(seen, Seen::DialFailed(error) if error.contains("no path"))));
    assert_eq!((network.open_connections(), one.attempts()), (0, 0));
    assert_eq!(one.relayed(), 1, "the circuit is still there to be used");
    network.set_paths(Paths::Open);
    one.dial(&two.addresses()[0]);
    let direct = |nodes: &[&mut Node]| nodes.iter().all(|node| node.direct() == 1);
    run_until(&mut relay, &mut [&mut one, &mut two], PATIENCE, direct).await;
}

#[tokio::test]
async fn beyond_the_bound_peers_stay_on_circuits_until_one_leaves() {
    let network = MemoryNetwork::default();
    let (mut relay, mut one, mut two) = two_peers(&network).await;
    let mut popular = Node::bounded(&network, 1);
    popular.connect_to(&relay);
    popular.swarm.listen_on("/webrtc".parse().unwrap()).unwrap();
    run_until(&mut relay, &mut [&mut popular], PATIENCE, |nodes| nodes[0].has_relay()).await;
    popular.reserve_at(&relay);
    run_until(&mut relay, &mut [&mut popular], PATIENCE, |nodes| !nodes[0].addresses().is_empty()).await;
    let address = popular.addresses().remove(0);
    one.dial(&address);
    let direct = |nodes: &[&mut Node]| nodes[0].direct() == 1 && nodes[1].direct() == 1;
    run_until(&mut relay, &mut [&mut one, &mut popular], PATIENCE, direct).await;
    // Offered, it refuses; asked to dial, it says why not.
    two.dial(&address);
    popular.dial(&two.addresses()[0]);
    let settled = |nodes: &[&mut Node]| nodes.iter().all(|node| node.dials_pending() == 0 && node.attempts() == 0);
    run_until(&mut relay, &mut [&mut two, &mut popular, &mut one], PATIENCE, settled).await;
    assert_eq!((popular.direct(), two.direct()), (1, 0));
    assert_eq!(two.relayed(), 1, "the circuit is there to be used");
    assert!(two.seen.iter().any(|seen| matches!(seen, Seen::Attempt(event) if event.refused && event.error.is_some())));
    let busy = Error::Busy.to_string();
    assert!(popular.seen.iter().any(|seen| matches!(seen, Seen::DialFailed(error) if error.contains(&busy))));
    one.close_direct_to(popular.peer);
    let room = |nodes: &[&mut Node]| nodes[1].direct() == 0;
    run_until(&mut relay, &mut [&mut one, &mut popular, &mut two], PATIENCE, room).await;
    two.dial(&address);
    run_until(&mut relay, &mut [&mut two, &mut popular, &mut one], PATIENCE, direct).await;
}

#[tokio::test]
async fn a_dial_without_a_way_to_signal_fails_at_once() {
    let network = MemoryNetwork::default();
    let (mut relay, mut one, _two) = two_peers(&network).await;
    one.dial(&format!("/webrtc/p2p/{}", PeerId::random()).parse().unwrap());
    run_until(&mut relay, &mut [&mut one], PATIENCE, |nodes| nodes[0].dials_pending() == 0).await;
    let why = Error::NoWay.to_string();
    assert!(one.seen.iter().any(|seen| matches!(seen, Seen::DialFailed(error) if error.contains(&why))));
}

#[tokio::test]
async fn a_listener_at_one_relay_makes_its_own_reservation_and_can_be_removed() {
    let network = MemoryNetwork::default();
    let mut relay = Relay::new();
    let mut node = Node::new(&network);
    node.connect_to(&relay);
    run_until(&mut relay, &mut [&mut node], PATIENCE, |nodes| nodes[0].has_relay()).await;
    let address = format!("{}/p2p/{}/p2p-circuit/webrtc", relay.address, relay.peer).parse().unwrap();
    let listener = node.swarm.listen_on(address).unwrap();
    run_until(&mut relay, &mut [&mut node], PATIENCE, |nodes| nodes[0].addresses().len() == 1).await;
    assert!(node.swarm.remove_listener(listener));
    let gone = |nodes: &[&mut Node]| nodes[0].swarm.external_addresses().count() == 0;
    run_until(&mut relay, &mut [&mut node], PATIENCE, gone).await;
}

#[tokio::test]
async fn a_peer_that_floods_us_with_signalling_costs_little_and_disturbs_nobody() {
    let network = MemoryNetwork::default();
    let (mut relay, mut good, mut victim) = two_peers(&network).await;
    let mut hostile = Node::without_webrtc();
    hostile.connect_to(&relay);
    run_until(&mut relay, &mut [&mut hostile], PATIENCE, |nodes| nodes[0].has_relay()).await;
    hostile.dial_circuit(&relay, victim.peer);
    run_until(&mut relay, &mut [&mut hostile, &mut victim], PATIENCE, |nodes| nodes[0].relayed() == 1).await;
    let (mut control, target) = (hostile.control(), victim.peer);
    let before = network.connections_made();
    // Offers that nobody goes on with, nonsense, too much, and silence; each stream is kept.
    let flood = tokio::spawn(async move {
        let mut kept = Vec::new();
        for number in 0..60_usize {
            let Ok(mut stream) = control.open_stream(target, PROTOCOL).await else { continue };
            let bytes: &[u8] = match number % 4 {
                0 => b"\x1d\x08\x00\x12\x19m=application 9 a=ice-ufr\n",
                1 => b"\xff\xff\xff",
                2 => b"\x02\x08\x01",
                _ => b"",
            };
            let _ = stream.write_all(bytes).await;
            let _ = stream.flush().await;
            kept.push(stream);
        }
        let mut reset = 0;
        for stream in &mut kept {
            let read = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut [0; 64])).await;
            reset += usize::from(!matches!(read, Err(_) | Ok(Ok(1..))));
        }
        reset
    });
    let over = |_: &[&mut Node]| flood.is_finished();
    run_until(&mut relay, &mut [&mut hostile, &mut victim, &mut good], PATIENCE, over).await;
    assert!(flood.await.unwrap() >= 50, "what is refused is reset at once");
    assert!(victim.attempts() <= 1, "one attempt a peer");
    assert!(network.connections_made() - before <= 20, "{}", network.connections_made() - before);
    // Meanwhile others connect.
    good.dial(&victim.addresses()[0]);
    let direct = |nodes: &[&mut Node]| nodes[0].direct() == 1 && nodes[1].direct() == 1;
    run_until(&mut relay, &mut [&mut good, &mut victim, &mut hostile], PATIENCE, direct).await;
    hostile.close_all_to(victim.peer);
    run_until(&mut relay, &mut [&mut victim, &mut hostile, &mut good], PATIENCE, |nodes| nodes[0].attempts() == 0)
        .await;
}
