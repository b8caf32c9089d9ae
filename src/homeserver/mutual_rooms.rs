//! The rooms two users are both in.
use std::collections::BTreeMap;

use ruma::{OwnedRoomId, RoomId, UserId, events::room::member::MembershipState};
use thiserror::Error;

use super::{Homeserver, user_rows};
use crate::{ports::StoreError, storage::tables::RoomMembers};

/// Rooms of a page.
const PAGE_ROOMS_MAX: usize = 100;

#[derive(Debug, Error)]
pub enum MutualRoomsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("you share all your rooms with yourself")]
    Oneself,
    #[error("that is no user id as the specification allows them")]
    BadUserId,
    #[error("the token is none of this list")]
    UnknownToken,
}

pub struct MutualRooms {
    /// Of all pages.
    pub count: usize,
    pub joined: Vec<OwnedRoomId>,
    pub next_batch: Option<String>,
}

/// A page of the rooms that both users are joined to, in the order of their ids.
pub async fn of_users(
    server: &Homeserver,
    user: &UserId,
    other: &UserId,
    from: Option<&str>,
) -> Result<MutualRooms, MutualRoomsError> {
    if user == other {
        return Err(MutualRoomsError::Oneself);
    }
    other.validate_historical().map_err(|_| MutualRoomsError::BadUserId)?;
    let from = from.map(RoomId::parse).transpose().map_err(|_| MutualRoomsError::UnknownToken)?;
    let mine = user_rows::joined_rooms(server, user).await?;
    let nums: BTreeMap<_, _> = server.rooms.standings().into_iter().map(|room| (room.id, room.num)).collect();
    let mut mine: Vec<_> = mine.into_iter().filter_map(|id| Some((*nums.get(&id)?, id))).collect();
    mine.sort_by(|(_, a), (_, b)| a.cmp(b));
    let keys: Vec<_> = mine.iter().map(|(num, _)| (*num, other.to_owned())).collect();
    let rows = server.database.get_many::<RoomMembers>(&keys).await?;
    let joined = |row: &crate::storage::tables::RoomMemberRow| row.membership == MembershipState::Join;
    let shared = mine.into_iter().zip(rows).filter(|(_, row)| row.as_ref().is_some_and(joined));
    let shared: Vec<OwnedRoomId> = shared.map(|((_, id), _)| id).collect();
    let count = shared.len();
    let mut rest = shared.into_iter().skip_while(|id| from.as_ref().is_some_and(|from| id <= from));
    let joined: Vec<_> = rest.by_ref().take(PAGE_ROOMS_MAX).collect();
    let next_batch = rest.next().and_then(|_| joined.last().map(ToString::to_string));
    Ok(MutualRooms { count, joined, next_batch })
}
