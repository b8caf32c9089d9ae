//! The addresses of `/webrtc`: which relay introduces whom, and how a direct connection is called afterwards.
//!
//! A peer is dialed at `<relay>/p2p/<R>/p2p-circuit/webrtc/p2p/<B>`: reach `<B>` through the circuit, then talk
//! directly. That text contains `/p2p-circuit`, by which libp2p tells relayed connections from others, so the
//! connection itself is called `/webrtc/p2p/<B>`, as js-libp2p calls it on the side that was dialed.
use libp2p_core::{Multiaddr, multiaddr::Protocol};
use libp2p_identity::PeerId;

/// What an address says to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub peer: PeerId,
    /// `<relay>/p2p/<R>/p2p-circuit/p2p/<peer>`; without one the peer must be connected, or known, already.
    pub circuit: Option<Multiaddr>,
}

/// What an address says to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listening {
    /// `/webrtc`: whatever relay a reservation is held at.
    AnyRelay,
    /// `<relay>/p2p/<R>/p2p-circuit/webrtc`: this relay; `circuit` is the same address without `/webrtc`.
    Relay { relay: PeerId, circuit: Multiaddr },
}

/// Reads `<relay>/p2p/<R>/p2p-circuit/webrtc/p2p/<B>` and `/webrtc/p2p/<B>`; `None` for any other address.
pub fn destination(address: &Multiaddr) -> Option<Destination> {
    let (before, after) = split(address)?;
    let &[Protocol::P2p(peer)] = after.as_slice() else { return None };
    if before.is_empty() {
        return Some(Destination { peer, circuit: None });
    }
    relay_of(&before)?;
    let circuit = before.into_iter().collect::<Multiaddr>().with(Protocol::P2p(peer));
    Some(Destination { peer, circuit: Some(circuit) })
}

/// Reads `/webrtc` and `<relay>/p2p/<R>/p2p-circuit/webrtc`, with or without our own `/p2p/<id>` behind.
pub fn listening(address: &Multiaddr) -> Option<Listening> {
    let (before, after) = split(address)?;
    if !matches!(after.as_slice(), [] | [Protocol::P2p(_)]) {
        return None;
    }
    if before.is_empty() {
        return Some(Listening::AnyRelay);
    }
    let relay = relay_of(&before)?;
    Some(Listening::Relay { relay, circuit: before.into_iter().collect() })
}

/// `<relay>/p2p/<R>/p2p-circuit/p2p/<B>` as `<relay>/p2p/<R>/p2p-circuit/webrtc/p2p/<B>`, and who `<R>` is.
pub fn of_circuit(circuit: &Multiaddr) -> Option<(PeerId, Multiaddr)> {
    let mut parts: Vec<Protocol<'_>> = circuit.iter().collect();
    let Some(Protocol::P2p(_)) = parts.last() else { return None };
    let relay = relay_of(&parts[..parts.len() - 1])?;
    parts.insert(parts.len() - 1, Protocol::WebRTC);
    Some((relay, parts.into_iter().collect()))
}

/// What a direct connection to `peer` is dialed as and called: `/webrtc/p2p/<peer>`.
pub fn direct(peer: PeerId) -> Multiaddr {
    Multiaddr::from(Protocol::WebRTC).with(Protocol::P2p(peer))
}

/// Whether a connection with this address is one of ours and not the circuit it was introduced by.
pub fn is_direct(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::WebRTC)
}

/// What stands before and behind the one `/webrtc`.
fn split(address: &Multiaddr) -> Option<(Vec<Protocol<'_>>, Vec<Protocol<'_>>)> {
    let mut before: Vec<Protocol<'_>> = address.iter().collect();
    let at = before.iter().position(|part| *part == Protocol::WebRTC)?;
    let after = before.split_off(at + 1);
    before.pop();
    (!after.contains(&Protocol::WebRTC)).then_some((before, after))
}

/// `<R>`, if `parts` are `<relay>/p2p/<R>/p2p-circuit` with one circuit and one relay.
fn relay_of(parts: &[Protocol<'_>]) -> Option<PeerId> {
    let [transport @ .., Protocol::P2p(relay), Protocol::P2pCircuit] = parts else { return None };
    let plain = |part: &Protocol<'_>| !matches!(part, Protocol::P2p(_) | Protocol::P2pCircuit | Protocol::WebRTC);
    (!transport.is_empty() && transport.iter().all(plain)).then_some(*relay)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: &str = "/ip4/127.0.0.1/tcp/4001/ws/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    const PEER: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_address_of_the_specification_names_the_circuit_and_the_peer() {
        let read = destination(&address(&format!("{RELAY}/p2p-circuit/webrtc/p2p/{PEER}"))).unwrap();
        assert_eq!(read.peer, PEER.parse().unwrap());
        assert_eq!(read.circuit, Some(address(&format!("{RELAY}/p2p-circuit/p2p/{PEER}"))));
        let known = destination(&address(&format!("/webrtc/p2p/{PEER}"))).unwrap();
        assert_eq!(known, Destination { peer: PEER.parse().unwrap(), circuit: None });
        assert_eq!(direct(known.peer), address(&format!("/webrtc/p2p/{PEER}")));
    }

    #[test]
    fn circuits_become_webrtc_addresses_and_back() {
        let circuit = address(&format!("{RELAY}/p2p-circuit/p2p/{PEER}"));
        let (relay, webrtc) = of_circuit(&circuit).unwrap();
        assert!(RELAY.ends_with(&relay.to_string()));
        assert_eq!(webrtc, address(&format!("{RELAY}/p2p-circuit/webrtc/p2p/{PEER}")));
        assert_eq!(destination(&webrtc).unwrap().circuit, Some(circuit));
        assert_eq!(of_circuit(&webrtc), None, "there is nothing to add to it");
    }

    #[test]
    fn one_listens_at_any_relay_or_at_a_certain_one() {
        assert_eq!(listening(&address("/webrtc")), Some(Listening::AnyRelay));
        let Some(Listening::Relay { circuit, .. }) = listening(&address(&format!("{RELAY}/p2p-circuit/webrtc"))) else {
            panic!("this is a relay")
        };
        assert_eq!(circuit, address(&format!("{RELAY}/p2p-circuit")));
    }

    #[test]
    fn everything_else_is_left_to_other_transports() {
        for other in [
            String::new(),
            RELAY.to_owned(),
            format!("{RELAY}/p2p-circuit/p2p/{PEER}"),
            format!("{RELAY}/webrtc/p2p/{PEER}"),
            format!("{RELAY}/p2p-circuit/p2p/{PEER}/webrtc"),
            format!("{RELAY}/p2p-circuit/webrtc/webrtc/p2p/{PEER}"),
            format!("{RELAY}/p2p-circuit{RELAY}/p2p-circuit/webrtc/p2p/{PEER}"),
            format!("/p2p/{PEER}/p2p-circuit/webrtc/p2p/{PEER}"),
            format!("/ip4/127.0.0.1/tcp/1/ws/p2p-circuit/webrtc/p2p/{PEER}"),
            "/ip4/127.0.0.1/udp/1/webrtc-direct".to_owned(),
        ] {
            assert_eq!(destination(&address(&other)), None, "{other}");
        }
        assert_eq!(destination(&address(&format!("{RELAY}/p2p-circuit/webrtc"))), None, "nobody is named");
        assert_eq!(listening(&address(&format!("{RELAY}/p2p-circuit"))), None);
    }
}
