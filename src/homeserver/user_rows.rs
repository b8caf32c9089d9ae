//! What the rows of a local user say that every sync and every event asks for, read again only after a commit touched
//! their tables.
use std::{cell::RefCell, collections::BTreeSet, num::NonZeroUsize, rc::Rc};

use lru::LruCache;
use ruma::{OwnedRoomId, OwnedUserId, UserId, events::room::member::MembershipState, push::Ruleset};
use serde::Deserialize;

use super::Homeserver;
use crate::{
    ports::StoreError,
    storage::tables::{AccountData, AccountDataRow, MembershipRow, Memberships},
};

/// Users whose rows are kept in memory.
const USERS_CACHED: NonZeroUsize = NonZeroUsize::new(256).unwrap();

pub type MembershipList = Rc<Vec<(OwnedRoomId, Rc<MembershipRow>)>>;

/// Account data in short.
#[derive(Clone)]
pub struct Digest {
    /// The position of what was set last.
    pub newest: u64,
    pub push_rules: Rc<Ruleset>,
    /// Users the user does not want to hear of.
    pub ignored: Rc<BTreeSet<OwnedUserId>>,
    /// Whether the user wants no invites at all (client-server API, "Invite permission").
    pub blocks_invites: bool,
}

/// A value with the generation of its table before it was read.
type Cached<T> = LruCache<OwnedUserId, (u64, T)>;

pub struct UserRows {
    memberships: RefCell<Cached<MembershipList>>,
    digests: RefCell<Cached<Digest>>,
}

impl Default for UserRows {
    fn default() -> Self {
        Self {
            memberships: RefCell::new(LruCache::new(USERS_CACHED)),
            digests: RefCell::new(LruCache::new(USERS_CACHED)),
        }
    }
}

/// Every room the user has to do with, forgotten ones included.
pub async fn memberships(server: &Homeserver, user: &UserId) -> Result<MembershipList, StoreError> {
    let generation = server.database.generation::<Memberships>();
    if let Some((read_at, list)) = server.user_rows.memberships.borrow_mut().get(user)
        && *read_at == generation
    {
        return Ok(list.clone());
    }
    let rows = server.database.scan_all::<Memberships, _>(&user.to_owned()).await?;
    let list = Rc::new(rows.into_iter().map(|((_, room_id), row)| (room_id, Rc::new(row))).collect::<Vec<_>>());
    server.user_rows.memberships.borrow_mut().put(user.to_owned(), (generation, list.clone()));
    Ok(list)
}

pub async fn membership(
    server: &Homeserver,
    user: &UserId,
    room_id: &ruma::RoomId,
) -> Result<Option<Rc<MembershipRow>>, StoreError> {
    let list = memberships(server, user).await?;
    Ok(list.iter().find(|(id, _)| id == room_id).map(|(_, row)| row.clone()))
}

/// The rooms the user is in.
pub async fn joined_rooms(server: &Homeserver, user: &UserId) -> Result<Vec<OwnedRoomId>, StoreError> {
    let list = memberships(server, user).await?;
    Ok(list.iter().filter(|(_, row)| row.membership == MembershipState::Join).map(|(id, _)| id.clone()).collect())
}

pub async fn digest(server: &Homeserver, user: &UserId) -> Result<Digest, StoreError> {
    let generation = server.database.generation::<AccountData>();
    if let Some((read_at, digest)) = server.user_rows.digests.borrow_mut().get(user)
        && *read_at == generation
    {
        return Ok(digest.clone());
    }
    let rows = server.database.scan_all::<AccountData, _>(&user.to_owned()).await?;
    let digest = digest_of(user, rows.iter().map(|((_, room, kind), row)| (room.as_str(), kind.as_str(), row)));
    server.user_rows.digests.borrow_mut().put(user.to_owned(), (generation, digest.clone()));
    Ok(digest)
}

fn digest_of<'a>(user: &UserId, rows: impl Iterator<Item = (&'a str, &'a str, &'a AccountDataRow)>) -> Digest {
    let mut newest = 0;
    let mut push_rules = None;
    let mut ignored = BTreeSet::new();
    let mut blocks_invites = false;
    for (room, kind, row) in rows {
        newest = newest.max(row.position);
        match (room, kind) {
            ("", "m.push_rules") => push_rules = Some(row.content.clone()),
            ("", "m.ignored_user_list") => ignored = ignored_in(&row.content),
            ("", "m.invite_permission_config") => blocks_invites = row.content["default_action"] == "block",
            _ => {}
        }
    }
    Digest {
        newest,
        push_rules: Rc::new(super::push_rules::rules_in(push_rules, user)),
        ignored: Rc::new(ignored),
        blocks_invites,
    }
}

/// Clients write `m.ignored_user_list` whole: what has not its shape ignores nobody, a malformed user id only itself.
fn ignored_in(content: &serde_json::Value) -> BTreeSet<OwnedUserId> {
    #[derive(Deserialize)]
    struct Content {
        ignored_users: serde_json::Map<String, serde_json::Value>,
    }
    let users = Content::deserialize(content).map(|content| content.ignored_users).unwrap_or_default();
    users.keys().filter_map(|user| UserId::parse(user.as_str()).ok()).collect()
}
