//! Events that relate to others (client-server API, "Relationships between events"): read from the index that appending
//! keeps (`rooms/append/relations.rs`), never from a room's history.
pub mod bundle;
pub mod catch_up;
pub mod children;
pub mod rules;
pub mod threads;

use std::collections::BTreeSet;

use ruma::{OwnedEventId, OwnedUserId};

use super::{Homeserver, rooms::Room};
use crate::{
    domain::event_filter::RelatedBy,
    ports::StoreError,
    storage::{
        Direction,
        tables::{Related, RelatedRow, RelationRow, Relations},
    },
};

/// Children of one parent among which one by a sender is looked for.
const CHILDREN_LOOKED_AT_MAX: usize = 1_000;

/// A child of an event: its place in the timeline, and what the index says of it.
type Child = (i64, RelationRow);

/// Children of one type of relation with `after < order <= through`.
async fn children_in(
    server: &Homeserver,
    room: &Room,
    (parent, rel_type): (&OwnedEventId, &str),
    (after, through): (i64, i64),
    direction: Direction,
    limit: usize,
) -> Result<Vec<Child>, StoreError> {
    let key = |order: i64| (room.num, parent.clone(), rel_type.to_owned(), order.saturating_add(1));
    let rows = server.database.scan_range::<Relations>(&key(after), &key(through), direction, limit).await?;
    Ok(rows.into_iter().map(|((.., order), row)| (order, row)).collect())
}

/// What relates to each of `parents`, in numbers.
async fn related(
    server: &Homeserver,
    room: &Room,
    parents: &[OwnedEventId],
) -> Result<Vec<Option<RelatedRow>>, StoreError> {
    let keys: Vec<_> = parents.iter().map(|parent| (room.num, parent.clone())).collect();
    server.database.get_many::<Related>(&keys).await
}

/// Those of `events` that something relates to as wanted.
pub async fn parents_among(
    server: &Homeserver,
    room: &Room,
    events: &[OwnedEventId],
    wanted: &RelatedBy,
) -> Result<BTreeSet<OwnedEventId>, StoreError> {
    let mut parents = BTreeSet::new();
    for (event_id, row) in events.iter().zip(related(server, room, events).await?) {
        for rel_type in row.into_iter().flat_map(|row| row.kinds.into_keys()).filter(|kind| wanted.allows_type(kind)) {
            if has_child_by(server, room, (event_id, &rel_type), wanted.senders.as_deref()).await? {
                parents.insert(event_id.clone());
                break;
            }
        }
    }
    Ok(parents)
}

async fn has_child_by(
    server: &Homeserver,
    room: &Room,
    of: (&OwnedEventId, &str),
    senders: Option<&[OwnedUserId]>,
) -> Result<bool, StoreError> {
    let Some(senders) = senders else { return Ok(true) };
    let all = (i64::MIN, i64::MAX);
    let children = children_in(server, room, of, all, Direction::Descending, CHILDREN_LOOKED_AT_MAX).await?;
    Ok(children.iter().any(|(_, row)| senders.contains(&row.sender)))
}
