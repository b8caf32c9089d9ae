//! The summary of a room: whom to name it after, and how many are in it.
use ruma::{
    OwnedUserId, UInt, UserId,
    api::client::sync::sync_events::v3::RoomSummary,
    events::{StateEventType, room::member::MembershipState},
};
use serde::Deserialize;

use crate::{
    domain::room::summary::summarize,
    homeserver::{Homeserver, rooms::Room},
    ports::StoreError,
};

/// Up to how many members are put in the order they came for a summary. Larger rooms without a name are named after
/// whoever is first by user id.
const MEMBERS_ORDERED_MAX: usize = 100;

pub async fn now(server: &Homeserver, room: &Room, viewer: &UserId) -> Result<RoomSummary, StoreError> {
    let mut members: Vec<_> = {
        let live = room.live();
        live.members.iter().map(|(user, row)| (user.clone(), row.membership.clone(), row.event_id.clone())).collect()
    };
    if members.len() <= MEMBERS_ORDERED_MAX {
        let ids: Vec<_> = members.iter().map(|(_, _, event_id)| event_id.clone()).collect();
        let events = server.rooms.events.get_many(&ids).await?;
        let times = events.into_iter().map(|event| event.map(|event| event.pdu.origin_server_ts));
        let mut timed: Vec<_> = times.zip(members).collect();
        timed.sort_by(|(time, (user, ..)), (other_time, (other, ..))| time.cmp(other_time).then(user.cmp(other)));
        members = timed.into_iter().map(|(_, member)| member).collect();
    }
    let members: Vec<(OwnedUserId, MembershipState)> =
        members.into_iter().map(|(user, membership, _)| (user, membership)).collect();
    let summary = summarize(members.iter().map(|(user, membership)| (&**user, membership)), viewer);
    let mut written = RoomSummary::new();
    written.joined_member_count = UInt::try_from(summary.joined).ok();
    written.invited_member_count = UInt::try_from(summary.invited).ok();
    if !has_name(server, room).await? {
        written.heroes = summary.heroes;
    }
    Ok(written)
}

/// Whether clients call the room by its name or canonical alias and need nobody to name it after.
async fn has_name(server: &Homeserver, room: &Room) -> Result<bool, StoreError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Content {
        name: serde_json::Value,
        alias: serde_json::Value,
    }
    for kind in [StateEventType::RoomName, StateEventType::RoomCanonicalAlias] {
        let event_id = room.live().state.get(&kind, "").cloned();
        let Some(event_id) = event_id else { continue };
        let Some(event) = server.rooms.events.get(&event_id).await? else { continue };
        let content = serde_json::from_str::<Content>(event.pdu.content.get()).unwrap_or_default();
        let is_text = |value: &serde_json::Value| value.as_str().is_some_and(|text| !text.is_empty());
        if is_text(&content.name) || is_text(&content.alias) {
            return Ok(true);
        }
    }
    Ok(false)
}
