//! Presence of those the user shares a room with.
use std::{cmp::Reverse, collections::BTreeSet};

use ruma::{OwnedUserId, events::presence::PresenceEvent, events::room::member::MembershipState, serde::Raw};
use serde_json::json;

use crate::{
    domain::{event_filter::allows_global, presence::Status},
    homeserver::{Homeserver, edus::presence, sync::Look, user_rows},
    ports::StoreError,
};

/// Who has come, gone or changed since the last sync. To a client that begins, or whose user is new in a room, those who
/// are there. Of more than the filter's limit those who changed last.
pub(in crate::homeserver::sync) async fn changed(look: &Look<'_>) -> Result<Vec<Raw<PresenceEvent>>, StoreError> {
    let (server, viewer, filter) = (look.server, &look.session.user_id, &look.filter.presence);
    if !server.options.presence || !allows_global(filter, "m.presence") {
        return Ok(Vec::new());
    }
    let mut users: BTreeSet<OwnedUserId> = match look.since {
        Some(_) if look.may_be_new(server.presence.newest()) => {
            let changes = server.presence.changes().into_iter();
            changes.filter(|(_, position)| look.is_new(*position)).map(|(user, _)| user).collect()
        }
        Some(_) => BTreeSet::new(),
        None => server.presence.here().into_iter().collect(),
    };
    if look.since.is_some() {
        users.extend(those_of_new_rooms(look).await?);
    }
    users.retain(|user| {
        user != viewer
            && !look.ignored.contains(user)
            && filter.senders.as_ref().is_none_or(|senders| senders.contains(user))
            && !filter.not_senders.contains(user)
    });
    let mut shown: Vec<OwnedUserId> = presence::shown_to(server, viewer, users).await?.into_iter().collect();
    if let Some(limit) = filter.limit {
        shown.sort_by_key(|user| Reverse(server.presence.changed_at(user)));
        shown.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    Ok(shown.iter().filter_map(|user| event(server, user)).collect())
}

/// Those who are there, of those the viewer shares a room with and does not ignore.
pub async fn here(server: &Homeserver, viewer: &OwnedUserId) -> Result<Vec<Raw<PresenceEvent>>, StoreError> {
    if !server.options.presence {
        return Ok(Vec::new());
    }
    let ignored = user_rows::digest(server, viewer).await?.ignored;
    let others = server.presence.here().into_iter().filter(|user| user != viewer && !ignored.contains(user));
    let shown = presence::shown_to(server, viewer, others.collect()).await?;
    Ok(shown.iter().filter_map(|user| event(server, user)).collect())
}

async fn those_of_new_rooms(look: &Look<'_>) -> Result<Vec<OwnedUserId>, StoreError> {
    let mut users = Vec::new();
    for (room_id, row) in user_rows::memberships(look.server, &look.session.user_id).await?.iter() {
        if row.membership == MembershipState::Join
            && look.is_new(row.position)
            && let Some(room) = look.server.rooms.get(room_id).await?
        {
            users.extend(look.server.presence.here().into_iter().filter(|user| room.is_joined(user)));
        }
    }
    Ok(users)
}

fn event(server: &Homeserver, user: &OwnedUserId) -> Option<Raw<PresenceEvent>> {
    let status = server.presence.status(server, user)?;
    let now_ms = server.environment.clock.now_ms();
    let event = json!({ "type": "m.presence", "sender": user, "content": content(status, now_ms) });
    Some(Raw::from_json(serde_json::value::to_raw_value(&event).expect("a JSON value is JSON")))
}

fn content(status: Status, now_ms: u64) -> serde_json::Value {
    let mut content = json!({ "presence": status.presence });
    if let Some(at_ms) = status.last_active_ms {
        content["last_active_ago"] = now_ms.saturating_sub(at_ms).into();
    }
    if status.currently_active {
        content["currently_active"] = true.into();
    }
    if let Some(status_msg) = status.status_msg {
        content["status_msg"] = status_msg.into();
    }
    content
}
