//! Why no path was found, as far as the candidates tell that were tried.
use std::fmt;

use crate::signaling::{candidate::Kind, session::Tried};

/// The likeliest cause, for people who may be able to do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The browser found no address of this device: WebRTC is off, or there is no network.
    NoCandidates,
    /// The other side offered none.
    PeerHasNoCandidates,
    /// No STUN server is known, so only devices of one network find each other, and these two are not in one.
    NoStun,
    /// The same, and all that was offered were `.local` names, which this network may not resolve.
    NamesNotResolved,
    /// A STUN server was asked and did not answer: the network here lets no UDP through.
    UdpBlocked,
    /// We are seen from outside, the other side is not.
    PeerUdpBlocked,
    /// Both are seen at the same address, so in the same network, which keeps its devices apart.
    ClientIsolation,
    /// Both are seen from outside, but what they are seen as is not where they can be reached.
    SymmetricNats,
    /// A TURN server was offered, too, and led nowhere.
    TurnFailed,
}

impl Cause {
    /// Of an attempt that failed; `asked_stun` says whether we knew a STUN or TURN server.
    pub fn of(tried: &Tried, asked_stun: bool) -> Self {
        let (ours, theirs) = (&tried.ours, &tried.theirs);
        if ours.is_empty() {
            return Self::NoCandidates;
        }
        if theirs.is_empty() {
            return Self::PeerHasNoCandidates;
        }
        if ours.contains_key(&Kind::Relay) || theirs.contains_key(&Kind::Relay) {
            return Self::TurnFailed;
        }
        match (ours.contains_key(&Kind::Reflexive), theirs.contains_key(&Kind::Reflexive)) {
            (true, true) if !tried.our_outside.is_disjoint(&tried.their_outside) => Self::ClientIsolation,
            (true, true) => Self::SymmetricNats,
            (true, false) => Self::PeerUdpBlocked,
            (false, _) if asked_stun => Self::UdpBlocked,
            (false, _) if ours.keys().chain(theirs.keys()).all(|kind| *kind == Kind::Mdns) => Self::NamesNotResolved,
            (false, _) => Self::NoStun,
        }
    }

    /// A name that does not change, for reports and for whoever translates.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoCandidates => "no_candidates",
            Self::PeerHasNoCandidates => "peer_has_no_candidates",
            Self::NoStun => "no_stun",
            Self::NamesNotResolved => "names_not_resolved",
            Self::UdpBlocked => "udp_blocked",
            Self::PeerUdpBlocked => "peer_udp_blocked",
            Self::ClientIsolation => "client_isolation",
            Self::SymmetricNats => "symmetric_nats",
            Self::TurnFailed => "turn_failed",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(ours: &[(Kind, &str)], theirs: &[(Kind, &str)]) -> Tried {
        let mut tried = Tried::default();
        for (list, kinds, outside) in
            [(ours, &mut tried.ours, &mut tried.our_outside), (theirs, &mut tried.theirs, &mut tried.their_outside)]
        {
            for (kind, address) in list {
                *kinds.entry(*kind).or_default() += 1;
                if *kind == Kind::Reflexive {
                    outside.insert(address.parse().unwrap());
                }
            }
        }
        tried
    }

    #[test]
    fn every_cause_is_told_from_the_others() {
        const MDNS: (Kind, &str) = (Kind::Mdns, "");
        const HOST: (Kind, &str) = (Kind::Host, "");
        const HERE: (Kind, &str) = (Kind::Reflexive, "192.0.2.1");
        const THERE: (Kind, &str) = (Kind::Reflexive, "192.0.2.2");
        const TURN: (Kind, &str) = (Kind::Relay, "");
        let table: [(&[_], &[_], bool, Cause); 12] = [
            (&[], &[MDNS], true, Cause::NoCandidates),
            (&[MDNS], &[], true, Cause::PeerHasNoCandidates),
            (&[MDNS], &[MDNS], false, Cause::NamesNotResolved),
            (&[HOST], &[MDNS], false, Cause::NoStun),
            (&[MDNS], &[HOST], false, Cause::NoStun),
            (&[MDNS], &[MDNS], true, Cause::UdpBlocked),
            (&[MDNS], &[MDNS, THERE], true, Cause::UdpBlocked),
            (&[MDNS, HERE], &[MDNS], true, Cause::PeerUdpBlocked),
            (&[MDNS, HERE], &[MDNS, HERE], true, Cause::ClientIsolation),
            (&[MDNS, HERE], &[MDNS, THERE], true, Cause::SymmetricNats),
            (&[TURN], &[MDNS], true, Cause::TurnFailed),
            (&[MDNS], &[MDNS, TURN], true, Cause::TurnFailed),
        ];
        for (ours, theirs, asked_stun, cause) in table {
            assert_eq!(Cause::of(&tried(ours, theirs), asked_stun), cause, "{ours:?} {theirs:?} {asked_stun}");
        }
    }
}
