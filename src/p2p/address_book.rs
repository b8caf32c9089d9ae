//! Where each peer may be reached, who said so, and what to dial.
use std::collections::BTreeMap;

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

/// Peers remembered. The one heard of longest ago makes room.
const PEERS_MAX: usize = 4096;

/// Addresses remembered of one peer. The least trusted, oldest one makes room.
const ADDRESSES_PER_PEER_MAX: usize = 8;

/// Addresses dialed at once for one peer.
const DIALED_MAX: usize = 8;

/// The longest address taken from a stranger, in bytes of its binary form.
const ADDRESS_BYTES_MAX: usize = 512;

/// Who says that a peer is at an address; what is trusted more comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provenance {
    /// Somebody else: a link, an invite.
    Hint,
    /// The peer itself, over an authenticated connection.
    Announced,
    /// We reached it there.
    Seen,
}

/// A relay: where it is and who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    pub peer: PeerId,
    /// Without the trailing `/p2p`.
    pub address: Multiaddr,
}

impl RelayAddress {
    /// Of an address `<transport>/p2p/<relay>`; `None` for anything else.
    pub fn parse(address: &Multiaddr) -> Option<Self> {
        let mut transport = address.clone();
        match transport.pop() {
            Some(Protocol::P2p(peer)) if !transport.is_empty() && is_plain(&transport) => {
                Some(Self { peer, address: transport })
            }
            _ => None,
        }
    }

    /// The relay that a `<relay>/p2p-circuit[/p2p/..]` address goes through.
    pub fn of_circuit(address: &Multiaddr) -> Option<Self> {
        let before: Multiaddr = address.iter().take_while(|part| !matches!(part, Protocol::P2pCircuit)).collect();
        if before.len() == address.len() { None } else { Self::parse(&before) }
    }

    /// `<relay>/p2p-circuit`: listening there is asking for a reservation.
    pub fn circuit(&self) -> Multiaddr {
        self.address.clone().with(Protocol::P2p(self.peer)).with(Protocol::P2pCircuit)
    }

    /// `<relay>/p2p-circuit/p2p/<peer>`.
    pub fn circuit_to(&self, peer: PeerId) -> Multiaddr {
        self.circuit().with(Protocol::P2p(peer))
    }
}

/// A transport address: no peer, no circuit in it, and no `/webrtc`, which needs somebody to introduce it.
fn is_plain(address: &Multiaddr) -> bool {
    !address.iter().any(|part| matches!(part, Protocol::P2p(_) | Protocol::P2pCircuit | Protocol::WebRTC))
}

#[derive(Clone, Debug)]
struct Entry {
    address: Multiaddr,
    provenance: Provenance,
}

#[derive(Default)]
struct Known {
    /// Counts up with everything heard of any peer.
    heard: u64,
    /// Oldest first.
    entries: Vec<Entry>,
}

#[derive(Default)]
pub struct AddressBook {
    heard: u64,
    peers: BTreeMap<PeerId, Known>,
}

impl AddressBook {
    /// Remembers that `peer` may be at `address`; anything that cannot be an address of it is ignored.
    pub fn add(&mut self, peer: PeerId, address: Multiaddr, provenance: Provenance) {
        let Some(address) = address_of(peer, address) else { return };
        self.heard += 1;
        if !self.peers.contains_key(&peer) && self.peers.len() == PEERS_MAX {
            let oldest = self.peers.iter().min_by_key(|(_, known)| known.heard).map(|(peer, _)| *peer);
            oldest.map(|oldest| self.peers.remove(&oldest));
        }
        let known = self.peers.entry(peer).or_default();
        known.heard = self.heard;
        let before = known.entries.iter().position(|entry| entry.address == address);
        let provenance = match before {
            Some(at) => known.entries.remove(at).provenance.max(provenance),
            None => provenance,
        };
        known.entries.push(Entry { address, provenance });
        if known.entries.len() > ADDRESSES_PER_PEER_MAX {
            // The first of the least: the oldest.
            let least = (0..known.entries.len()).min_by_key(|at| known.entries[*at].provenance);
            least.map(|at| known.entries.remove(at));
        }
    }

    /// What to dial for `peer`: the addresses known, best first, and the peer behind each of our `relays`.
    pub fn addresses_to_dial(&self, peer: PeerId, relays: &[RelayAddress]) -> Vec<Multiaddr> {
        let mut known: Vec<&Entry> =
            self.peers.get(&peer).map(|known| known.entries.iter().rev().collect()).unwrap_or_default();
        known.sort_by_key(|entry| std::cmp::Reverse(entry.provenance));
        let mut addresses: Vec<Multiaddr> = known.into_iter().map(|entry| entry.address.clone()).collect();
        // A peer is not behind itself.
        for relay in relays.iter().filter(|relay| relay.peer != peer) {
            let circuit = relay.circuit_to(peer);
            if !addresses.contains(&circuit) {
                addresses.push(circuit);
            }
        }
        addresses.truncate(DIALED_MAX);
        addresses
    }
}

/// `address` ending in `/p2p/<peer>`, if it is an address that `peer` may have: a plain one, or a circuit through
/// a relay that is not the peer itself.
fn address_of(peer: PeerId, mut address: Multiaddr) -> Option<Multiaddr> {
    if address.len() > ADDRESS_BYTES_MAX {
        return None;
    }
    if let Some(Protocol::P2p(named)) = address.iter().last() {
        if named != peer {
            return None;
        }
        address.pop();
    }
    let is_circuit = matches!(address.iter().last(), Some(Protocol::P2pCircuit));
    let fits = if is_circuit {
        RelayAddress::of_circuit(&address).is_some_and(|relay| relay.peer != peer && relay.circuit() == address)
    } else {
        !address.is_empty() && is_plain(&address)
    };
    fits.then(|| address.with(Protocol::P2p(peer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn relay(port: u16) -> RelayAddress {
        RelayAddress { peer: PeerId::random(), address: addr(&format!("/ip4/127.0.0.1/tcp/{port}/ws")) }
    }

    #[test]
    fn what_was_seen_comes_before_what_was_said_and_relays_come_last() {
        let (peer, ours, theirs) = (PeerId::random(), relay(1), relay(2));
        let mut book = AddressBook::default();
        let (hint, seen) = (addr("/dns4/a.example/tcp/443/wss"), addr("/ip4/10.0.0.1/tcp/80/ws"));
        book.add(peer, seen.clone(), Provenance::Seen);
        book.add(peer, theirs.circuit(), Provenance::Announced);
        book.add(peer, hint.clone(), Provenance::Hint);
        book.add(peer, seen.clone(), Provenance::Hint);
        let with_peer = |address: &Multiaddr| address.clone().with(Protocol::P2p(peer));
        let relays = [ours.clone(), theirs.clone()];
        let expected = [with_peer(&seen), theirs.circuit_to(peer), with_peer(&hint), ours.circuit_to(peer)];
        assert_eq!(book.addresses_to_dial(peer, &relays), expected);
        let stranger = PeerId::random();
        assert_eq!(book.addresses_to_dial(stranger, &relays), relays.clone().map(|relay| relay.circuit_to(stranger)));
        assert!(
            book.addresses_to_dial(ours.peer, std::slice::from_ref(&ours)).is_empty(),
            "a relay is not behind itself"
        );
    }

    #[test]
    fn addresses_of_somebody_else_and_nonsense_are_ignored() {
        let (peer, other, relay) = (PeerId::random(), PeerId::random(), relay(1));
        let mut book = AddressBook::default();
        let nested = relay.circuit_to(other).with(Protocol::P2pCircuit);
        let long = addr(&format!("/dns4/{}.example/tcp/1/ws", "x".repeat(600)));
        for bad in [Multiaddr::empty(), addr("/p2p-circuit"), relay.circuit_to(other), nested, long] {
            book.add(peer, bad, Provenance::Hint);
        }
        book.add(relay.peer, relay.circuit(), Provenance::Hint);
        assert!(book.peers.is_empty());
        for not_a_relay in [relay.circuit(), addr("/ip4/127.0.0.1/tcp/1/ws"), addr(&format!("/p2p/{other}"))] {
            assert_eq!(RelayAddress::parse(&not_a_relay), None, "{not_a_relay}");
        }
        assert_eq!(RelayAddress::of_circuit(&relay.circuit_to(peer)), Some(relay.clone()));
        assert_eq!(RelayAddress::of_circuit(&addr("/ip4/127.0.0.1/tcp/1/ws")), None);
    }

    #[test]
    fn the_book_stays_bounded_and_forgets_the_least_trusted() {
        let peer = PeerId::random();
        let mut book = AddressBook::default();
        book.add(peer, addr("/ip4/10.0.0.1/tcp/80/ws"), Provenance::Seen);
        for port in 1..100 {
            book.add(peer, addr(&format!("/ip4/10.0.0.2/tcp/{port}/ws")), Provenance::Hint);
        }
        let addresses = book.addresses_to_dial(peer, &[]);
        assert_eq!(addresses.len(), ADDRESSES_PER_PEER_MAX);
        assert_eq!(addresses[0], addr(&format!("/ip4/10.0.0.1/tcp/80/ws/p2p/{peer}")));
        assert_eq!(addresses[1], addr(&format!("/ip4/10.0.0.2/tcp/99/ws/p2p/{peer}")));
        for _ in 0..PEERS_MAX {
            book.add(PeerId::random(), addr("/ip4/10.0.0.1/tcp/80/ws"), Provenance::Hint);
        }
        assert_eq!(book.peers.len(), PEERS_MAX);
        assert!(!book.peers.contains_key(&peer), "heard of longest ago");
    }
}
