//! What became of each homeserver we have met or looked for, so that people can be told why somebody is not connected.
use std::{collections::BTreeMap, fmt};

use libp2p::PeerId;
use libp2p_webrtc_p2p::{self as webrtc, diagnosis, signaling::candidate::Kind};
use ruma::OwnedServerName;

/// Homeservers remembered. Of those that are not connected, the one heard of longest ago makes room.
const KNOWN_MAX: usize = 256;

/// A round trip is told anew when it differs from the one told by this many milliseconds and by half.
const ROUND_TRIP_STEP_MS: u64 = 5;

/// Characters kept of an error of somebody else's.
const REASON_MAX_CHARS: usize = 300;

/// Why a peer could not be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreached {
    pub cause: Cause,
    /// In the words of what failed, for whoever wants to know more.
    pub reason: String,
}

/// The causes people can be told of in words of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody said where it is, and there is no relay to look for it.
    NoAddress,
    /// The relay it would be looked for at does not answer.
    RelayUnreachable,
    /// The relay is there, and the peer is not: its tab is closed, or is connected to another relay.
    NotAtRelay,
    Other,
}

impl Unreached {
    pub fn new(cause: Cause, reason: impl Into<String>) -> Self {
        Self { cause, reason: reason.into() }
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// How the last attempt at a direct path ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectAttempt {
    pub at_ms: u64,
    /// Why it failed, if it did, and the likeliest cause.
    pub failure: Option<(diagnosis::Cause, String)>,
    /// How many addresses of each kind were offered.
    pub ours: BTreeMap<Kind, usize>,
    pub theirs: BTreeMap<Kind, usize>,
}

#[derive(Clone, Debug, Default)]
pub struct Known {
    pub server: Option<OwnedServerName>,
    /// When it last showed that it is alive.
    pub seen_ms: Option<u64>,
    pub round_trip_ms: Option<u64>,
    pub unreached: Option<Unreached>,
    pub direct: Option<DirectAttempt>,
    /// Counts up with everything noted of any peer.
    noted: u64,
}

#[derive(Default)]
pub struct KnownPeers {
    peers: BTreeMap<PeerId, Known>,
    noted: u64,
}

impl KnownPeers {
    /// What is known of `peer`, to be changed.
    pub fn note(&mut self, peer: PeerId, is_connected: impl Fn(&PeerId) -> bool) -> &mut Known {
        self.noted += 1;
        if self.peers.len() >= KNOWN_MAX && !self.peers.contains_key(&peer) {
            let away = self.peers.iter().filter(|(peer, _)| !is_connected(peer));
            let oldest = away.min_by_key(|(_, known)| known.noted).map(|(peer, _)| *peer);
            oldest.map(|oldest| self.peers.remove(&oldest));
        }
        let known = self.peers.entry(peer).or_default();
        known.noted = self.noted;
        known
    }

    /// Those with a name: relays and strangers that never said one are not shown.
    pub fn homeservers(&self) -> impl Iterator<Item = (&PeerId, &OwnedServerName, &Known)> {
        self.peers.iter().filter_map(|(peer, known)| Some((peer, known.server.as_ref()?, known)))
    }
}

impl Known {
    /// It answered after `round_trip_ms`. Returns whether that is worth telling.
    pub fn answered(&mut self, now_ms: u64, round_trip_ms: u64) -> bool {
        self.seen_ms = Some(now_ms);
        let is_news = self.round_trip_ms.is_none_or(|told| {
            let difference = told.abs_diff(round_trip_ms);
            difference >= ROUND_TRIP_STEP_MS && difference * 2 >= told
        });
        if is_news {
            self.round_trip_ms = Some(round_trip_ms);
        }
        is_news
    }

    pub fn attempted(&mut self, now_ms: u64, event: webrtc::Event, asked_stun: bool) {
        let failure = event.error.map(|error| {
            (diagnosis::Cause::of(&event.tried, asked_stun), error.chars().take(REASON_MAX_CHARS).collect())
        });
        self.direct =
            Some(DirectAttempt { at_ms: now_ms, failure, ours: event.tried.ours, theirs: event.tried.theirs });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_connected_is_never_forgotten() {
        let mut peers = KnownPeers::default();
        let connected = PeerId::random();
        let is_connected = |peer: &PeerId| *peer == connected;
        peers.note(connected, is_connected).server = Some("a.example".try_into().unwrap());
        for _ in 0..2 * KNOWN_MAX {
            peers.note(PeerId::random(), is_connected);
        }
        assert_eq!(peers.peers.len(), KNOWN_MAX);
        let named: Vec<_> = peers.homeservers().map(|(peer, server, _)| (*peer, server.as_str())).collect();
        assert_eq!(named, [(connected, "a.example")]);
    }

    #[test]
    fn a_round_trip_is_news_when_it_is_another_one() {
        let mut known = Known::default();
        let news: Vec<bool> = [2, 3, 6, 8, 200, 203, 290, 301].map(|ms| known.answered(1, ms)).to_vec();
        assert_eq!(news, [true, false, false, true, true, false, false, true]);
    }
}
