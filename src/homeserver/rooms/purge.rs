//! Deleting a room that every user here has left and forgotten: in slices, each a commit, that go on after a restart where
//! they were. Coming back to the room waits until nothing of it is left.
use std::{collections::BTreeSet, rc::Rc};

use ruma::{EventId, RoomId, events::room::member::MembershipState};

use super::Room;
use crate::{
    homeserver::{Homeserver, user_directory},
    ports::{Batch, StoreError},
    storage::{
        Direction, Key, Table,
        tables::{
            EventHeader, Events, Gaps, Memberships, Outbox, OutboxRow, PendingRedactions, PublishedRooms, PurgeRow,
            Purges, Receipts, Related, Relations, RoomMembers, Rooms, StagedPdus, States, Threads, Timeline, UserTerms,
        },
    },
};

/// The most rows that are deleted, and the most events that are looked at, in one slice.
const ROWS_PER_SLICE: usize = 200;
/// Past every event id there is.
const LAST_EVENT_ID: &str = "$\u{10ffff}";

/// Begins to delete the room if nobody here has anything to do with it any more.
pub async fn if_unremembered(server: &Rc<Homeserver>, room_id: &RoomId) -> Result<(), StoreError> {
    // Nobody comes back while it is decided.
    let joining = server.joins.lock_of(room_id);
    let _joining = joining.lock().await;
    let Some(room) = server.rooms.get(room_id).await? else { return Ok(()) };
    let _room = room.lock().await;
    let (resident, state) = {
        let live = room.live();
        (live.resident, live.state.id)
    };
    if resident || is_remembered(server, &room).await? || is_owed(server, room.num).await? {
        return Ok(());
    }
    let row = PurgeRow {
        room_id: room.id.clone(),
        version: room.version.clone(),
        state,
        word: None,
        words_done: false,
        cursor: None,
    };
    let mut batch = Batch::strict();
    batch.put::<Purges>(&room.num, &row);
    batch.delete::<Rooms>(&room.id);
    batch.delete::<PublishedRooms>(&room.id);
    server.database.commit(batch).await?;
    server.rooms.remove(&room.id);
    server.waiting.forget(&room.id);
    in_background(server, room.num);
    Ok(())
}

/// Whether a user here is in the room in any way, or left it and has not forgotten it.
async fn is_remembered(server: &Homeserver, room: &Room) -> Result<bool, StoreError> {
    let keys: Vec<_> = {
        let live = room.live();
        let ours = live.members.iter().map(|(user, _)| user).filter(|user| user.server_name() == server.server_name());
        ours.map(|user| (user.clone(), room.id.clone())).collect()
    };
    let rows = server.database.get_many::<Memberships>(&keys).await?;
    Ok(rows
        .into_iter()
        .flatten()
        .any(|row| !row.forgotten || !matches!(row.membership, MembershipState::Leave | MembershipState::Ban)))
}

/// Whether events of the room wait to be sent: that our last user left, say.
async fn is_owed(server: &Homeserver, num: u64) -> Result<bool, StoreError> {
    let rows = server.database.scan_all::<Outbox, _>(&()).await?;
    let waiting = rows.into_iter().filter_map(|(_, row)| match row {
        OutboxRow::Pdu(event_id) | OutboxRow::Invite(event_id) => Some(event_id),
        OutboxRow::Edu(_) => None,
    });
    let waiting: Vec<_> = waiting.collect::<BTreeSet<_>>().into_iter().collect();
    for ids in waiting.chunks(ROWS_PER_SLICE) {
        let events = server.rooms.events.get_many(ids).await?;
        if events.into_iter().flatten().any(|event| event.header.room == num) {
            return Ok(true);
        }
        server.environment.clock.yield_now().await;
    }
    Ok(false)
}

/// Goes on with what was being deleted when the homeserver stopped, and with what could not be deleted then because it was
/// still to be sent.
pub fn resume(server: &Rc<Homeserver>) {
    let task_server = server.clone();
    server.environment.tasks.spawn(Box::pin(async move {
        if let Err(error) = try_resume(&task_server).await {
            tracing::warn!(%error, "forgotten rooms are not deleted yet; that goes on after the next start");
        }
    }));
}

async fn try_resume(server: &Rc<Homeserver>) -> Result<(), StoreError> {
    for (num, _) in server.database.scan_all::<Purges, _>(&()).await? {
        run(server, num).await?;
    }
    let memberships = server.database.scan_all::<Memberships, _>(&()).await?;
    let forgotten = memberships.into_iter().filter(|(_, row)| row.forgotten).map(|((_, room_id), _)| room_id);
    for room_id in forgotten.collect::<BTreeSet<_>>() {
        if server.rooms.newest_order(&room_id).is_some() {
            if_unremembered(server, &room_id).await?;
        }
    }
    Ok(())
}

/// Deletes what is left of an earlier copy of the room, if anything is.
pub async fn finish(server: &Homeserver, room_id: &RoomId) -> Result<(), StoreError> {
    for (num, row) in server.database.scan_all::<Purges, _>(&()).await? {
        if row.room_id == room_id {
            run(server, num).await?;
        }
    }
    Ok(())
}

fn in_background(server: &Rc<Homeserver>, num: u64) {
    let task_server = server.clone();
    server.environment.tasks.spawn(Box::pin(async move {
        if let Err(error) = run(&task_server, num).await {
            tracing::warn!(%error, "a forgotten room is not deleted yet; that goes on after the next start");
        }
    }));
}

async fn run(server: &Homeserver, num: u64) -> Result<(), StoreError> {
    // One at a time: two would write the same cursor.
    let _purging = server.purging.lock().await;
    while slice(server, num).await? {
        server.environment.clock.yield_now().await;
    }
    Ok(())
}

/// Deletes some of the room; says whether anything is left.
async fn slice(server: &Homeserver, num: u64) -> Result<bool, StoreError> {
    let Some(row) = server.database.get::<Purges>(&num).await? else { return Ok(false) };
    let mut batch = Batch::default();
    if delete_indexed(server, num, &row.room_id, &mut batch).await? == 0 {
        match row.words_done {
            false => delete_words(server, num, row, &mut batch).await?,
            true => delete_events(server, num, row, &mut batch).await?,
        }
    }
    server.database.commit(batch).await?;
    Ok(true)
}

/// Deletes rows that the room's number or id leads to; answers with how many.
async fn delete_indexed(
    server: &Homeserver,
    num: u64,
    room_id: &RoomId,
    batch: &mut Batch,
) -> Result<usize, StoreError> {
    let room_id = room_id.to_owned();
    let mut deleted = 0;
    deleted += delete_under::<Timeline, _>(server, &num, batch).await?;
    deleted += delete_under::<RoomMembers, _>(server, &num, batch).await?;
    deleted += delete_under::<Gaps, _>(server, &num, batch).await?;
    deleted += delete_under::<Relations, _>(server, &num, batch).await?;
    deleted += delete_under::<Related, _>(server, &num, batch).await?;
    deleted += delete_under::<Threads, _>(server, &num, batch).await?;
    deleted += delete_under::<StagedPdus, _>(server, &room_id, batch).await?;
    deleted += delete_under::<Receipts, _>(server, &room_id, batch).await?;
    deleted += delete_under::<PendingRedactions, _>(server, &room_id, batch).await?;
    Ok(deleted)
}

async fn delete_under<T: Table, P: Key>(
    server: &Homeserver,
    prefix: &P,
    batch: &mut Batch,
) -> Result<usize, StoreError> {
    let rows = server.database.scan_prefix::<T, _>(prefix, Direction::Ascending, ROWS_PER_SLICE).await?;
    rows.iter().for_each(|(key, _)| batch.delete::<T>(key));
    Ok(rows.len())
}

/// Looks at some more of the user directory's words and deletes those that lead into the room. Nothing leads from a room
/// to its words but the names that its members had, which are gone.
async fn delete_words(server: &Homeserver, num: u64, row: PurgeRow, batch: &mut Batch) -> Result<(), StoreError> {
    if row.word.is_none() {
        user_directory::forget_room(server, num).await?;
    }
    let words = server.database.scan_after::<UserTerms, _>(&(), row.word.as_ref(), ROWS_PER_SLICE).await?;
    let last = words.last().map(|(word, ())| word.clone());
    for (word, ()) in words.iter().filter(|((_, _, room), ())| *room == num) {
        batch.delete::<UserTerms>(word);
    }
    let words_done = words.len() < ROWS_PER_SLICE;
    batch.put::<Purges>(&num, &PurgeRow { word: last, words_done, ..row });
    Ok(())
}

/// Looks at some more of all events and deletes those of the room with their states. Nothing leads from a room to events
/// that are only part of its states, so that every event is looked at.
async fn delete_events(server: &Homeserver, num: u64, row: PurgeRow, batch: &mut Batch) -> Result<(), StoreError> {
    let end = EventId::parse(LAST_EVENT_ID).expect("an event id");
    let scan = match &row.cursor {
        Some(cursor) => server.database.scan_range::<Events>(cursor, &end, Direction::Ascending, ROWS_PER_SLICE).await,
        None => server.database.scan_prefix::<Events, _>(&(), Direction::Ascending, ROWS_PER_SLICE).await,
    };
    let events = scan?;
    let mut states = BTreeSet::new();
    for (event_id, event) in events.iter().filter(|(_, event)| event.header.room == num) {
        batch.delete::<Events>(event_id);
        server.rooms.events.forget(event_id);
        states.extend(states_of(&event.header));
    }
    let last = events.last().map(|(event_id, _)| event_id.clone());
    // The cursor itself is looked at again: alone, it says that there is nothing after it.
    let done = events.len() < ROWS_PER_SLICE || last == row.cursor;
    if done {
        states.insert(row.state);
        batch.delete::<Purges>(&num);
    } else {
        batch.put::<Purges>(&num, &PurgeRow { cursor: last, ..row });
    }
    delete_states(server, states, batch).await
}

fn states_of(header: &EventHeader) -> impl Iterator<Item = u64> {
    [header.state_before, header.state_after, header.state_current].into_iter().flatten()
}

/// Deletes states and those they are differences to, which are of the same room.
async fn delete_states(server: &Homeserver, states: BTreeSet<u64>, batch: &mut Batch) -> Result<(), StoreError> {
    let mut pending: Vec<u64> = states.into_iter().collect();
    let mut deleted = BTreeSet::new();
    while !pending.is_empty() {
        pending.retain(|id| deleted.insert(*id));
        let rows = server.database.get_many::<States>(&pending).await?;
        for (id, row) in std::mem::take(&mut pending).into_iter().zip(rows) {
            if let Some(row) = row {
                batch.delete::<States>(&id);
                pending.extend(row.base);
            }
        }
    }
    Ok(())
}
