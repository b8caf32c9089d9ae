//! Account data, global and of rooms, set since the last sync.
use std::collections::BTreeMap;

use ruma::{
    OwnedRoomId, RoomId,
    events::{AnyGlobalAccountDataEvent, AnyRoomAccountDataEvent},
    serde::Raw,
};
use serde_json::json;

use crate::{
    domain::event_filter::{allows_global, allows_kind, allows_room},
    homeserver::{sync::Look, user_rows},
    ports::StoreError,
    storage::tables::{AccountData, AccountDataRow},
};

#[derive(Default)]
pub struct Changed {
    global: Vec<Raw<AnyGlobalAccountDataEvent>>,
    rooms: BTreeMap<OwnedRoomId, Vec<Raw<AnyRoomAccountDataEvent>>>,
}

impl Changed {
    pub fn take_global(&mut self) -> Vec<Raw<AnyGlobalAccountDataEvent>> {
        std::mem::take(&mut self.global)
    }

    pub fn of_room(&self, room_id: &RoomId) -> &[Raw<AnyRoomAccountDataEvent>] {
        self.rooms.get(room_id).map_or(&[], Vec::as_slice)
    }
}

/// What was set between `since` and now.
pub async fn changed(look: &Look<'_>) -> Result<Changed, StoreError> {
    let mut changed = Changed::default();
    let user = &look.session.user_id;
    if !look.may_be_new(user_rows::digest(look.server, user).await?.newest) {
        return Ok(changed);
    }
    for ((_, room, kind), row) in look.server.database.scan_all::<AccountData, _>(user).await? {
        if !look.is_new(row.position) {
            continue;
        }
        if room.is_empty() {
            if allows_global(&look.filter.account_data, &kind) {
                changed.global.push(event(&kind, &row));
            }
        } else if let Ok(room_id) = RoomId::parse(room)
            && is_wanted(look, &room_id, &kind)
        {
            changed.rooms.entry(room_id).or_default().push(event(&kind, &row));
        }
    }
    Ok(changed)
}

/// Everything set for a room the client hears of for the first time.
pub async fn of_new_room(look: &Look<'_>, room_id: &RoomId) -> Result<Vec<Raw<AnyRoomAccountDataEvent>>, StoreError> {
    let prefix = (look.session.user_id.clone(), room_id.to_string());
    let rows = look.server.database.scan_all::<AccountData, _>(&prefix).await?;
    let told = rows.iter().filter(|((_, _, kind), row)| row.position <= look.until && is_wanted(look, room_id, kind));
    Ok(told.map(|((_, _, kind), row)| event(kind, row)).collect())
}

fn is_wanted(look: &Look<'_>, room_id: &RoomId, kind: &str) -> bool {
    let filter = &look.filter.room.account_data;
    allows_kind(filter, kind) && allows_room(filter.rooms.as_deref(), &filter.not_rooms, room_id)
}

fn event<T>(kind: &str, row: &AccountDataRow) -> Raw<T> {
    let event = json!({ "type": kind, "content": row.content });
    Raw::from_json(serde_json::value::to_raw_value(&event).expect("a JSON value is JSON"))
}
