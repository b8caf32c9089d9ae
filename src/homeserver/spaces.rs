//! Spaces: a tree of rooms, walked a page at a time for a user, and one level of it told to other servers.
pub mod foreign;

use std::{cell::RefCell, collections::BTreeSet, num::NonZeroUsize, rc::Rc};

use futures::{
    FutureExt,
    future::{LocalBoxFuture, Shared},
};
use lru::LruCache;
use rpds::{List, RedBlackTreeSet};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId,
    events::{StateEventType, space::child::HierarchySpaceChildEvent},
    room::{RoomSummary, RoomType},
    serde::Raw,
};
use serde_json::value::{RawValue as RawJsonValue, to_raw_value};
use thiserror::Error;

use super::{Homeserver, room_facts, rooms::Room, sessions::random_token};
use crate::{domain::room::space::Child, ports::StoreError};

/// Rooms of a page, if nothing is said of it, and at most.
const PAGE_ROOMS_DEFAULT: usize = 50;
const PAGE_ROOMS_MAX: usize = 100;
/// No further room is put into a page that has as many bytes of children.
const PAGE_CHILDREN_MAX_BYTES: usize = 512 << 10;
/// Rooms looked at for one page, most of which may be none that the user may know of.
const PAGE_VISITS_MAX: usize = 500;
/// Requests to other servers for one page, and how long a page waits for them.
const PAGE_ASKS_MAX: usize = 30;
const PAGE_PATIENCE_MS: u64 = 15_000;
/// How deep a walk goes.
const DEPTH_MAX: u64 = 20;
/// The most rooms of one walk: spaces may name each other without end.
const WALK_ROOMS_MAX: usize = 2_000;
/// Children of one space that are looked at, the first of them.
pub const CHILDREN_MAX: usize = 500;
/// Children of one space of which another server is told.
const CHILDREN_TOLD_MAX: usize = 100;
/// Walks that can be gone on with, and for how long.
const WALKS_KEPT: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");
const WALK_KEPT_MS: u64 = 10 * 60 * 1000;

#[derive(Debug, Error)]
pub enum SpaceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no such room, or none that you may look at")]
    Forbidden,
    #[error("a page has at least one room")]
    NoLimit,
    #[error("the token is none of this walk through this space, or it is too old")]
    UnknownToken,
    #[error("suggested_only and max_depth cannot change from page to page")]
    Changed,
}

/// A child and the event that names it, stripped.
#[derive(Clone, Debug)]
pub struct ChildEvent {
    pub child: Child,
    pub event: Raw<HierarchySpaceChildEvent>,
}

impl ChildEvent {
    /// From the fields of an `m.space.child` event, whoever said them.
    pub fn new(
        state_key: &str,
        sender: &UserId,
        content: &RawJsonValue,
        at: MilliSecondsSinceUnixEpoch,
    ) -> Option<Self> {
        let child = Child::parse(state_key, content.get(), at)?;
        let event = serde_json::json!({
            "type": "m.space.child", "state_key": state_key, "sender": sender, "content": content, "origin_server_ts": at,
        });
        Some(Self { child, event: Raw::from_json(to_raw_value(&event).expect("JSON values serialize")) })
    }
}

/// A room as a walk meets it.
#[derive(Clone, Debug)]
pub struct SpaceRoom {
    pub facts: Rc<RoomSummary>,
    /// In their order; none unless the room is a space.
    pub children: Vec<ChildEvent>,
}

/// What is asked of a walk. The same for all its pages, `limit` excepted.
#[derive(Clone, Debug)]
pub struct Tour {
    pub user: OwnedUserId,
    pub root: OwnedRoomId,
    pub max_depth: Option<u64>,
    pub suggested_only: bool,
}

/// A room to be met.
#[derive(Clone)]
struct Step {
    room_id: OwnedRoomId,
    via: Rc<[OwnedServerName]>,
    depth: u64,
    /// What the server that told us of its parent says of it.
    told: Option<Rc<RoomSummary>>,
}

/// Where a walk stands. Shares most of its memory with where it stood a page earlier.
#[derive(Clone)]
struct Walk {
    tour: Rc<Tour>,
    ahead: List<Step>,
    seen: RedBlackTreeSet<OwnedRoomId>,
    since_ms: u64,
}

/// Walks under way, by the token of their next page. Not stored: after a restart a client begins anew.
pub struct Walks(RefCell<LruCache<String, Walk>>);

impl Default for Walks {
    fn default() -> Self {
        Self(RefCell::new(LruCache::new(WALKS_KEPT)))
    }
}

/// One page of a walk through a space, depth first; and the token of the next, if there is more.
pub async fn walk(
    server: &Rc<Homeserver>,
    tour: Tour,
    from: Option<&str>,
    limit: Option<u64>,
) -> Result<(Vec<SpaceRoom>, Option<String>), SpaceError> {
    let limit = match limit {
        Some(0) => return Err(SpaceError::NoLimit),
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX).min(PAGE_ROOMS_MAX),
        None => PAGE_ROOMS_DEFAULT,
    };
    let mut walk = match from {
        Some(token) => resume(server, &tour, token)?,
        None => begin(server, tour),
    };
    let first = from.is_none();
    let mut budget = Budget::new(server);
    let mut rooms: Vec<SpaceRoom> = Vec::new();
    let mut bytes = 0;
    while rooms.len() < limit && bytes < PAGE_CHILDREN_MAX_BYTES && budget.visits > 0 && !budget.is_spent() {
        let Some(step) = walk.next() else { break };
        budget.visits -= 1;
        let met = meet(server, &mut walk, &step, &mut budget).await?;
        match met {
            Some(room) => {
                bytes += room.children.iter().map(|child| child.event.json().get().len()).sum::<usize>();
                rooms.push(room);
            }
            None if first && rooms.is_empty() => return Err(SpaceError::Forbidden),
            None => {}
        }
    }
    let next = walk.has_more().then(|| {
        let token = random_token(&*server.environment.entropy);
        server.walks.0.borrow_mut().put(token.clone(), walk);
        token
    });
    Ok((rooms, next))
}

fn begin(server: &Homeserver, tour: Tour) -> Walk {
    let root = Step { room_id: tour.root.clone(), via: Rc::new([]), depth: 0, told: None };
    Walk {
        tour: Rc::new(tour),
        ahead: List::new().push_front(root),
        seen: RedBlackTreeSet::new(),
        since_ms: server.environment.clock.now_ms(),
    }
}

fn resume(server: &Homeserver, tour: &Tour, token: &str) -> Result<Walk, SpaceError> {
    // It stays there: a client that did not hear the answer asks again.
    let walk = server.walks.0.borrow_mut().get(token).cloned().ok_or(SpaceError::UnknownToken)?;
    let age_ms = server.environment.clock.now_ms().saturating_sub(walk.since_ms);
    if age_ms > WALK_KEPT_MS || (&walk.tour.user, &walk.tour.root) != (&tour.user, &tour.root) {
        return Err(SpaceError::UnknownToken);
    }
    if (walk.tour.max_depth, walk.tour.suggested_only) != (tour.max_depth, tour.suggested_only) {
        return Err(SpaceError::Changed);
    }
    Ok(walk)
}

impl Walk {
    /// The next room that was not met before.
    fn next(&mut self) -> Option<Step> {
        while self.has_more() {
            let step = self.ahead.first()?.clone();
            self.ahead.drop_first_mut();
            if !self.seen.contains(&step.room_id) {
                self.seen.insert_mut(step.room_id.clone());
                return Some(step);
            }
        }
        None
    }

    fn has_more(&self) -> bool {
        self.seen.size() < WALK_ROOMS_MAX && !self.ahead.is_empty()
    }

    /// Puts the children of a room first, in their order.
    fn turn_into(&mut self, parent: &Step, room: &SpaceRoom, told: Option<&foreign::Told>) {
        if parent.depth >= self.tour.max_depth.unwrap_or(DEPTH_MAX).min(DEPTH_MAX) {
            return;
        }
        for ChildEvent { child, .. } in room.children.iter().rev() {
            let inaccessible = told.is_some_and(|told| told.inaccessible.contains(&child.room_id));
            if self.seen.contains(&child.room_id) || inaccessible {
                continue;
            }
            self.ahead.push_front_mut(Step {
                room_id: child.room_id.clone(),
                via: child.via.clone().into(),
                depth: parent.depth + 1,
                told: told.and_then(|told| told.children.get(&child.room_id).cloned()),
            });
        }
    }
}

/// What one page may still cost.
pub struct Budget {
    visits: usize,
    asks: usize,
    patience: Shared<LocalBoxFuture<'static, ()>>,
}

impl Budget {
    fn new(server: &Homeserver) -> Self {
        let patience = server.environment.clock.sleep_ms(PAGE_PATIENCE_MS).shared();
        Self { visits: PAGE_VISITS_MAX, asks: PAGE_ASKS_MAX, patience }
    }

    /// For one summary, which takes a few requests at most.
    pub fn for_one(server: &Homeserver) -> Self {
        Self { visits: 1, ..Self::new(server) }
    }

    fn is_spent(&self) -> bool {
        self.asks == 0 || self.patience.peek().is_some()
    }
}

/// The room of a step as the user may see it, with its children ahead; `None` if the user may not know of it or nobody
/// tells us.
async fn meet(
    server: &Rc<Homeserver>,
    walk: &mut Walk,
    step: &Step,
    budget: &mut Budget,
) -> Result<Option<SpaceRoom>, StoreError> {
    let tour = walk.tour.clone();
    if let Some(room) = room_facts::resident(server, &step.room_id).await? {
        let facts = room_facts::of_room(server, &room).await?;
        if !room_facts::user_may_know(server, &room, &facts, &tour.user).await? {
            return Ok(None);
        }
        let children = children_of(server, &room, &facts, tour.suggested_only).await?;
        let room = SpaceRoom { facts, children };
        walk.turn_into(step, &room, None);
        return Ok(Some(room));
    }
    let hint = step.told.clone();
    if let Some(facts) = hint.clone().filter(|facts| facts.room_type != Some(RoomType::Space)) {
        let may = foreign::user_may_know(server, &facts, &tour.user).await?;
        return Ok(may.then(|| SpaceRoom { facts, children: Vec::new() }));
    }
    let told = foreign::ask(server, &step.room_id, &step.via, tour.suggested_only, budget).await?;
    let Some(facts) = told.as_ref().map(|told| told.room.facts.clone()).or(hint) else { return Ok(None) };
    if !foreign::user_may_know(server, &facts, &tour.user).await? {
        return Ok(None);
    }
    let children = told.as_ref().map(|told| told.room.children.clone()).unwrap_or_default();
    let room = SpaceRoom { facts, children };
    walk.turn_into(step, &room, told.as_deref());
    Ok(Some(room))
}

/// The children of a room we are in, in their order; none unless it is a space.
async fn children_of(
    server: &Homeserver,
    room: &Room,
    facts: &RoomSummary,
    suggested_only: bool,
) -> Result<Vec<ChildEvent>, StoreError> {
    if facts.room_type != Some(RoomType::Space) {
        return Ok(Vec::new());
    }
    let ids: Vec<_> = {
        let live = room.live();
        let from = (StateEventType::SpaceChild, String::new());
        let entries = live.state.entries.range(from..).take_while(|(key, _)| key.0 == StateEventType::SpaceChild);
        entries.map(|(_, event_id)| event_id.clone()).collect()
    };
    let events = server.rooms.events.get_many(&ids).await?;
    let parse = |pdu: &crate::domain::event::Pdu| {
        ChildEvent::new(pdu.state_key.as_deref()?, &pdu.sender, &pdu.content, pdu.origin_server_ts)
    };
    let children = events.into_iter().flatten().filter_map(|event| parse(&event.pdu)).collect();
    Ok(in_order(children, suggested_only))
}

/// Sorts children and leaves out what is too much, or not suggested where only that is wanted.
pub fn in_order(mut children: Vec<ChildEvent>, suggested_only: bool) -> Vec<ChildEvent> {
    children.retain(|child| !suggested_only || child.child.suggested);
    children.sort_by(|a, b| a.child.compare(&b.child));
    children.truncate(CHILDREN_MAX);
    children
}

/// A room and its children as another server may know them.
pub struct OneLevel {
    pub room: SpaceRoom,
    pub children: Vec<Rc<RoomSummary>>,
    /// Children that we know and the other server may not.
    pub inaccessible: Vec<OwnedRoomId>,
}

/// What `origin` is told of a room here: nobody else is asked. `None` if it is not ours to tell, or not the other's to know.
pub async fn one_level(
    server: &Homeserver,
    room_id: &RoomId,
    suggested_only: bool,
    origin: &ServerName,
) -> Result<Option<OneLevel>, StoreError> {
    let Some(room) = room_facts::resident(server, room_id).await? else { return Ok(None) };
    let facts = room_facts::of_room(server, &room).await?;
    if !room_facts::server_may_know(server, &room, &facts, origin).await? {
        return Ok(None);
    }
    let children = children_of(server, &room, &facts, suggested_only).await?;
    let mut level = OneLevel { room: SpaceRoom { facts, children }, children: Vec::new(), inaccessible: Vec::new() };
    let mut named = BTreeSet::from([room_id.to_owned()]);
    for ChildEvent { child, .. } in level.room.children.iter().take(CHILDREN_TOLD_MAX) {
        if !named.insert(child.room_id.clone()) {
            continue;
        }
        let Some(room) = room_facts::resident(server, &child.room_id).await? else { continue };
        let facts = room_facts::of_room(server, &room).await?;
        if room_facts::server_may_know(server, &room, &facts, origin).await? {
            level.children.push(facts);
        } else {
            level.inaccessible.push(child.room_id.clone());
        }
    }
    Ok(Some(level))
}
