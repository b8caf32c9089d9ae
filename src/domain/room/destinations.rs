//! Which servers an event must go to, and by omission which must never see it.
use std::collections::BTreeSet;

use ruma::{OwnedServerName, ServerName, events::room::member::MembershipState};

use crate::domain::event::Pdu;

/// The servers an event of ours must reach: those with a joined member before or after it, and the server of the
/// user a membership event is about where that user has a stake: is invited by it, or was invited, knocking or joined
/// until it. Never `own`.
///
/// `target_before` is the membership of the user the event is about before it; `None` for other events and strangers.
pub fn destinations(
    pdu: &Pdu,
    own: &ServerName,
    joined_before: &BTreeSet<OwnedServerName>,
    joined_after: &BTreeSet<OwnedServerName>,
    target_before: Option<&MembershipState>,
) -> BTreeSet<OwnedServerName> {
    let had_stake =
        matches!(target_before, Some(MembershipState::Invite | MembershipState::Knock | MembershipState::Join));
    let has_stake = had_stake || pdu.membership() == Some(MembershipState::Invite);
    let target = pdu.target().filter(|_| has_stake).map(|user| user.server_name().to_owned());
    let mut servers: BTreeSet<_> = joined_before.union(joined_after).cloned().chain(target).collect();
    servers.remove(own);
    servers
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{
        room_version::DEFAULT_ROOM_VERSION,
        test_room::{TestRoom, identity},
    };

    fn servers<const N: usize>(users: [u8; N]) -> BTreeSet<OwnedServerName> {
        users.into_iter().map(|n| identity(n).server_name().to_owned()).collect()
    }

    #[test]
    fn a_message_goes_to_every_other_server_in_the_room() {
        let mut room = TestRoom::new(DEFAULT_ROOM_VERSION);
        let message = room.send(0, "m.room.message", json!({ "body": "x" }));
        let in_room = servers([0, 1, 2]);
        assert_eq!(destinations(&message, &own(), &in_room, &in_room, None), servers([1, 2]));
        assert_eq!(destinations(&message, &own(), &servers([0]), &servers([0]), None), servers([]));
    }

    #[test]
    fn who_comes_and_who_goes_hears_of_it() {
        let mut room = TestRoom::new(DEFAULT_ROOM_VERSION);
        let kick = room.member(0, 2, "leave");
        let joined = Some(&MembershipState::Join);
        assert_eq!(destinations(&kick, &own(), &servers([0, 1, 2]), &servers([0, 1]), joined), servers([1, 2]));
        let join = room.member(0, 0, "join");
        assert_eq!(destinations(&join, &own(), &servers([1]), &servers([0, 1]), None), servers([1]));
    }

    #[test]
    fn the_invited_hear_of_it_and_of_its_end_and_strangers_do_not() {
        let mut room = TestRoom::new(DEFAULT_ROOM_VERSION);
        let here = servers([0, 1]);
        let invite = room.member(0, 2, "invite");
        assert_eq!(destinations(&invite, &own(), &here, &here, None), servers([1, 2]));
        let withdrawn = room.member(0, 2, "leave");
        for stake in [MembershipState::Invite, MembershipState::Knock] {
            assert_eq!(destinations(&withdrawn, &own(), &here, &here, Some(&stake)), servers([1, 2]));
        }
        let banned = room.member(0, 2, "ban");
        assert_eq!(destinations(&banned, &own(), &here, &here, Some(&MembershipState::Leave)), servers([1]));
        assert_eq!(destinations(&banned, &own(), &here, &here, None), servers([1]));
        // A user of our own server needs no delivery.
        let own_invite = room.member(0, 0, "invite");
        assert_eq!(destinations(&own_invite, &own(), &here, &here, None), servers([1]));
    }

    fn own() -> OwnedServerName {
        identity(0).server_name().to_owned()
    }
}
