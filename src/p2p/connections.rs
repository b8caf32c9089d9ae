//! Which connections there are to each peer, and which of several to use and to give up: pure bookkeeping.
//!
//! If both sides dial at once there are two connections, and after a reload of the other tab an old one may be dead
//! without anybody knowing. So the newest is used; of those that have answered a ping since the newest was made, the
//! best path is kept, and of several equals the one both sides agree on. The others are given up.
use std::collections::BTreeMap;

use libp2p::{PeerId, swarm::ConnectionId};

/// A direct connection older than this is dead if its peer dials a circuit to us: it has forgotten it. Younger ones may
/// have crossed with the dial.
const CROSSING_MAX_MS: u64 = 5_000;

/// What carries a connection, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// Within one browser: no network is needed.
    Browser,
    /// A transport of its own: to a relay, or to a homeserver with an address.
    Address,
    /// A peer connection, introduced by a relay that may be gone by now.
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
    made_ms: u64,
    /// When it was made, or answered a ping for the last time; `u64::MAX` if it answers none.
    heard_ms: u64,
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

    /// Returns those that are known to be dead now, because the peer would not make another while it had them.
    pub fn established(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        path: Path,
        dialed_by_us: bool,
        now_ms: u64,
    ) -> Vec<ConnectionId> {
        let links = self.links.entry(peer).or_default();
        links.iter_mut().for_each(|link| link.proven = false);
        let forgotten = |link: &&Link| {
            let by_circuit =
                path == Path::Relay && !dialed_by_us && now_ms.saturating_sub(link.made_ms) > CROSSING_MAX_MS;
            link.path == Path::Direct && (path == Path::Direct || by_circuit)
        };
        let stale = links.iter().filter(forgotten).map(|link| link.id).collect();
        links.push(Link { id, path, dialed_by_us, proven: false, retired: false, made_ms: now_ms, heard_ms: now_ms });
        stale
    }

    /// `id` answered a ping. Returns the connections to give up, now that it is known what is alive.
    pub fn proven(&mut self, peer: PeerId, id: ConnectionId, now_ms: u64) -> Vec<ConnectionId> {
        let Some(links) = self.links.get_mut(&peer) else { return Vec::new() };
        links.iter_mut().filter(|link| link.id == id).for_each(|link| {
            link.proven = true;
            link.heard_ms = now_ms;
        });
        let Some(best) = links.iter().filter(|link| link.proven && !link.retired).map(|link| link.path).min() else {
            return Vec::new();
        };
        // The same on both sides: the dialer of a connection is known to both.
        let dialed_by_smaller = |link: &Link| link.dialed_by_us == (self.local < peer);
        let equals = || links.iter().filter(|link| link.path == best && !link.retired);
        let kept = if equals().all(|link| link.proven) {
            equals().min_by_key(|link| (!dialed_by_smaller(link), std::cmp::Reverse(link.id))).map(|link| link.id)
        } else {
            None
        };
        let mut given_up = Vec::new();
        for link in links.iter_mut().filter(|link| !link.retired) {
            let beaten = kept.is_some_and(|kept| link.path == best && link.id != kept);
            if link.path > best || beaten {
                link.retired = true;
                given_up.push(link.id);
            }
        }
        given_up
    }

    /// Whoever is at the other end of `id` answers no pings at all: silence there means nothing.
    pub fn is_mute(&mut self, peer: PeerId, id: ConnectionId) {
        let link = self.links.get_mut(&peer).and_then(|links| links.iter_mut().find(|link| link.id == id));
        link.into_iter().for_each(|link| link.heard_ms = u64::MAX);
    }

    /// Gives up all connections to the peer by that path; returns them, those given up before included.
    pub fn retire(&mut self, peer: &PeerId, path: Path) -> Vec<ConnectionId> {
        let links = self.links.get_mut(peer).into_iter().flatten();
        links
            .filter(|link| link.path == path)
            .map(|link| {
                link.retired = true;
                link.id
            })
            .collect()
    }

    /// Returns whether that ended the last connection to the peer; false for one that was gone before.
    pub fn closed(&mut self, peer: PeerId, id: ConnectionId) -> bool {
        let Some(links) = self.links.get_mut(&peer) else { return false };
        let before = links.len();
        links.retain(|link| link.id != id);
        if links.len() == before {
            return false;
        }
        if links.iter().all(|link| link.retired) {
            // Those were given up for the one that is gone.
            links.iter_mut().for_each(|link| link.retired = false);
        }
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

    /// Whether streams kept on `id` are still good for another request: nothing better is in use, and it is not in doubt.
    pub fn is_in_use(&self, peer: &PeerId, id: ConnectionId) -> bool {
        let (best, path) = (self.best(peer), self.path(peer));
        self.links.get(peer).is_some_and(|links| {
            let good = |link: &Link| Some(link.id) == best || (link.proven && !link.retired && Some(link.path) <= path);
            links.iter().any(|link| link.id == id && good(link))
        })
    }

    /// Whether `id` is given up, and not the last resort again.
    pub fn is_retired(&self, peer: &PeerId, id: ConnectionId) -> bool {
        self.links.get(peer).is_some_and(|links| links.iter().any(|link| link.id == id && link.retired))
    }

    /// What carries the connection in use.
    pub fn path(&self, peer: &PeerId) -> Option<Path> {
        let best = self.best(peer)?;
        self.links.get(peer)?.iter().find(|link| link.id == best).map(|link| link.path)
    }

    /// Whether there is a connection that needs no relay. Only over such a one can a relay be asked for a circuit.
    pub fn has_direct(&self, peer: &PeerId) -> bool {
        self.links.get(peer).is_some_and(|links| links.iter().any(|link| link.path != Path::Relay && !link.retired))
    }

    /// When `id` was made or heard of last, `u64::MAX` if it answers no pings; `None` if it is gone.
    pub fn heard_ms(&self, peer: &PeerId, id: ConnectionId) -> Option<u64> {
        self.links.get(peer)?.iter().find(|link| link.id == id).map(|link| link.heard_ms)
    }

    /// Connections by that path, those given up included.
    pub fn count(&self, peer: &PeerId, path: Path) -> usize {
        self.links.get(peer).map_or(0, |links| links.iter().filter(|link| link.path == path).count())
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

    fn made(connections: &mut Connections, peer: PeerId, n: usize, path: Path, by_us: bool) -> Vec<ConnectionId> {
        connections.established(peer, id(n), path, by_us, 0)
    }

    #[test]
    fn both_sides_of_crossing_dials_keep_the_same_connection() {
        let (small, large) = peers();
        for (local, remote) in [(small, large), (large, small)] {
            let mut connections = Connections::new(local);
            // The smaller peer dialed 1, the larger one 2; each side may see them in either order.
            for order in [[1, 2], [2, 1]] {
                for n in order {
                    made(&mut connections, remote, n, Path::Relay, (n == 1) == (local == small));
                }
                assert_eq!(connections.best(&remote), Some(id(order[1])), "the newest is used until both are proven");
                assert!(connections.proven(remote, id(2), 0).is_empty());
                assert_eq!(connections.proven(remote, id(1), 0), [id(2)]);
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
        made(&mut connections, large, 1, Path::Relay, true);
        connections.proven(large, id(1), 0);
        // The other tab was reloaded and dials; the old connection does not know that it is dead.
        made(&mut connections, large, 2, Path::Relay, false);
        assert!(connections.proven(large, id(2), 0).is_empty(), "1 was proven before, not since");
        assert_eq!(connections.best(&large), Some(id(2)));
        assert!(!connections.closed(large, id(1)));
        assert_eq!(connections.best(&large), Some(id(2)));
    }

    #[test]
    fn a_direct_path_beats_a_relay_and_the_newest_beats_its_like() {
        let (small, large) = peers();
        let mut connections = Connections::new(small);
        for n in 1..=3 {
            made(&mut connections, large, n, if n == 2 { Path::Direct } else { Path::Relay }, n != 2);
        }
        assert_eq!(connections.path(&large), Some(Path::Relay), "the newest, until the direct one has been heard");
        assert_eq!(connections.proven(large, id(2), 0), [id(1), id(3)], "alive or not, circuits are of no more use");
        assert_eq!(connections.path(&large), Some(Path::Direct));
        assert!(connections.is_retired(&large, id(3)) && !connections.is_in_use(&large, id(3)));
        // The direct path breaks: there is a circuit to go on with.
        connections.closed(large, id(1));
        assert!(!connections.closed(large, id(2)));
        assert!(!connections.is_retired(&large, id(3)) && connections.is_in_use(&large, id(3)));

        let mut connections = Connections::new(small);
        made(&mut connections, large, 1, Path::Relay, true);
        made(&mut connections, large, 2, Path::Relay, true);
        connections.proven(large, id(1), 0);
        assert_eq!(connections.proven(large, id(2), 0), [id(1)]);
        // With all given up but alive, there is still one to use.
        connections.closed(large, id(2));
        assert_eq!(connections.best(&large), Some(id(1)));
    }

    #[test]
    fn what_the_peer_has_forgotten_is_dead() {
        let (small, large) = peers();
        let mut connections = Connections::new(small);
        assert!(made(&mut connections, large, 1, Path::Direct, true).is_empty());
        let later = CROSSING_MAX_MS + 1;
        assert!(connections.established(large, id(2), Path::Relay, true, later).is_empty(), "that was us");
        assert!(connections.established(large, id(3), Path::Relay, false, CROSSING_MAX_MS).is_empty(), "they crossed");
        assert_eq!(connections.established(large, id(4), Path::Relay, false, later), [id(1)]);
        assert_eq!(connections.established(large, id(5), Path::Direct, false, later), [id(1)]);
        assert_eq!(connections.established(large, id(6), Path::Address, false, 2 * later), []);
    }

    #[test]
    fn streams_kept_on_what_is_in_doubt_are_not_used() {
        let (small, large) = peers();
        let mut connections = Connections::new(small);
        made(&mut connections, large, 1, Path::Relay, true);
        connections.proven(large, id(1), 0);
        assert!(connections.is_in_use(&large, id(1)));
        made(&mut connections, large, 2, Path::Direct, true);
        assert!(!connections.is_in_use(&large, id(1)), "there is something better");
        connections.closed(large, id(2));
        assert!(connections.is_in_use(&large, id(1)), "there was");
    }
}
