//! Finding users: those of this server, those one shares a room with, and those in rooms that anybody may join or read.
//!
//! The words of names are kept in storage, in their order, and catch up with rooms when somebody searches: what changed
//! since a room was last caught up with, and no more. They only say where to look; what is told is read anew.
mod catching_up;

use std::collections::{BTreeMap, BTreeSet};

use futures::lock::Mutex;
use ruma::{OwnedMxcUri, OwnedUserId, UserId, events::room::member::MembershipState};

use super::{Homeserver, user_rows};
use crate::{
    domain::user_terms::{Fit, Search},
    ports::{Batch, StoreError},
    storage::{
        Direction,
        tables::{IndexedRoomRow, RoomMembers, UserTerms, Users},
    },
};

pub use self::catching_up::{forget_room, put_account};

/// The most users one search answers with.
pub const RESULTS_MAX: usize = 100;
/// Users that fit among whom the best are chosen.
const CANDIDATES_MAX: usize = 500;
/// Rows read at once, and for one search. Most may be of rooms that the searching user may not know of.
const ROWS_PER_SCAN: usize = 500;
const ROWS_PER_SEARCH_MAX: usize = 20_000;
/// Greater than any word that begins with what is put before it.
const AFTER_ALL_WORDS: char = char::MAX;
/// In the place of a room's number: an account of this server.
const ACCOUNTS: u64 = 0;

/// How far the words have caught up. Read from storage by the first search; held while words catch up.
#[derive(Default)]
pub struct UserDirectory(Mutex<Option<BTreeMap<u64, IndexedRoomRow>>>);

/// A user as found.
#[derive(Clone, Debug)]
pub struct Found {
    pub user_id: OwnedUserId,
    pub name: Option<String>,
    pub avatar: Option<OwnedMxcUri>,
    fit: Fit,
}

/// Users that fit, the best first and of those the ones with a name or an avatar; and whether there are more.
pub async fn search(
    server: &Homeserver,
    searching: &UserId,
    text: &str,
    limit: usize,
) -> Result<(Vec<Found>, bool), StoreError> {
    let Some(search) = Search::parse(text) else { return Ok((Vec::new(), false)) };
    let visible = visible_rooms(server, searching).await?;
    let mut found: BTreeMap<OwnedUserId, Found> = BTreeMap::new();
    let end = (format!("{}{AFTER_ALL_WORDS}", search.scanned()), String::new(), 0);
    let mut start = (search.scanned().to_owned(), String::new(), 0);
    let mut rows_read = 0;
    let complete = loop {
        let scan = server.database.scan_range::<UserTerms>(&start, &end, Direction::Ascending, ROWS_PER_SCAN);
        let keys: Vec<_> = scan.await?.into_iter().map(|(key, ())| key).collect();
        let Some((word, user, room)) = keys.last().cloned() else { break true };
        let (last, read) = (keys.len() < ROWS_PER_SCAN, keys.len());
        look_at(server, &search, &visible, keys, &mut found).await?;
        if last {
            break true;
        }
        rows_read += read;
        if rows_read >= ROWS_PER_SEARCH_MAX || found.len() >= CANDIDATES_MAX {
            break false;
        }
        start = (word, user, room + 1);
    };
    let mut found: Vec<Found> = found.into_values().collect();
    found.sort_by_key(|user| (user.fit, user.name.is_none() && user.avatar.is_none()));
    let limited = found.len() > limit || !complete;
    found.truncate(limit);
    Ok((found, limited))
}

/// The numbers of rooms whose members the user may know of: those the user is in, and the open ones.
async fn visible_rooms(server: &Homeserver, user: &UserId) -> Result<BTreeSet<u64>, StoreError> {
    let mut visible = catching_up::open_rooms(server).await?;
    let joined: BTreeSet<_> = user_rows::joined_rooms(server, user).await?.into_iter().collect();
    visible.extend(server.rooms.standings().into_iter().filter(|room| joined.contains(&room.id)).map(|room| room.num));
    visible.insert(ACCOUNTS);
    Ok(visible)
}

/// Adds the users that the rows lead to and that fit; takes away rows that say what is no longer so.
async fn look_at(
    server: &Homeserver,
    search: &Search,
    visible: &BTreeSet<u64>,
    keys: Vec<(String, String, u64)>,
    found: &mut BTreeMap<OwnedUserId, Found>,
) -> Result<(), StoreError> {
    let mut stale = Batch::default();
    let (mut accounts, mut members) = (Vec::new(), Vec::new());
    for key in keys.into_iter().filter(|key| visible.contains(&key.2)) {
        match UserId::parse(&key.1) {
            Ok(user) if key.2 == ACCOUNTS => accounts.push((key, user)),
            Ok(user) => members.push((key, user)),
            Err(_) => stale.delete::<UserTerms>(&key),
        }
    }
    let ids: Vec<_> = accounts.iter().map(|(_, user)| user.clone()).collect();
    let rows = server.database.get_many::<Users>(&ids).await?;
    let profile =
        |row: &crate::storage::tables::UserRow, field: &str| row.profile.get(field)?.as_str().map(ToOwned::to_owned);
    let known_accounts = accounts.into_iter().zip(rows).map(|(entry, row)| {
        let row = row.filter(|row| !row.deactivated);
        (entry, row.map(|row| (profile(&row, "displayname"), profile(&row, "avatar_url"))))
    });
    let ids: Vec<_> = members.iter().map(|((_, _, room), user)| (*room, user.clone())).collect();
    let rows = server.database.get_many::<RoomMembers>(&ids).await?;
    let known_members = members.into_iter().zip(rows).map(|(entry, row)| {
        let row = row.filter(|row| row.membership == MembershipState::Join);
        (entry, row.map(|row| (row.displayname, row.avatar_url)))
    });
    for ((key, user), shown) in known_accounts.chain(known_members) {
        let Some((name, avatar)) = shown.filter(|(name, _)| catching_up::leads_to(&key.0, &user, name.as_deref()))
        else {
            stale.delete::<UserTerms>(&key);
            continue;
        };
        let Some(fit) = search.fit(&user, name.as_deref()) else { continue };
        let avatar = avatar.map(OwnedMxcUri::from).filter(|avatar| avatar.is_valid());
        let better = found.get(&user).is_none_or(|other| fit < other.fit);
        if better {
            found.insert(user.clone(), Found { user_id: user, name, avatar, fit });
        }
    }
    if !stale.ops.is_empty() {
        server.database.commit(stale).await?;
    }
    Ok(())
}
