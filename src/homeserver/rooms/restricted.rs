//! Rooms that let in who is in certain other rooms (server-server API, "Restricted rooms"): whether somebody meets the
//! conditions, and who here may vouch for it.
use ruma::{
    Int, OwnedUserId, RoomId, UserId,
    events::{StateEventType, room::member::MembershipState},
    state_res::events::{RoomPowerLevelsEvent, RoomPowerLevelsIntField},
};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::append::Append;
use crate::{
    domain::{event::SharedPdu, room::power::power_of},
    ports::StoreError,
};

/// Where a join says which user's server vouches that a condition is met.
pub const AUTHORISED_VIA: &str = "join_authorised_via_users_server";
/// The most conditions of one room that are looked at.
const CONDITIONS_MAX: usize = 100;

#[derive(Clone, Debug, Error)]
pub enum RestrictedError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("you are in none of the rooms whose members this room lets in")]
    NotEntitled,
    #[error("this server cannot see into all of the rooms whose members this room lets in")]
    Unverifiable,
    #[error("nobody on this server may invite to this room")]
    NobodyToGrant,
}

/// The user of ours who vouches for a join of `user` to the room as it is; `None` where nobody need.
pub async fn authorise(append: &Append<'_>, user: &UserId) -> Result<Option<OwnedUserId>, RestrictedError> {
    let current = append.live.members.get(user).map(|member| member.membership.clone());
    if matches!(current, Some(MembershipState::Join | MembershipState::Invite | MembershipState::Ban)) {
        // The first two need no permission, and no permission helps the last.
        return Ok(None);
    }
    let Some(conditions) = conditions(append).await? else { return Ok(None) };
    check(append, user, &conditions).await?;
    granter(append).await?.map(Some).ok_or(RestrictedError::NobodyToGrant)
}

/// The conditions under which the room lets somebody in; `None` if it does not know such.
async fn conditions(append: &Append<'_>) -> Result<Option<Vec<Value>>, StoreError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct JoinRules {
        join_rule: Value,
        allow: Value,
    }
    let Some(event_id) = append.live.state.get(&StateEventType::RoomJoinRules, "") else { return Ok(None) };
    let Some(event) = append.event(event_id).await? else { return Ok(None) };
    let content: JoinRules = serde_json::from_str(event.pdu.content.get()).unwrap_or_default();
    let rules = &append.room.rules.authorization;
    let restricted = match content.join_rule.as_str() {
        Some("restricted") => rules.restricted_join_rule,
        Some("knock_restricted") => rules.knock_restricted_join_rule,
        _ => false,
    };
    let conditions = content.allow.as_array().cloned().unwrap_or_default();
    Ok(restricted.then_some(conditions))
}

/// Whether one of the conditions is met. Those of kinds we do not know are met by nobody.
async fn check(append: &Append<'_>, user: &UserId, conditions: &[Value]) -> Result<(), RestrictedError> {
    let mut all_seen = conditions.len() <= CONDITIONS_MAX;
    for condition in conditions.iter().take(CONDITIONS_MAX) {
        if condition["type"] != "m.room_membership" {
            continue;
        }
        let Some(room_id) = condition["room_id"].as_str().and_then(|id| RoomId::parse(id).ok()) else { continue };
        match append.server.rooms.get(&room_id).await? {
            Some(room) if room.live().resident => {
                if room.is_joined(user) {
                    return Ok(());
                }
            }
            _ => all_seen = false,
        }
    }
    Err(if all_seen { RestrictedError::NotEntitled } else { RestrictedError::Unverifiable })
}

/// The local member with the most power, if that is enough to invite.
async fn granter(append: &Append<'_>) -> Result<Option<OwnedUserId>, StoreError> {
    let rules = &append.room.rules.authorization;
    let Some(create) = append.event(&append.room.create_event).await? else { return Ok(None) };
    let levels = match append.live.state.get(&StateEventType::RoomPowerLevels, "") {
        Some(event_id) => append.event(event_id).await?.map(|event| event.pdu.clone()),
        None => None,
    };
    let field = RoomPowerLevelsIntField::Invite;
    let needed = match &levels {
        Some(levels) => RoomPowerLevelsEvent::new(SharedPdu(levels.clone())).get_as_int_or_default(field, rules),
        None => Ok(field.default_value()),
    };
    let needed = needed.unwrap_or(Int::MAX);
    let own = append.server.server_name();
    let ours = append
        .live
        .members
        .iter()
        .filter(|(user, member)| user.server_name() == own && member.membership == MembershipState::Join);
    let powers = ours.filter_map(|(user, _)| {
        let power = power_of(user, &create.pdu, levels.as_ref(), rules).ok()?;
        (power >= needed).then(|| (power, user.clone()))
    });
    Ok(powers.max_by_key(|(power, _)| *power).map(|(_, user)| user))
}
