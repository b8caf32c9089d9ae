//! Who may see an event (client-server API, "Room history visibility").
use ruma::{
    ServerName, UserId,
    events::{
        TimelineEventType,
        room::{history_visibility::HistoryVisibility, member::MembershipState},
    },
};
use serde::Deserialize;

use crate::domain::event::Pdu;

/// What must be known of the room to tell whether somebody may see an event of it.
#[derive(Clone, Debug)]
pub struct Viewpoint {
    /// Of the state before the event.
    pub visibility: HistoryVisibility,
    /// The viewer's membership in the state before the event; the closest of all its users for a server (see
    /// [`closest`]).
    pub membership: MembershipState,
    /// Whether the viewer was joined at any time after the event: now, or until leaving again.
    pub joined_since: bool,
}

/// What an `m.room.history_visibility` event says; `shared` without one (specification), `joined` when what it says is
/// unknown, so that a setting of tomorrow does not open the history.
pub fn visibility_of(event: Option<&Pdu>) -> HistoryVisibility {
    #[derive(Deserialize)]
    struct Content {
        history_visibility: HistoryVisibility,
    }
    let Some(event) = event else { return HistoryVisibility::Shared };
    match serde_json::from_str::<Content>(event.content.get()).map(|content| content.history_visibility) {
        Ok(
            known @ (HistoryVisibility::WorldReadable
            | HistoryVisibility::Shared
            | HistoryVisibility::Invited
            | HistoryVisibility::Joined),
        ) => known,
        _ => HistoryVisibility::Joined,
    }
}

/// Whether `user` may see `pdu`.
pub fn user_may_see(pdu: &Pdu, user: &UserId, view: &Viewpoint) -> bool {
    may_see(pdu, view, pdu.target() == Some(user))
}

/// Whether `server` may see `pdu`: whether any of its users may.
pub fn server_may_see(pdu: &Pdu, server: &ServerName, view: &Viewpoint) -> bool {
    may_see(pdu, view, pdu.target().is_some_and(|user| user.server_name() == server))
}

/// The membership that lets its bearer see most: join, then invite, then anything else.
pub fn closest<'a>(memberships: impl IntoIterator<Item = &'a MembershipState>) -> MembershipState {
    let rank = |membership: &&MembershipState| match membership {
        MembershipState::Join => 2,
        MembershipState::Invite => 1,
        _ => 0,
    };
    memberships.into_iter().max_by_key(rank).cloned().unwrap_or(MembershipState::Leave)
}

/// An event about the visibility itself, or about the viewer's own membership, is seen by whoever may see the room
/// either before or after it.
fn may_see(pdu: &Pdu, view: &Viewpoint, about_viewer: bool) -> bool {
    if allowed(&view.visibility, &view.membership, view.joined_since) {
        return true;
    }
    if pdu.kind == TimelineEventType::RoomHistoryVisibility && pdu.state_key.as_deref() == Some("") {
        return allowed(&visibility_of(Some(pdu)), &view.membership, view.joined_since);
    }
    match pdu.membership().filter(|_| about_viewer) {
        Some(membership) => allowed(&view.visibility, &membership, view.joined_since),
        None => false,
    }
}

fn allowed(visibility: &HistoryVisibility, membership: &MembershipState, joined_since: bool) -> bool {
    *visibility == HistoryVisibility::WorldReadable
        || *membership == MembershipState::Join
        || (*visibility == HistoryVisibility::Shared && joined_since)
        || (*visibility == HistoryVisibility::Invited && *membership == MembershipState::Invite)
}

#[cfg(test)]
mod tests;
