//! The events that relate to an event, page by page (client-server API, "Relationships API").
use std::{collections::BTreeSet, rc::Rc};

use futures::future::try_join_all;
use ruma::{EventId, OwnedEventId, RoomId, UserId};

use super::{Child, catch_up, children_in, related};
use crate::{
    domain::sync_token::{PageToken, TimelineToken},
    homeserver::{
        Homeserver,
        messages::order_of,
        room_view::{ReadError, RoomView},
        rooms::Room,
        user_rows,
        visibility::{Eyes, Seen},
    },
    ports::StoreError,
    storage::Direction,
};

/// Children of a page when nothing is said, and at most.
pub const CHILDREN_PER_PAGE_DEFAULT: usize = 50;
pub const CHILDREN_PER_PAGE_MAX: usize = 500;
/// How many steps of relations are followed.
pub const RECURSION_DEPTH: u32 = 3;
/// The most events whose own children are looked for.
const PARENTS_MAX: usize = 2_000;
/// Children looked at for one page, however many of them are hidden.
const CHILDREN_LOOKED_AT_MAX: usize = 2_000;

/// Which children are asked for.
pub struct Asked<'a> {
    pub rel_type: Option<&'a str>,
    /// The type of the children.
    pub kind: Option<&'a str>,
    pub from: Option<PageToken>,
    pub to: Option<PageToken>,
    pub direction: Direction,
    /// `None`: as many as a page has by default.
    pub limit: Option<usize>,
    /// Children of children too.
    pub recurse: bool,
}

pub struct Children {
    pub events: Vec<Seen>,
    /// Where to go on; `None` at the end.
    pub next: Option<TimelineToken>,
    /// Where the page before this one ends; `None` for the first.
    pub previous: Option<TimelineToken>,
}

/// One page of the children of an event that the user may see; `NoSuchEvent` if it may not.
pub async fn page(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &UserId,
    event_id: &EventId,
    asked: Asked<'_>,
) -> Result<Children, ReadError> {
    let view = RoomView::open(server, room_id, user).await.map_err(|error| match error {
        // Of this endpoint the specification knows no other answer to those who may not look.
        ReadError::NotInRoom => ReadError::NoSuchEvent,
        other => other,
    })?;
    let parent = view.event(server, user, event_id).await?.event.pdu.event_id.clone();
    catch_up::whole(server, &view.room).await?;
    let parents = match asked.recurse {
        true => family(server, &view.room, parent, &asked).await?,
        false => vec![parent],
    };
    let eyes = Eyes::open(server, &view.room, user).await?;
    let ignored = user_rows::digest(server, user).await?.ignored;
    let limit = asked.limit.unwrap_or(CHILDREN_PER_PAGE_DEFAULT).clamp(1, CHILDREN_PER_PAGE_MAX);
    let backward = asked.direction == Direction::Descending;
    let (from, to) = (asked.from.map(order_of), asked.to.map(order_of));
    let (mut after, mut through) = match backward {
        true => (to.unwrap_or(i64::MIN), from.unwrap_or(i64::MAX)),
        false => (from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX)),
    };
    let lists = lists(server, &view.room, &parents, &asked).await?;
    let mut page = Children { events: Vec::new(), next: None, previous: from.map(TimelineToken) };
    let mut looked_at = 0;
    loop {
        // One more than needed says whether anything is left.
        let wanted = limit - page.events.len() + 1;
        let children = merged(server, &view.room, &lists, (after, through), &asked, wanted).await?;
        let left = children.len() == wanted;
        for (order, child) in children.into_iter().take(wanted - 1) {
            looked_at += 1;
            match backward {
                true => through = order - 1,
                false => after = order,
            }
            if ignored.contains(&child.sender) {
                continue;
            }
            if let Some(event) = server.rooms.events.get(&child.event_id).await?
                && let Some(seen) = eyes.look(event).await?
            {
                page.events.push(seen);
            }
        }
        if !left {
            return Ok(page);
        }
        if page.events.len() >= limit || looked_at >= CHILDREN_LOOKED_AT_MAX {
            page.next = Some(TimelineToken(if backward { through } else { after }));
            return Ok(page);
        }
    }
}

/// A parent and a type of relation to it.
type List = (OwnedEventId, String);

/// The lists of the index in which the children asked for are.
async fn lists(
    server: &Homeserver,
    room: &Room,
    parents: &[OwnedEventId],
    asked: &Asked<'_>,
) -> Result<Vec<List>, StoreError> {
    let rows = related(server, room, parents).await?;
    let with_rows = parents.iter().zip(rows).filter_map(|(parent, row)| Some((parent, row?)));
    let lists = with_rows.flat_map(|(parent, row)| row.kinds.into_keys().map(move |kind| (parent.clone(), kind)));
    Ok(lists.filter(|(_, rel_type)| asked.rel_type.is_none_or(|wanted| wanted == rel_type)).collect())
}

/// The first `limit` children of all lists in the direction asked for.
async fn merged(
    server: &Homeserver,
    room: &Room,
    lists: &[List],
    span: (i64, i64),
    asked: &Asked<'_>,
    limit: usize,
) -> Result<Vec<Child>, StoreError> {
    let read = lists.iter().map(|list| fitting(server, room, list, span, asked, limit));
    let mut children: Vec<Child> = try_join_all(read).await?.into_iter().flatten().collect();
    children.sort_unstable_by_key(|(order, _)| *order);
    if asked.direction == Direction::Descending {
        children.reverse();
    }
    children.truncate(limit);
    Ok(children)
}

/// The first `limit` children of one list that are of the type asked for.
async fn fitting(
    server: &Homeserver,
    room: &Room,
    (parent, rel_type): &List,
    (mut after, mut through): (i64, i64),
    asked: &Asked<'_>,
    limit: usize,
) -> Result<Vec<Child>, StoreError> {
    let mut found = Vec::new();
    loop {
        let of = (parent, rel_type.as_str());
        let rows = children_in(server, room, of, (after, through), asked.direction, limit).await?;
        let whole = rows.len() < limit;
        let last = rows.last().map(|(order, _)| *order);
        found.extend(rows.into_iter().filter(|(_, row)| asked.kind.is_none_or(|kind| kind == row.kind)));
        match last {
            Some(last) if !whole && found.len() < limit => match asked.direction {
                Direction::Descending => through = last - 1,
                Direction::Ascending => after = last,
            },
            _ => return Ok(found),
        }
    }
}

/// The event and those that relate to it by one or more of the relations asked for, of which children are wanted too.
async fn family(
    server: &Homeserver,
    room: &Room,
    event_id: OwnedEventId,
    asked: &Asked<'_>,
) -> Result<Vec<OwnedEventId>, StoreError> {
    let mut known = BTreeSet::from([event_id.clone()]);
    let mut generation = vec![event_id];
    let mut family = generation.clone();
    for _ in 1..RECURSION_DEPTH {
        let lists = lists(server, room, &generation, asked).await?;
        let room_left = PARENTS_MAX - family.len();
        let newest = Asked { direction: Direction::Descending, ..*asked };
        let children = merged(server, room, &lists, (i64::MIN, i64::MAX), &newest, room_left).await?;
        generation = children.into_iter().map(|(_, row)| row.event_id).filter(|id| known.insert(id.clone())).collect();
        if generation.is_empty() {
            break;
        }
        family.extend(generation.iter().cloned());
        if family.len() >= PARENTS_MAX {
            break;
        }
    }
    Ok(family)
}
