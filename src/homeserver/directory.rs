//! The published rooms: of this server, for its own users and other servers, and those of other servers for ours.
use std::{cmp::Reverse, rc::Rc};

use ruma::{
    OwnedRoomId, OwnedServerName, RoomId, UInt, UserId,
    api::federation::directory::{get_public_rooms, get_public_rooms_filtered},
    directory::{Filter, PublicRoomsChunk, RoomNetwork, RoomTypeFilter},
    room::RoomSummary,
};
use thiserror::Error;

use super::{Homeserver, aliases, peers::PeerError, room_facts};
use crate::{
    ports::{Batch, Lane, StoreError},
    storage::{Direction, tables::PublishedRooms},
};

/// The most rooms this server publishes: each is looked at for every page.
pub const PUBLISHED_ROOMS_MAX: usize = 5_000;
/// Rooms of a page, if nothing is said of it, and at most.
const PAGE_ROOMS_DEFAULT: usize = 100;
const PAGE_ROOMS_MAX: usize = 500;
/// No further room is put into a page that has as many bytes of names and topics.
const PAGE_TEXT_MAX_BYTES: usize = 256 << 10;
/// The most bytes the page of another server may have, and the token with which it goes on.
const FOREIGN_PAGE_MAX_BYTES: usize = 1 << 20;
const FOREIGN_TOKEN_MAX_BYTES: usize = 2_048;
/// Rooms looked at before other work gets a turn.
const ROOMS_PER_SLICE: usize = 50;

#[derive(Debug, Error)]
pub enum DirectoryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no such room here")]
    NoSuchRoom,
    #[error("only who is in the room and may set its aliases may publish it or take it back")]
    Forbidden,
    #[error("this server publishes {PUBLISHED_ROOMS_MAX} rooms already, and no more")]
    Full,
    #[error("{0:?} is no token of this list")]
    UnknownToken(String),
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// Which rooms are asked for.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// 0 and nothing mean the same: as many as one page has.
    pub limit: usize,
    pub since: Option<String>,
    pub filter: Filter,
    pub network: RoomNetwork,
}

#[derive(Clone, Debug, Default)]
pub struct Page {
    pub chunk: Vec<PublicRoomsChunk>,
    pub next_batch: Option<String>,
    pub prev_batch: Option<String>,
    pub total: Option<UInt>,
}

pub async fn is_published(server: &Homeserver, room_id: &RoomId) -> Result<bool, DirectoryError> {
    server.rooms.get(room_id).await?.ok_or(DirectoryError::NoSuchRoom)?;
    Ok(server.database.get::<PublishedRooms>(&room_id.to_owned()).await?.is_some())
}

/// Publishes a room or takes it back.
pub async fn publish(
    server: &Homeserver,
    user: &UserId,
    room_id: &RoomId,
    published: bool,
) -> Result<(), DirectoryError> {
    let room = server.rooms.get(room_id).await?.ok_or(DirectoryError::NoSuchRoom)?;
    if !aliases::may_set_aliases(server, &room, user).await? {
        return Err(DirectoryError::Forbidden);
    }
    let mut batch = Batch::strict();
    if published {
        check_room_for_one(server, Some(room_id)).await?;
        batch.put::<PublishedRooms>(&room.id, &());
    } else {
        batch.delete::<PublishedRooms>(&room.id);
    }
    Ok(server.database.commit(batch).await?)
}

/// Refuses to publish one more room than there may be.
pub async fn check_room_for_one(server: &Homeserver, room_id: Option<&RoomId>) -> Result<(), DirectoryError> {
    let published = published_ids(server).await?;
    let full = published.len() >= PUBLISHED_ROOMS_MAX && !published.iter().any(|id| Some(&**id) == room_id);
    if full { Err(DirectoryError::Full) } else { Ok(()) }
}

async fn published_ids(server: &Homeserver) -> Result<Vec<OwnedRoomId>, StoreError> {
    let scan = server.database.scan_prefix::<PublishedRooms, _>(&(), Direction::Ascending, PUBLISHED_ROOMS_MAX);
    Ok(scan.await?.into_iter().map(|(room_id, ())| room_id).collect())
}

/// A page of another server's rooms, or of ours if the server named is this one.
pub async fn page_of(
    server: &Rc<Homeserver>,
    whose: Option<&OwnedServerName>,
    query: Query,
) -> Result<Page, DirectoryError> {
    match whose {
        Some(other) if other != server.server_name() => foreign_page(server, other, query).await,
        _ => own_page(server, query).await,
    }
}

/// A place in the list, which is in the order of this key: the largest room first.
type Place = (Reverse<u64>, OwnedRoomId);

/// A token: after or before a place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Since {
    After(Place),
    Before(Place),
}

impl Since {
    fn parse(token: &str) -> Option<Self> {
        let (direction, rest) = token.split_at_checked(1)?;
        let (members, room_id) = rest.split_once('_')?;
        let place = (Reverse(members.parse().ok()?), RoomId::parse(room_id).ok()?);
        match direction {
            "n" => Some(Self::After(place)),
            "p" => Some(Self::Before(place)),
            _ => None,
        }
    }

    fn write(&self) -> String {
        match self {
            Self::After((Reverse(members), room_id)) => format!("n{members}_{room_id}"),
            Self::Before((Reverse(members), room_id)) => format!("p{members}_{room_id}"),
        }
    }
}

/// A page of the rooms published here that we are in, the largest first.
pub async fn own_page(server: &Homeserver, query: Query) -> Result<Page, DirectoryError> {
    let since = match &query.since {
        Some(token) => Some(Since::parse(token).ok_or_else(|| DirectoryError::UnknownToken(token.clone()))?),
        None => None,
    };
    if matches!(query.network, RoomNetwork::ThirdParty(_)) {
        // There are no bridges here, so their networks have no rooms.
        return Ok(Page { total: Some(UInt::from(0u32)), ..Page::default() });
    }
    let listed = listed(server, &query.filter).await?;
    let end = match &since {
        Some(Since::Before(place)) => listed.partition_point(|(other, _)| other < place),
        _ => listed.len(),
    };
    let limit = page_size(query.limit);
    let begin = match &since {
        Some(Since::After(place)) => listed.partition_point(|(other, _)| other <= place),
        Some(Since::Before(_)) => end.saturating_sub(limit),
        None => 0,
    };
    let mut text_bytes = 0;
    let shown = listed[begin..end].iter().take(limit).take_while(|(_, facts)| {
        let fits = text_bytes < PAGE_TEXT_MAX_BYTES;
        text_bytes += [&facts.name, &facts.topic].into_iter().flatten().map(String::len).sum::<usize>();
        fits
    });
    let chunk: Vec<PublicRoomsChunk> = shown.map(|(_, facts)| PublicRoomsChunk::from((**facts).clone())).collect();
    let last = begin + chunk.len();
    Ok(Page {
        next_batch: (last < listed.len() && last > 0).then(|| Since::After(listed[last - 1].0.clone()).write()),
        prev_batch: (begin > 0 && begin < listed.len()).then(|| Since::Before(listed[begin].0.clone()).write()),
        total: UInt::try_from(listed.len()).ok(),
        chunk,
    })
}

/// The rooms that fit, in the order of the list.
async fn listed(server: &Homeserver, filter: &Filter) -> Result<Vec<(Place, Rc<RoomSummary>)>, StoreError> {
    let term = filter.generic_search_term.as_ref().map(|term| term.trim().to_lowercase());
    let mut listed = Vec::new();
    for (index, room_id) in published_ids(server).await?.into_iter().enumerate() {
        if index % ROOMS_PER_SLICE == ROOMS_PER_SLICE - 1 {
            server.environment.clock.yield_now().await;
        }
        let Some(room) = room_facts::resident(server, &room_id).await? else { continue };
        let facts = room_facts::of_room(server, &room).await?;
        if fits(&facts, term.as_deref(), &filter.room_types) {
            listed.push(((Reverse(facts.num_joined_members.into()), room_id), facts));
        }
    }
    listed.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(listed)
}

fn fits(facts: &RoomSummary, term: Option<&str>, types: &[RoomTypeFilter]) -> bool {
    let kind = RoomTypeFilter::from(facts.room_type.as_ref().map(|kind| kind.to_string()));
    if !types.is_empty() && !types.contains(&kind) {
        return false;
    }
    let alias = facts.canonical_alias.as_ref().map(|alias| alias.as_str());
    let texts = [facts.name.as_deref(), facts.topic.as_deref(), alias];
    term.is_none_or(|term| texts.into_iter().flatten().any(|text| text.to_lowercase().contains(term)))
}

fn page_size(limit: usize) -> usize {
    if limit == 0 { PAGE_ROOMS_DEFAULT } else { limit.min(PAGE_ROOMS_MAX) }
}

/// What another server publishes, and no more of it than was asked for.
async fn foreign_page(server: &Rc<Homeserver>, other: &OwnedServerName, query: Query) -> Result<Page, DirectoryError> {
    let limit = page_size(query.limit);
    let mut page = if query.filter.is_empty() {
        let mut request = get_public_rooms::v1::Request::new();
        request.limit = UInt::try_from(limit).ok();
        request.since = query.since;
        request.room_network = query.network;
        let answer = server.ask_for_at_most(other, Lane::Queries, request, FOREIGN_PAGE_MAX_BYTES).await?;
        let total = answer.total_room_count_estimate;
        Page { chunk: answer.chunk, next_batch: answer.next_batch, prev_batch: answer.prev_batch, total }
    } else {
        let mut request = get_public_rooms_filtered::v1::Request::new();
        request.limit = UInt::try_from(limit).ok();
        request.since = query.since;
        request.filter = query.filter;
        request.room_network = query.network;
        let answer = server.ask_for_at_most(other, Lane::Queries, request, FOREIGN_PAGE_MAX_BYTES).await?;
        let total = answer.total_room_count_estimate;
        Page { chunk: answer.chunk, next_batch: answer.next_batch, prev_batch: answer.prev_batch, total }
    };
    page.chunk.truncate(limit);
    for token in [&mut page.next_batch, &mut page.prev_batch] {
        token.take_if(|token| token.len() > FOREIGN_TOKEN_MAX_BYTES);
    }
    Ok(page)
}
