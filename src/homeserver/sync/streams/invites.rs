//! Rooms the user is invited to or knocks on, shown by their stripped state.
use ruma::{
    api::client::sync::sync_events::v3::{InviteState, InvitedRoom, KnockState, KnockedRoom},
    events::AnyStrippedStateEvent,
    serde::Raw,
};

use crate::{homeserver::sync::Look, storage::tables::MembershipRow};

/// The invite, unless the client knows of it, its sender is ignored or the user wants none.
pub fn invited(look: &Look<'_>, row: &MembershipRow) -> Option<InvitedRoom> {
    if !look.is_new(row.position) || look.blocks_invites || look.ignored.contains(&row.sender) {
        return None;
    }
    Some(InvitedRoom::from(InviteState::from(stripped(row))))
}

pub fn knocked(look: &Look<'_>, row: &MembershipRow) -> Option<KnockedRoom> {
    if !look.is_new(row.position) {
        return None;
    }
    let mut state = KnockState::new();
    state.events = stripped(row);
    Some(KnockedRoom::from(state))
}

fn stripped(row: &MembershipRow) -> Vec<Raw<AnyStrippedStateEvent>> {
    let raw = |event| Raw::from_json(serde_json::value::to_raw_value(event).expect("a JSON value is JSON"));
    row.stripped_state.iter().map(raw).collect()
}
