//! Bringing the words by which users are found up to date with rooms: a few hundred users a commit, whatever a room's size.
use std::collections::{BTreeMap, BTreeSet};

use ruma::{
    OwnedUserId, UserId,
    events::{
        StateEventType,
        room::{history_visibility::HistoryVisibility, member::MembershipState},
    },
};

use super::ACCOUNTS;
use crate::{
    domain::user_terms::terms_of,
    homeserver::{
        Homeserver,
        rooms::{Standing, append::changed_members, history::visibility_at},
        states::State,
    },
    ports::{Batch, StoreError},
    storage::tables::{IndexedRoomRow, IndexedRooms, RoomMemberRow, RoomMembers, UserTerms, Users},
};

/// Users whose words are written in one commit.
const USERS_PER_SLICE: usize = 250;

/// Puts the words of an account into the batch that changes its name. Those of former names stay until somebody stumbles
/// over them.
pub fn put_account(batch: &mut Batch, user: &UserId, name: Option<&str>) {
    put(batch, user, name, ACCOUNTS);
}

fn put(batch: &mut Batch, user: &UserId, name: Option<&str>, room: u64) {
    for term in terms_of(user, name) {
        batch.put::<UserTerms>(&(term, user.to_string(), room), &());
    }
}

/// Whether a user of this name is found by the word.
pub fn leads_to(term: &str, user: &UserId, name: Option<&str>) -> bool {
    terms_of(user, name).iter().any(|known| known == term)
}

/// Brings every word up to date, and tells the numbers of the rooms that are open and that we are in.
pub async fn open_rooms(server: &Homeserver) -> Result<BTreeSet<u64>, StoreError> {
    let mut indexed = server.user_directory.0.lock().await;
    let mut rooms = match indexed.take() {
        Some(rooms) => rooms,
        None => server.database.scan_all::<IndexedRooms, _>(&()).await?.into_iter().collect(),
    };
    let caught_up = catch_up(server, &mut rooms).await;
    let resident: BTreeSet<u64> =
        server.rooms.standings().into_iter().filter(|room| room.resident).map(|room| room.num).collect();
    let open = rooms.iter().filter(|(num, row)| row.open && resident.contains(num)).map(|(num, _)| *num).collect();
    *indexed = Some(rooms);
    caught_up.map(|()| open)
}

/// Words of a room that is no longer among the rooms catch up with it no more, not even in a search that is under way.
pub async fn forget_room(server: &Homeserver, num: u64) -> Result<(), StoreError> {
    let mut indexed = server.user_directory.0.lock().await;
    if let Some(rooms) = indexed.as_mut() {
        rooms.remove(&num);
    }
    let mut batch = Batch::default();
    batch.delete::<IndexedRooms>(&num);
    server.database.commit(batch).await
}

async fn catch_up(server: &Homeserver, rooms: &mut BTreeMap<u64, IndexedRoomRow>) -> Result<(), StoreError> {
    if !rooms.contains_key(&ACCOUNTS) {
        index_accounts(server).await?;
        mark(server, rooms, ACCOUNTS, IndexedRoomRow { state: 0, open: false }).await?;
    }
    for room in server.rooms.standings() {
        let before = rooms.get(&room.num).map(|row| row.state);
        if room.resident && before != Some(room.state) {
            let row = index_room(server, &room, before).await?;
            mark(server, rooms, room.num, row).await?;
        }
    }
    Ok(())
}

/// Said after the words are there, so that what was cut short is done again.
async fn mark(
    server: &Homeserver,
    rooms: &mut BTreeMap<u64, IndexedRoomRow>,
    num: u64,
    row: IndexedRoomRow,
) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    batch.put::<IndexedRooms>(&num, &row);
    server.database.commit(batch).await?;
    rooms.insert(num, row);
    Ok(())
}

/// Once, for accounts that are older than this table.
async fn index_accounts(server: &Homeserver) -> Result<(), StoreError> {
    let mut last: Option<OwnedUserId> = None;
    loop {
        let users = server.database.scan_after::<Users, _>(&(), last.as_ref(), USERS_PER_SLICE).await?;
        let Some((user, _)) = users.last() else { return Ok(()) };
        last = Some(user.clone());
        let mut batch = Batch::default();
        for (user, row) in &users {
            put_account(&mut batch, user, row.profile.get("displayname").and_then(|name| name.as_str()));
        }
        server.database.commit(batch).await?;
    }
}

/// Puts the words of the members of other servers who joined or changed since the state `before`, or of all. Who has left
/// is noticed when somebody stumbles over the words.
async fn index_room(server: &Homeserver, room: &Standing, before: Option<u64>) -> Result<IndexedRoomRow, StoreError> {
    let now = server.rooms.states.load(room.state).await?;
    let before = match before {
        Some(state) => server.rooms.states.load(state).await.ok(),
        None => None,
    };
    match before {
        Some(before) => {
            let changed: Vec<_> = changed_members(&before, &now).into_iter().map(|user| (room.num, user)).collect();
            for slice in changed.chunks(USERS_PER_SLICE) {
                let rows = server.database.get_many::<RoomMembers>(slice).await?;
                let members = slice.iter().zip(rows).filter_map(|((_, user), row)| Some((user, row?)));
                index_members(server, room.num, members).await?;
            }
        }
        None => index_all_members(server, room.num).await?,
    }
    Ok(IndexedRoomRow { state: now.id, open: is_open(server, &now).await? })
}

async fn index_all_members(server: &Homeserver, num: u64) -> Result<(), StoreError> {
    let mut last: Option<(u64, OwnedUserId)> = None;
    loop {
        let members = server.database.scan_after::<RoomMembers, _>(&num, last.as_ref(), USERS_PER_SLICE).await?;
        let Some((key, _)) = members.last() else { return Ok(()) };
        last = Some(key.clone());
        index_members(server, num, members.iter().map(|((_, user), row)| (user, row.clone()))).await?;
        server.environment.clock.yield_now().await;
    }
}

/// Users of this server are found by their accounts: what they call themselves in one room is no matter of another.
async fn index_members<'a>(
    server: &Homeserver,
    num: u64,
    members: impl Iterator<Item = (&'a OwnedUserId, RoomMemberRow)>,
) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    for (user, row) in members {
        if row.membership == MembershipState::Join && user.server_name() != server.server_name() {
            put(&mut batch, user, row.displayname.as_deref(), num);
        }
    }
    server.database.commit(batch).await
}

/// Whether whoever wants may join the room or read it.
async fn is_open(server: &Homeserver, state: &State) -> Result<bool, StoreError> {
    if visibility_at(server, state).await? == HistoryVisibility::WorldReadable {
        return Ok(true);
    }
    let Some(event_id) = state.get(&StateEventType::RoomJoinRules, "") else { return Ok(false) };
    let event = server.rooms.events.get(event_id).await?;
    let content = event.and_then(|event| serde_json::from_str::<serde_json::Value>(event.pdu.content.get()).ok());
    Ok(content.is_some_and(|content| content["join_rule"] == "public"))
}
