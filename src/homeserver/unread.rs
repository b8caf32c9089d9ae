//! Unread notifications of local users: decided by their push rules when an event arrives, taken back by receipts and by
//! what they say themselves.
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    num::NonZeroUsize,
    rc::Rc,
};

use lru::LruCache;
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId,
    events::{
        StateEventType,
        room::{
            member::MembershipState,
            power_levels::{RoomPowerLevels, RoomPowerLevelsEventContent, RoomPowerLevelsSource},
        },
    },
    push::Action,
    state_res::events::RoomCreateEvent,
};
use serde::Deserialize;

use super::{
    Homeserver, client_event,
    events::StoredEvent,
    notifications,
    rooms::append::{Append, AppendError},
    user_rows,
};
use crate::{
    domain::{
        event::{
            Pdu, SharedPdu,
            relation::{Relation, THREAD},
        },
        push_rules::{self, Event, Listener, SenderPower},
    },
    ports::{Batch, StoreError},
    storage::tables::{NotificationRow, Notifications},
};

/// The most unread notifications kept of one room for one user; what comes after is not counted until some are read.
pub const UNREAD_PER_ROOM_MAX: usize = 10_000;
/// Rooms, once for each user in them, whose unread notifications are kept in memory.
const ROOMS_CACHED: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
/// Times a read is repeated because something changed meanwhile, before its result is used but not kept.
const LOAD_ATTEMPTS_MAX: usize = 3;

/// Relations followed from an event to the thread it belongs to.
const THREAD_HOPS_MAX: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    highlight: bool,
    thread: Option<OwnedEventId>,
}

/// Unread notifications of one user in one room by their order in the timeline.
type Entries = BTreeMap<i64, Entry>;

/// Which part of a room something was read in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Room,
    /// One thread, or the main timeline if there is none.
    Thread(Option<OwnedEventId>),
}

impl Scope {
    fn covers(&self, entry: &Entry) -> bool {
        match self {
            Self::Room => true,
            Self::Thread(thread) => entry.thread == *thread,
        }
    }
}

/// A change of unread notifications that takes effect in memory once its batch is committed.
#[derive(Debug)]
pub struct Change {
    user: OwnedUserId,
    kind: ChangeKind,
}

#[derive(Debug)]
enum ChangeKind {
    Added { order: i64, entry: Entry },
    Removed { order: i64 },
    Read { through: i64, scope: Scope },
}

impl Change {
    /// Whose notifications change.
    pub fn user(&self) -> &UserId {
        &self.user
    }
}

impl ChangeKind {
    fn apply(&self, entries: &mut Entries) {
        match self {
            Self::Added { order, entry } => drop(entries.insert(*order, entry.clone())),
            Self::Removed { order } => drop(entries.remove(order)),
            Self::Read { through, scope } => entries.retain(|order, entry| order > through || !scope.covers(entry)),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub notifications: u32,
    pub highlights: u32,
}

/// The unread notifications in memory.
pub struct Unread {
    rooms: RefCell<LruCache<(OwnedUserId, OwnedRoomId), Rc<Entries>>>,
    /// Counts changes, so that a read under way does not keep what is no longer true.
    changes: Cell<u64>,
}

impl Default for Unread {
    fn default() -> Self {
        Self { rooms: RefCell::new(LruCache::new(ROOMS_CACHED)), changes: Cell::default() }
    }
}

impl Unread {
    /// Takes over what a commit has written.
    pub fn adopt(&self, room_id: &RoomId, changes: Vec<Change>) {
        let mut rooms = self.rooms.borrow_mut();
        for Change { user, kind } in changes {
            self.changes.set(self.changes.get() + 1);
            if let Some(entries) = rooms.get_mut(&(user, room_id.to_owned())) {
                kind.apply(Rc::make_mut(entries));
            }
        }
    }
}

/// Unread notifications of a user in a room by thread; the main timeline is `None`.
pub async fn counts(
    server: &Homeserver,
    user: &UserId,
    room_id: &RoomId,
) -> Result<BTreeMap<Option<OwnedEventId>, Counts>, StoreError> {
    let mut counts: BTreeMap<Option<OwnedEventId>, Counts> = BTreeMap::new();
    for entry in load(server, user, room_id).await?.values() {
        let counts = counts.entry(entry.thread.clone()).or_default();
        counts.notifications += 1;
        counts.highlights += u32::from(entry.highlight);
    }
    Ok(counts)
}

/// Whether the user was notified of what is at `order` in the timeline and has not read it.
pub async fn is_unread(server: &Homeserver, user: &UserId, room_id: &RoomId, order: i64) -> Result<bool, StoreError> {
    Ok(load(server, user, room_id).await?.contains_key(&order))
}

/// Puts into `batch` that `user` has read the room through `through`. Adopt the change once it is committed.
pub async fn read_through(
    server: &Homeserver,
    user: &UserId,
    room_id: &RoomId,
    through: i64,
    scope: Scope,
    batch: &mut Batch,
) -> Result<Change, StoreError> {
    let entries = load(server, user, room_id).await?;
    for (order, _) in entries.range(..=through).filter(|(_, entry)| scope.covers(entry)) {
        batch.delete::<Notifications>(&(user.to_owned(), room_id.to_owned(), *order));
    }
    Ok(Change { user: user.to_owned(), kind: ChangeKind::Read { through, scope } })
}

/// Notes in the append which local users `event` (at `order` in the timeline) notifies, and that its sender and whoever
/// it takes out of the room have nothing unread.
pub async fn record(append: &mut Append<'_>, event: &Rc<StoredEvent>, order: i64) -> Result<(), AppendError> {
    let own = append.server.server_name();
    let pdu = &event.pdu;
    if pdu.state_key.is_none() && pdu.sender.server_name() == own {
        // Who speaks in a thread, or in the main timeline, has read it.
        let thread = thread_in(append, pdu).await?;
        read(append, &pdu.sender, order, Scope::Thread(thread)).await?;
    }
    if let Some(target) = pdu.target().filter(|target| target.server_name() == own)
        && pdu.membership() != Some(MembershipState::Join)
    {
        read(append, target, order, Scope::Room).await?;
    }
    if let Some(target) = pdu.target().filter(|target| target.server_name() == own && **target != pdu.sender)
        && pdu.membership() == Some(MembershipState::Invite)
    {
        invited(append, target, pdu, order).await?;
    }
    let members = &append.live.members;
    let name_of = |user: &OwnedUserId| members.get(user).and_then(|member| member.displayname.clone());
    let listeners = members.residents().filter(|user| **user != pdu.sender);
    let listeners: Vec<_> = listeners.map(|user| (user.clone(), name_of(user))).collect();
    if listeners.is_empty() {
        return Ok(());
    }
    let members = members.joined_count();
    let sender = sender_power(append, &pdu.sender).await?;
    let seen = Event::new(client_event::plain(pdu));
    for (user, displayname) in listeners {
        let digest = user_rows::digest(append.server, &user).await?;
        if pdu.state_key.is_none() && digest.ignored.contains(&pdu.sender) {
            continue;
        }
        let displayname = displayname.as_deref();
        let listener = Listener { user: &user, displayname, members, sender: sender.as_ref() };
        let actions = push_rules::actions(&digest.push_rules, &seen, &listener);
        if actions.iter().any(Action::should_notify) {
            let actions = actions.to_vec();
            add(append, user, pdu, order, &actions).await?;
        }
    }
    Ok(())
}

/// Notes that a local user was invited, if the user's rules say so. Nothing in the room is unread by it.
async fn invited(append: &mut Append<'_>, target: &UserId, pdu: &Pdu, order: i64) -> Result<(), AppendError> {
    let members = append.live.members.joined_count();
    if notifications::keep_invite(append.server, &mut append.batch, target, position_of(order), pdu, members).await? {
        append.notified.push(target.to_owned());
    }
    Ok(())
}

/// Nobody is notified any longer of an event whose content is gone.
pub async fn forget(append: &mut Append<'_>, event: &StoredEvent) -> Result<(), StoreError> {
    let Some(order) = event.header.order else { return Ok(()) };
    let own = append.server.server_name();
    let users: Vec<OwnedUserId> =
        append.live.members.iter().map(|(user, _)| user).filter(|user| user.server_name() == own).cloned().collect();
    let room_id = append.room.id.clone();
    for user in users {
        let pending = append.unread.iter().any(|change| {
            change.user == user && matches!(change.kind, ChangeKind::Added { order: added, .. } if added == order)
        });
        if pending || load(append.server, &user, &room_id).await?.contains_key(&order) {
            append.batch.delete::<Notifications>(&(user.clone(), room_id.clone(), order));
            append.unread.push(Change { user: user.clone(), kind: ChangeKind::Removed { order } });
        }
        notifications::forget(&mut append.batch, &user, position_of(order));
    }
    Ok(())
}

async fn add(
    append: &mut Append<'_>,
    user: OwnedUserId,
    pdu: &Pdu,
    order: i64,
    actions: &[Action],
) -> Result<(), StoreError> {
    let room_id = append.room.id.clone();
    let highlight = actions.iter().any(Action::is_highlight);
    if load(append.server, &user, &room_id).await?.len() >= UNREAD_PER_ROOM_MAX {
        return Ok(());
    }
    let thread = thread_in(append, pdu).await?;
    let row = NotificationRow { event_id: pdu.event_id.clone(), highlight, thread: thread.clone() };
    append.batch.put::<Notifications>(&(user.clone(), room_id, order), &row);
    let now_ms = append.server.environment.clock.now_ms();
    let kept = notifications::row_of(pdu, actions, now_ms, false);
    notifications::keep(append.server, &mut append.batch, &user, position_of(order), &kept).await?;
    append.unread.push(Change { user, kind: ChangeKind::Added { order, entry: Entry { highlight, thread } } });
    Ok(())
}

/// Live events have the stream position that they came at for their place in the timeline.
fn position_of(order: i64) -> u64 {
    u64::try_from(order).unwrap_or_default()
}

/// As `read_through`, for what this very append made unread as well.
async fn read(append: &mut Append<'_>, user: &UserId, through: i64, scope: Scope) -> Result<(), StoreError> {
    let room_id = append.room.id.clone();
    let change = read_through(append.server, user, &room_id, through, scope.clone(), &mut append.batch).await?;
    for earlier in append.unread.iter().filter(|earlier| earlier.user == user) {
        if let ChangeKind::Added { order, entry } = &earlier.kind
            && scope.covers(entry)
        {
            append.batch.delete::<Notifications>(&(user.to_owned(), room_id.clone(), *order));
        }
    }
    append.unread.push(change);
    Ok(())
}

async fn load(server: &Homeserver, user: &UserId, room_id: &RoomId) -> Result<Rc<Entries>, StoreError> {
    let key = (user.to_owned(), room_id.to_owned());
    if let Some(entries) = server.unread.rooms.borrow_mut().get(&key) {
        return Ok(entries.clone());
    }
    for attempt in 1.. {
        let changes = server.unread.changes.get();
        let rows = server.database.scan_all::<Notifications, _>(&key).await?;
        let entries = rows.into_iter().map(|((_, _, order), row)| {
            let NotificationRow { highlight, thread, .. } = row;
            (order, Entry { highlight, thread })
        });
        let entries = Rc::new(entries.collect::<Entries>());
        if server.unread.changes.get() == changes {
            server.unread.rooms.borrow_mut().put(key, entries.clone());
            return Ok(entries);
        }
        if attempt == LOAD_ATTEMPTS_MAX {
            return Ok(entries);
        }
    }
    unreachable!("the last attempt returns")
}

/// The power of `sender` in the room and what notifying it takes; `None` if its power levels cannot be read.
async fn sender_power(append: &Append<'_>, sender: &UserId) -> Result<Option<SenderPower>, StoreError> {
    let at = |kind: StateEventType| append.live.state.get(&kind, "").cloned();
    let Some(create) = at(StateEventType::RoomCreate) else { return Ok(None) };
    let Some(create) = append.event(&create).await? else { return Ok(None) };
    let levels = match at(StateEventType::RoomPowerLevels) {
        Some(levels) => append.event(&levels).await?,
        None => None,
    };
    let rules = &append.room.rules.authorization;
    let Ok(creators) = RoomCreateEvent::new(SharedPdu(create.pdu.clone())).creators(rules) else { return Ok(None) };
    let mut notifications = BTreeMap::new();
    let source = match levels {
        None => RoomPowerLevelsSource::None,
        Some(levels) => {
            match serde_json::from_str::<RoomPowerLevelsEventContent>(levels.pdu.content_by_rules().get()) {
                Ok(content) => {
                    notifications = notification_levels(&levels.pdu);
                    notifications.insert("room".to_owned(), content.notifications.room.into());
                    RoomPowerLevelsSource::Original(content)
                }
                Err(_) => return Ok(None),
            }
        }
    };
    let level = RoomPowerLevels::new(source, rules, creators).for_user(sender);
    Ok(Some(SenderPower { level, notifications }))
}

/// Every level that the content names and that is a number: ruma's type has that of `room` alone.
fn notification_levels(power_levels: &Pdu) -> BTreeMap<String, i64> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(default)]
        notifications: BTreeMap<String, serde_json::Value>,
    }
    let content = serde_json::from_str::<Content>(power_levels.content_by_rules().get());
    let levels = content.map(|content| content.notifications).unwrap_or_default();
    levels.into_iter().filter_map(|(key, level)| Some((key, level.as_i64()?))).collect()
}

/// What an event relates to, and what that relates to in turn, up to [`THREAD_HOPS_MAX`] steps; `event` finds events.
pub async fn relations_of(
    pdu: &Pdu,
    event: impl AsyncFn(&OwnedEventId) -> Result<Option<Rc<StoredEvent>>, StoreError>,
) -> Result<Vec<Relation>, StoreError> {
    let mut relations: Vec<Relation> = pdu.relation().into_iter().collect();
    while let Some(last) = relations.last()
        && last.rel_type != THREAD
        && relations.len() <= THREAD_HOPS_MAX
    {
        let further = event(&last.parent).await?.and_then(|parent| parent.pdu.relation());
        match further {
            Some(relation) => relations.push(relation),
            None => break,
        }
    }
    Ok(relations)
}

/// The root of the thread that an event belongs to by its relations (client-server API, "Threaded read receipts"): what
/// relates to an event of a thread is in it, what relates to its root is not.
pub fn thread_of(relations: &[Relation]) -> Option<&OwnedEventId> {
    relations.last().filter(|last| last.rel_type == THREAD).map(|last| &last.parent)
}

async fn thread_in(append: &Append<'_>, pdu: &Pdu) -> Result<Option<OwnedEventId>, StoreError> {
    let relations = relations_of(pdu, async |id| append.event(id).await).await?;
    Ok(thread_of(&relations).cloned())
}
