//! Rooms that were written before there was an index of relations get theirs, a slice a commit: stopped anywhere, it goes
//! on from there.
use std::rc::Rc;

use super::super::{
    Homeserver,
    rooms::{
        Room,
        append::{Append, AppendError},
    },
};
use crate::{
    ports::StoreError,
    storage::{
        Direction,
        tables::{Related, RelationsIndex, Timeline},
    },
};

/// Events gone through with one commit, under the room's lock.
const EVENTS_PER_SLICE: usize = 200;

/// Gives every room its index that has none, one after the other, while everything else goes on.
pub fn in_background(server: &Rc<Homeserver>) {
    let rooms = server.rooms.unindexed();
    if rooms.is_empty() {
        return;
    }
    let weak = Rc::downgrade(server);
    server.environment.tasks.spawn(Box::pin(async move {
        for room_id in rooms {
            let Some(server) = weak.upgrade() else { return };
            let indexed = match server.rooms.get(&room_id).await {
                Ok(Some(room)) => whole(&server, &room).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = indexed {
                // What asks for relations of this room tries again.
                tracing::warn!(room = %room_id, %error, "relations could not be indexed");
            }
        }
    }));
}

/// Returns once all relations of the room are in the index.
pub async fn whole(server: &Homeserver, room: &Rc<Room>) -> Result<(), StoreError> {
    while matches!(room.live().relations, RelationsIndex::Absent | RelationsIndex::Building { .. }) {
        slice(server, room).await?;
        server.environment.clock.yield_now().await;
    }
    Ok(())
}

async fn slice(server: &Homeserver, room: &Rc<Room>) -> Result<(), StoreError> {
    let mut append = Append::begin(server, room).await;
    let RelationsIndex::Building { next, oldest } = append.live.relations else { return Ok(()) };
    let (start, end) = ((room.num, oldest), (room.num, next.saturating_add(1)));
    let scan = server.database.scan_range::<Timeline>(&start, &end, Direction::Descending, EVENTS_PER_SLICE);
    let rows = scan.await?;
    let ids: Vec<_> = rows.iter().map(|(_, id)| id.clone()).collect();
    for ((_, order), event) in rows.iter().map(|(key, _)| *key).zip(append.events(&ids).await?) {
        if let Some(event) = event {
            append.index_relation(&event.pdu, order).await?;
        }
    }
    append.live.relations = match rows.last() {
        Some(((_, last), _)) if rows.len() == EVENTS_PER_SLICE => RelationsIndex::Building { next: last - 1, oldest },
        // Whether anything came of it is not known of earlier slices: the store says.
        _ if append.has_relations() || has_any(server, room).await? => RelationsIndex::Whole,
        _ => RelationsIndex::Empty,
    };
    append.commit().await.map_err(|error| match error {
        AppendError::Store(error) => error,
        other => StoreError::Backend(other.to_string()),
    })
}

async fn has_any(server: &Homeserver, room: &Room) -> Result<bool, StoreError> {
    Ok(!server.database.scan_prefix::<Related, _>(&(room.num,), Direction::Ascending, 1).await?.is_empty())
}
