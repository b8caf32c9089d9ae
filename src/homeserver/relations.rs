//! Events that relate to others (client-server API, "Relationships between events"): read from the index that appending
//! keeps (`rooms/append/relations.rs`), never from a room's history.
pub mod bundle;
pub mod catch_up;
pub mod children;
pub mod rules;
pub mod threads;

use ruma::OwnedEventId;

use super::{Homeserver, rooms::Room};
use crate::{
    ports::StoreError,
    storage::{
        Direction,
        tables::{Related, RelatedRow, RelationRow, Relations},
    },
};

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
