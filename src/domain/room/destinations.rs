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
