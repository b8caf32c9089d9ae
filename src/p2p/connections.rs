//! Which connections there are to each peer, and which of several to use and to give up: pure bookkeeping.
//!
//! If both sides dial at once there are two connections, and after a reload of the other tab an old one may be dead
//! without anybody knowing. So the newest is used; once all have answered a ping since the newest was made, both sides
//! agree on the one to keep and give up the others.
use std::collections::BTreeMap;

use libp2p::{PeerId, swarm::ConnectionId};

/// What carries a connection, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// A transport of its own: to a relay, or to a homeserver with an address.
    Direct,
    /// A circuit through a relay.
    Relay,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    id: ConnectionId,
    path: Path,
    dialed_by_us: bool,
    /// Answered a ping since the newest connection to the peer was made.
    proven: bool,
    /// Given up: nothing new is begun on it.
    retired: bool,
}

pub struct Connections {
    local: PeerId,
    /// Per peer, oldest first.
    links: BTreeMap<PeerId, Vec<Link>>,
}

impl Connections {
    pub fn new(local: PeerId) -> Self {
        Self { local, links: BTreeMap::new() }
    }

    pub fn established(&mut self, peer: PeerId, id: ConnectionId, path: Path, dialed_by_us: bool) {
        let links = self.links.entry(peer).or_default();
        links.iter_mut().for_each(|link| link.proven = false);
        links.push(Link { id, path, dialed_by_us, proven: false, retired: false });
    }

    /// `id` answered a ping. Returns the connections to give up, now that it is known that all are alive.
    pub fn proven(&mut self, peer: PeerId, id: ConnectionId) -> Vec<ConnectionId> {
        let Some(links) = self.links.get_mut(&peer) else { return Vec::new() };
        links.iter_mut().filter(|link| link.id == id).for_each(|link| link.proven = true);
        if !links.iter().all(|link| link.proven || link.retired) {
            return Vec::new();
        }
        // The same on both sides: the dialer of a connection is known to both.
        let dialed_by_smaller = |link: &Link| link.dialed_by_us == (self.local < peer);
        let rank = |link: &Link| (link.path, !dialed_by_smaller(link), std::cmp::Reverse(link.id));
        let kept = links.iter().filter(|link| !link.retired).min_by_key(|link| rank(link)).map(|link| link.id);
        let mut given_up = Vec::new();
        for link in links.iter_mut().filter(|link| !link.retired && Some(link.id) != kept) {
            link.retired = true;
            given_up.push(link.id);
        }
        given_up
    }

    /// Returns whether that ended the last connection to the peer; false for one that was gone before.
    pub fn closed(&mut self, peer: PeerId, id: ConnectionId) -> bool {
        let Some(links) = self.links.get_mut(&peer) else { return false };
        links.retain(|link| link.id != id);
        let last = links.is_empty();
        if last {
            self.links.remove(&peer);
        }
        last
    }

    /// The connection to begin new streams on: the newest not given up.
    pub fn best(&self, peer: &PeerId) -> Option<ConnectionId> {
        let links = self.links.get(peer)?;
        links.iter().rev().find(|link| !link.retired).or(links.last()).map(|link| link.id)
    }

    /// Whether streams kept on `id` are still good for another request.
    pub fn is_in_use(&self, peer: &PeerId, id: ConnectionId) -> bool {
        self.links.get(peer).is_some_and(|links| links.iter().any(|link| link.id == id && !link.retired))
    }

    /// What carries the connection in use.
    pub fn path(&self, peer: &PeerId) -> Option<Path> {
        let best = self.best(peer)?;
        self.links.get(peer)?.iter().find(|link| link.id == best).map(|link| link.path)
    }

    /// Whether there is a connection that needs no relay. Only over such a one can a relay be asked for a circuit.
    pub fn has_direct(&self, peer: &PeerId) -> bool {
        self.links.get(peer).is_some_and(|links| links.iter().any(|link| link.path == Path::Direct && !link.retired))
    }

    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.links.contains_key(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> (PeerId, PeerId) {
        let (one, other) = (PeerId::random(), PeerId::random());
        if one < other { (one, other) } else { (other, one) }
    }

    fn id(n: usize) -> ConnectionId {
        ConnectionId::new_unchecked(n)
    }

    #[test]
    fn both_sides_of_crossing_dials_keep_the_same_connection() {
        let (small, large) = peers();
        for (local, remote) in [(small, large), (large, small)] {
            let mut connections = Connections::new(local);
            // The smaller peer dialed 1, the larger one 2; each side may see them in either order.
            for order in [[1, 2], [2, 1]] {
                for n in order {
                    connections.established(remote, id(n), Path::Relay, (n == 1) == (local == small));
                }
                assert_eq!(connections.best(&remote), Some(id(order[1])), "the newest is used until both are proven");
                assert!(connections.proven(remote, id(2)).is_empty());
                assert_eq!(connections.proven(remote, id(1)), [id(2)]);
                assert_eq!(connections.best(&remote), Some(id(1)));
                assert!(!connections.is_in_use(&remote, id(2)) && connections.is_in_use(&remote, id(1)));
                assert!(!connections.closed(remote, id(2)));
                assert!(connections.closed(remote, id(1)));
                assert!(!connections.is_connected(&remote));
            }
        }
    }

    #[test]
    fn a_dead_connection_is_never_what_remains() {
        let (small, large) = peers();
        let mut connections = Connections::new(small);
        connections.established(large, id(1), Path::Relay, true);
        connections.proven(large, id(1));
        // The other tab was reloaded and dials; the old connection does not know that it is dead.
        connections.established(large, id(2), Path::Relay, false);
        assert!(connections.proven(large, id(2)).is_empty(), "1 was proven before, not since");
        assert_eq!(connections.best(&large), Some(id(2)));
        assert!(!connections.closed(large, id(1)));
        assert_eq!(connections.best(&large), Some(id(2)));
    }

    #[test]
    fn a_direct_path_beats_a_relay_and_the_newest_beats_its_like() {
        let (small, large) = peers();
        let mut connections = Connections::new(small);
        for n in 1..=3 {
            connections.established(large, id(n), if n == 2 { Path::Direct } else { Path::Relay }, n != 2);
        }
        connections.proven(large, id(1));
        connections.proven(large, id(3));
        assert_eq!(connections.proven(large, id(2)), [id(1), id(3)]);
        assert_eq!(connections.path(&large), Some(Path::Direct));

        let mut connections = Connections::new(small);
        connections.established(large, id(1), Path::Relay, true);
        connections.established(large, id(2), Path::Relay, true);
        connections.proven(large, id(1));
        assert_eq!(connections.proven(large, id(2)), [id(1)]);
        // With all given up but alive, there is still one to use.
        connections.closed(large, id(2));
        assert_eq!(connections.best(&large), Some(id(1)));
    }
}
