//! Appending to a room: working copies of what is live, one batch, one commit, then adoption. Under the room's lock.
mod device_lists;
mod foretold;
mod members;
mod redactions;
mod relations;

pub use self::members::{changed_members, strip};

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::{
    EventId, OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomVersionId,
    events::{StateEventType, TimelineEventType, room::member::MembershipState},
    room_version_rules::RoomVersionRules,
};
use thiserror::Error;

use self::{foretold::Foretold, relations::FreshRelations};
use super::{
    Live, Members, Room,
    policy::{self, PolicyError},
};
use crate::{
    domain::{
        event::{
            Pdu,
            draft::{self, Draft, DraftError},
            reference,
        },
        room::{
            admit::{self, Verdict},
            destinations::destinations,
            extremities,
            resolve::{Fork, ResolveError, StateMap},
        },
    },
    homeserver::{
        Homeserver, device_lists::moves, edus::presence, events::StoredEvent, guests, heads::quiet,
        positions::Position, queueing::FairGuard, refusals, states::State, unread,
    },
    ports::{Batch, Durability, StoreError},
    storage::tables::{
        EventHeader, Outbox, OutboxRow, RelationsIndex, RoomRow, Rooms as RoomsTable, StoredVerdict, Timeline,
    },
};

/// Rounds of loading what a pure rule asked for. Each round follows auth chains one step further at least.
const LOAD_ROUNDS_MAX: usize = 100_000;

/// Events kept for one server that is away; further ones it fetches when it is back.
pub const OUTBOX_ROWS_PER_SERVER_MAX: usize = 10_000;

#[derive(Clone, Debug, Error)]
pub enum AppendError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// The authorization rules refuse it.
    #[error("{0}")]
    Forbidden(String),
    /// Events it builds on that are not in the store.
    #[error("{} events it builds on are missing", .0.len())]
    Missing(BTreeSet<OwnedEventId>),
    #[error("the room's state cannot be resolved: {0}")]
    Unresolvable(String),
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Where an event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// At the end of the timeline, as something that happened now.
    Live,
    /// Before the oldest event of the timeline, as history fetched later, at a place from `reserve_history`.
    History { order: i64 },
}

/// Who hears of an event from us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every server in the room: it is ours, or we vouch for it (a join through us).
    Room { except: Option<OwnedServerName> },
    /// Nobody: its origin told them.
    Nobody,
}

/// An append in progress. Dropped without `commit`, it changed nothing.
pub struct Append<'a> {
    pub(in crate::homeserver) server: &'a Homeserver,
    pub room: Rc<Room>,
    _guard: Option<FairGuard<'a>>,
    pub live: Live,
    pub batch: Batch,
    fresh: BTreeMap<OwnedEventId, Rc<StoredEvent>>,
    /// Events the store was asked for and does not have. Under the room's lock that stays so but for what is `fresh`.
    absent: RefCell<BTreeSet<OwnedEventId>>,
    /// Ids of those that another room has an event of: where servers choose ids (room versions 1 and 2) one can do that.
    taken: RefCell<BTreeSet<OwnedEventId>>,
    positions: Vec<Position>,
    /// How many outbox rows were added for each server.
    queued: BTreeMap<OwnedServerName, usize>,
    timeline_grew: Vec<Rc<StoredEvent>>,
    foretold: Foretold,
    relations: FreshRelations,
    /// What becomes unread or read with the commit.
    pub(in crate::homeserver) unread: Vec<unread::Change>,
    /// Whom the commit notifies of something that is no unread message.
    pub(in crate::homeserver) notified: Vec<OwnedUserId>,
    /// Who joins with the commit.
    joining: Vec<OwnedUserId>,
    /// Who was joined and no longer is.
    leaving: Vec<OwnedUserId>,
}

impl<'a> Append<'a> {
    /// Takes the room's lock and a working copy of where it stands.
    pub async fn begin(server: &'a Homeserver, room: &'a Rc<Room>) -> Self {
        let guard = room.lock().await;
        let live = room.live().clone();
        Self::new(server, room.clone(), Some(guard), live)
    }

    /// Starts a room that nobody else can know of yet: it enters the registry with the commit.
    pub async fn begin_room(
        server: &'a Homeserver,
        id: OwnedRoomId,
        version: &RoomVersionId,
        rules: Rc<RoomVersionRules>,
        create_event: OwnedEventId,
    ) -> Result<Self, StoreError> {
        let rooms = &server.rooms;
        let num = rooms.next_num().await?;
        rooms.register_rules(num, rules.clone());
        let mut batch = Batch::default();
        let state = rooms.states.snapshot(&StateMap::new(), &mut batch).await?;
        let row = RoomRow {
            num,
            version: version.clone(),
            create_event,
            heads: Vec::new(),
            state: state.id,
            resident: false,
            newest_order: 0,
            relations: RelationsIndex::Empty,
        };
        let room = rooms.new_room(id, &row, rules, state);
        let live = room.live().clone();
        let mut append = Self::new(server, room, None, live);
        append.batch = batch;
        Ok(append)
    }

    fn new(server: &'a Homeserver, room: Rc<Room>, guard: Option<FairGuard<'a>>, live: Live) -> Self {
        Self {
            server,
            room,
            _guard: guard,
            live,
            batch: Batch::default(),
            fresh: BTreeMap::new(),
            absent: RefCell::default(),
            taken: RefCell::default(),
            positions: Vec::new(),
            queued: BTreeMap::new(),
            timeline_grew: Vec::new(),
            foretold: Foretold::default(),
            relations: FreshRelations::default(),
            unread: Vec::new(),
            notified: Vec::new(),
            joining: Vec::new(),
            leaving: Vec::new(),
        }
    }

    /// The event, from this append or the store.
    pub async fn event(&self, event_id: &EventId) -> Result<Option<Rc<StoredEvent>>, StoreError> {
        Ok(self.events(&[event_id.to_owned()]).await?.pop().flatten())
    }

    pub async fn events(&self, ids: &[OwnedEventId]) -> Result<Vec<Option<Rc<StoredEvent>>>, StoreError> {
        let is_absent = |id: &OwnedEventId| self.absent.borrow().contains(id);
        let to_read: Vec<_> =
            ids.iter().filter(|id| !self.fresh.contains_key(*id) && !is_absent(id)).cloned().collect();
        let mut read = BTreeMap::new();
        for (id, event) in to_read.iter().zip(self.server.rooms.events.get_many(&to_read).await?) {
            // An event of another room does not exist for this one.
            match event {
                Some(event) if event.header.room == self.room.num => {
                    read.insert(id, event);
                    continue;
                }
                Some(_) => drop(self.taken.borrow_mut().insert(id.clone())),
                None => {}
            }
            self.absent.borrow_mut().insert(id.clone());
        }
        Ok(ids.iter().map(|id| self.fresh.get(id).or_else(|| read.get(id)).cloned()).collect())
    }

    /// Drafts, signs, judges and appends an event of a local user at the end of the room.
    pub async fn draft(
        &mut self,
        draft: Draft,
        client_txn: Option<(OwnedDeviceId, String)>,
    ) -> Result<Rc<Pdu>, AppendError> {
        let pdu = self.seal(draft).await?;
        self.append_local(pdu, client_txn).await
    }

    /// Drafts and signs an event on top of the room as it is, and checks that the rules allow it.
    pub async fn seal(&self, draft: Draft) -> Result<Pdu, AppendError> {
        let position = self.position_for(&draft).await?;
        let pdu = draft::seal(draft, position, &self.server.identity, &self.room.rules)?;
        match self.admit(&pdu, &self.live.state).await? {
            Verdict::Accepted => Ok(pdu),
            Verdict::SoftFailed { rule } | Verdict::Rejected { rule } => Err(AppendError::Forbidden(rule)),
        }
    }

    /// Appends an event that `seal` made in this append, or before others of the room were appended.
    pub async fn append_local(
        &mut self,
        pdu: Pdu,
        client_txn: Option<(OwnedDeviceId, String)>,
    ) -> Result<Rc<Pdu>, AppendError> {
        let heads = &self.live.heads;
        let is_newest = pdu.prev_events.len() == heads.len().min(extremities::PREV_EVENTS_MAX)
            && pdu.prev_events.iter().all(|prev| heads.contains(prev));
        let state_before = if is_newest { self.live.state.clone() } else { self.state_after(&pdu.prev_events).await? };
        if !is_newest {
            match self.admit(&pdu, &state_before).await? {
                Verdict::Accepted => {}
                Verdict::SoftFailed { rule } | Verdict::Rejected { rule } => return Err(AppendError::Forbidden(rule)),
            }
        }
        self.note_new(pdu.event_id.clone());
        self.place(pdu, state_before, Verdict::Accepted, Placement::Live, Audience::Room { except: None }, client_txn)
            .await
    }

    /// What a new event would cite now: `prev_events`, `auth_events`, depth and time.
    pub async fn position_for(&self, draft: &Draft) -> Result<draft::Position, AppendError> {
        let types = draft::auth_types(
            &draft.kind,
            &draft.sender,
            draft.state_key.as_deref(),
            &draft.content,
            &self.room.rules.authorization,
        )
        .map_err(AppendError::Forbidden)?;
        let auth_events =
            types.iter().filter_map(|(kind, key)| self.live.state.get(kind, key)).cloned().collect::<BTreeSet<_>>();
        let heads = self.require(&self.live.heads).await?;
        let heads: Vec<_> = heads.iter().map(|head| (head.pdu.event_id.clone(), head.pdu.depth)).collect();
        let (prev_events, depth) = extremities::cite(&heads);
        let auth_events: Vec<_> = auth_events.into_iter().collect();
        Ok(draft::Position {
            hashes: self.hashes_of(&[&*prev_events, &*auth_events].concat()).await?,
            prev_events,
            auth_events,
            depth,
            origin_server_ts: self.server.event_times.next(self.server.environment.clock.now_ms()),
        })
    }

    /// What room versions 1 and 2 want beside the ids of other events.
    async fn hashes_of(&self, ids: &[OwnedEventId]) -> Result<BTreeMap<OwnedEventId, String>, AppendError> {
        let rules = &self.room.rules;
        if !reference::has_hashes(rules) {
            return Ok(BTreeMap::new());
        }
        let events = self.require(ids).await?;
        Ok(events.iter().map(|event| (event.pdu.event_id.clone(), event.pdu.reference_hash(rules))).collect())
    }

    /// Judges a received event whose ancestry is in the store and appends it as its verdict demands.
    ///
    /// `Missing` names what must be fetched first.
    pub async fn receive(
        &mut self,
        pdu: Pdu,
        placement: Placement,
        audience: Audience,
    ) -> Result<Verdict, AppendError> {
        let state_before = self.state_after(&pdu.prev_events).await?;
        self.receive_at(pdu, state_before, placement, audience).await
    }

    /// As `receive`, at the state before the event as a peer tells it, because not all it follows could be had. What it
    /// follows and we have counts as well: no peer's word replaces what we know.
    pub async fn receive_told(&mut self, pdu: Pdu, told: State) -> Result<Verdict, AppendError> {
        let mut states: BTreeMap<_, _> = [(told.id, told.clone())].into();
        for id in self.events(&pdu.prev_events).await?.into_iter().filter_map(|event| event?.header.state_after) {
            states.insert(id, self.server.rooms.states.load(id).await?);
        }
        let states: Vec<State> = states.into_values().collect();
        let state_before = if let [only] = &states[..] { only.clone() } else { self.resolve(&states).await? };
        self.receive_at(pdu, state_before, Placement::Live, Audience::Nobody).await
    }

    /// As `receive`, at a state that was learnt otherwise than from the events before it.
    pub async fn receive_at(
        &mut self,
        pdu: Pdu,
        state_before: State,
        placement: Placement,
        audience: Audience,
    ) -> Result<Verdict, AppendError> {
        self.check_id(&pdu).await?;
        let verdict = match self.admit(&pdu, &state_before).await? {
            Verdict::Accepted | Verdict::SoftFailed { .. } if self.is_second_create(&pdu) => {
                Verdict::Rejected { rule: "the room has another create event".to_owned() }
            }
            // What is history now was judged against the state of its own time.
            Verdict::SoftFailed { .. } if placement != Placement::Live => Verdict::Accepted,
            Verdict::Accepted if placement == Placement::Live && !policy::recommends(self, &pdu).await? => {
                Verdict::SoftFailed { rule: "the room's policy server does not recommend it".to_owned() }
            }
            verdict => verdict,
        };
        let known = self.event(&pdu.event_id).await?;
        let redacted_by = known.and_then(|known| known.header.redacted_by.clone());
        let pdu = if redacted_by.is_some() { pdu.redacted(&self.room.rules) } else { pdu };
        let placed = self.place(pdu, state_before, verdict.clone(), placement, audience, None).await?;
        if let Some(redaction) = redacted_by {
            self.stay_redacted(&placed, redaction);
        }
        Ok(verdict)
    }

    /// Refuses an event whose id another event has. Only where servers choose ids can that be; who came first stays.
    async fn check_id(&self, pdu: &Pdu) -> Result<(), AppendError> {
        let rules = &self.room.rules;
        let known = self.event(&pdu.event_id).await?;
        let other = |known: &StoredEvent| known.pdu.reference_hash(rules) != pdu.reference_hash(rules);
        if self.is_taken(&pdu.event_id) || known.is_some_and(|known| reference::has_hashes(rules) && other(&known)) {
            return Err(AppendError::Forbidden("another event has its id".to_owned()));
        }
        Ok(())
    }

    /// Whether another room has an event of this id, which was asked for before.
    pub fn is_taken(&self, event_id: &EventId) -> bool {
        self.taken.borrow().contains(event_id)
    }

    /// Whether the event would create the room anew: the rules know no room, only events, and would let it.
    pub fn is_second_create(&self, pdu: &Pdu) -> bool {
        pdu.kind == TimelineEventType::RoomCreate && pdu.event_id != self.room.create_event
    }

    /// Stores an event for what others cite it for: part of a state or an auth chain, not of the timeline. Its id must be
    /// free: `event` has nothing by it, and it is not taken.
    pub fn add_outlier(&mut self, mut pdu: Pdu, verdict: &Verdict) -> Rc<Pdu> {
        pdu.rejected = matches!(verdict, Verdict::Rejected { .. });
        let header = EventHeader {
            room: self.room.num,
            order: None,
            state_before: None,
            state_after: None,
            state_current: None,
            verdict: stored(verdict),
            redacted_by: None,
            client_txn: None,
            delay_id: None,
        };
        self.store(pdu, header)
    }

    /// The state after `event_ids`: that of the one, or the resolution of those of all.
    pub async fn state_after(&mut self, event_ids: &[OwnedEventId]) -> Result<State, AppendError> {
        let events = self.events(event_ids).await?;
        let mut missing = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for (id, event) in event_ids.iter().zip(events) {
            match event.and_then(|event| event.header.state_after) {
                Some(state) => ids.insert(state),
                None => missing.insert(id.clone()),
            };
        }
        if !missing.is_empty() {
            return Err(AppendError::Missing(missing));
        }
        let mut states = Vec::new();
        for id in ids {
            states.push(self.server.rooms.states.load(id).await?);
        }
        match states.as_slice() {
            [] => Ok(self.server.rooms.states.snapshot(&StateMap::new(), &mut self.batch).await?),
            [state] => Ok(state.clone()),
            _ => self.resolve(&states).await,
        }
    }

    /// A state given whole, written with this append.
    pub async fn snapshot(&mut self, map: &StateMap) -> Result<State, StoreError> {
        self.server.rooms.states.snapshot(map, &mut self.batch).await
    }

    /// Whether the rules allow `pdu` at the events it cites, before it and now.
    pub async fn admit(&self, pdu: &Pdu, state_before: &State) -> Result<Verdict, AppendError> {
        let cited = self.require(&pdu.auth_events).await?;
        let cited: Vec<Rc<Pdu>> = cited.iter().map(|event| event.pdu.clone()).collect();
        // What decides is nearly always what is cited and the create event: with them at hand the rules run once.
        let create = self.event(&self.room.create_event).await?.map(|event| event.pdu.clone());
        let at_hand = EventView::of(cited.iter().cloned().chain(create));
        self.with_events_from(at_hand, |events| {
            let before = |kind: &StateEventType, key: &str| events.get(state_before.get(kind, key)?);
            let now = |kind: &StateEventType, key: &str| events.get(self.live.state.get(kind, key)?);
            admit::admit(pdu, &self.room.rules, &cited, &before, &now)
                .map_err(|missing| AppendError::Missing(missing.0))
        })
        .await
    }

    /// Runs a pure rule that looks events up, loading what it asked for and running it again until it asks no more.
    pub async fn with_events<T>(&self, rule: impl Fn(&EventView) -> Result<T, AppendError>) -> Result<T, AppendError> {
        self.with_events_from(EventView::default(), rule).await
    }

    /// As `with_events`, beginning with what is at hand.
    async fn with_events_from<T>(
        &self,
        mut view: EventView,
        rule: impl Fn(&EventView) -> Result<T, AppendError>,
    ) -> Result<T, AppendError> {
        for _ in 0..LOAD_ROUNDS_MAX {
            let result = rule(&view);
            let wanted: Vec<OwnedEventId> = view.wanted.take().into_iter().collect();
            if wanted.is_empty() {
                return result;
            }
            for event in self.require(&wanted).await? {
                view.events.insert(event.pdu.event_id.clone(), event.pdu.clone());
            }
        }
        Err(AppendError::Unresolvable("its auth chain has no end".to_owned()))
    }

    /// Writes everything, then makes it what the room is.
    pub async fn commit(mut self) -> Result<(), AppendError> {
        self.announce_devices().await?;
        let row = self.complete();
        self.server.database.commit(std::mem::take(&mut self.batch)).await?;
        self.adopt(row);
        Ok(())
    }

    /// Like [`Self::commit`] of this room and `other` at once: what stops in between has changed neither.
    pub async fn commit_with(mut self, mut other: Append<'_>) -> Result<(), AppendError> {
        self.announce_devices().await?;
        other.announce_devices().await?;
        let (row, other_row) = (self.complete(), other.complete());
        let mut batch = std::mem::take(&mut self.batch);
        batch.append(std::mem::take(&mut other.batch));
        self.server.database.commit(batch).await?;
        self.adopt(row);
        other.adopt(other_row);
        Ok(())
    }

    /// Puts into the batch what sums up the rest; it is then ready to be written.
    fn complete(&mut self) -> RoomRow {
        let row = RoomRow {
            num: self.room.num,
            version: self.room.version.clone(),
            create_event: self.room.create_event.clone(),
            heads: self.live.heads.clone(),
            state: self.live.state.id,
            resident: self.live.resident,
            newest_order: self.live.newest_order,
            relations: self.live.relations,
        };
        self.write_relations();
        self.batch.put::<RoomsTable>(&self.room.id, &row);
        row
    }

    /// Makes what was written what the room is, and tells whom it concerns.
    fn adopt(mut self, row: RoomRow) {
        for event in std::mem::take(&mut self.fresh).into_values() {
            self.server.rooms.events.remember(event);
        }
        let newest_order = self.room.live().newest_order;
        let happened = self.timeline_grew.iter().filter(|event| event.header.order > Some(newest_order));
        self.server.favourites.heard(&self.room.id, happened.map(|event| event.pdu.sender.server_name()));
        let grown = self.timeline_grew.iter();
        let grown = grown.filter_map(|event| Some((event.header.order?, event.pdu.event_id.clone())));
        let guest_access = |live: &Live| live.state.get(&StateEventType::RoomGuestAccess, "").cloned();
        let lets_in_others = guest_access(&self.room.live()) != guest_access(&self.live);
        let other_heads = self.room.live().heads != self.live.heads;
        self.server.rooms.adopt(&self.room, row, self.live.clone(), grown);
        if let Some(server) = self.server.itself.upgrade().filter(|_| other_heads) {
            quiet::changed(&server, &self.room);
        }
        if lets_in_others {
            guests::access_changed(self.server, &self.room);
        }
        let mut concerned: BTreeSet<OwnedUserId> = std::mem::take(&mut self.notified).into_iter().collect();
        concerned.extend(self.unread.iter().map(|change| change.user().to_owned()));
        self.server.unread.adopt(&self.room.id, std::mem::take(&mut self.unread));
        if let Some(position) = self.positions.last().map(Position::value) {
            presence::joined(self.server, &self.room, &self.joining, position);
        }
        moves::moved(self.server, &self.room, &self.joining, &self.leaving);
        self.positions.clear();
        concerned.iter().for_each(|user| self.server.pushes.wake(user));
        self.server.notifier.notify();
        for (destination, rows) in &self.queued {
            self.server.sender.queued(destination, *rows);
        }
    }

    /// Notes that an event of this append was sent later than it was asked for.
    pub fn note_delay_id(&mut self, event_id: &EventId, delay_id: &str) {
        let Some(event) = self.fresh.get(event_id).cloned() else { return };
        let header = EventHeader { delay_id: Some(delay_id.to_owned()), ..event.header.clone() };
        self.store((*event.pdu).clone(), header);
    }

    /// Makes the commit survive power loss: for what nobody can give back.
    pub fn make_strict(&mut self) {
        self.batch.durability = Durability::Strict;
    }

    /// Replaces the room's state and heads by what a peer vouched for when we joined through it.
    pub async fn adopt_state(&mut self, state: State) -> Result<(), AppendError> {
        let position = self.next_position().await?;
        self.live.heads.clear();
        self.change_state(state, position).await
    }

    pub(super) async fn next_position(&mut self) -> Result<u64, StoreError> {
        let position = self.server.positions.next().await?;
        let value = position.value();
        self.positions.push(position);
        Ok(value)
    }

    /// Has the room end in one more accepted event, which its other heads do not follow.
    pub async fn end_in(&mut self, event_id: OwnedEventId) -> Result<(), AppendError> {
        let heads: BTreeSet<_> = self.live.heads.drain(..).chain([event_id]).collect();
        self.live.heads = heads.into_iter().collect();
        let heads = self.live.heads.clone();
        let current = self.state_after(&heads).await?;
        let position = self.next_position().await?;
        self.change_state(current, position).await
    }

    async fn place(
        &mut self,
        mut pdu: Pdu,
        state_before: State,
        verdict: Verdict,
        placement: Placement,
        audience: Audience,
        client_txn: Option<(OwnedDeviceId, String)>,
    ) -> Result<Rc<Pdu>, AppendError> {
        let accepted = verdict == Verdict::Accepted;
        let rejected = matches!(verdict, Verdict::Rejected { .. });
        let state_after = match pdu.state_map_key() {
            Some(key) if !rejected => {
                let change = vec![(key, pdu.event_id.clone())];
                self.server.rooms.states.derive(&state_before, change, &mut self.batch).await?
            }
            _ => state_before.clone(),
        };
        let position = self.next_position().await?;
        let order = accepted.then(|| self.order_for(placement, position));
        let header = EventHeader {
            room: self.room.num,
            order,
            state_before: Some(state_before.id),
            state_after: Some(state_after.id),
            state_current: None,
            verdict: stored(&verdict),
            redacted_by: None,
            client_txn,
            delay_id: None,
        };
        pdu.rejected = rejected;
        let pdu = self.store(pdu, header);
        if let Verdict::SoftFailed { rule } | Verdict::Rejected { rule } = &verdict {
            refusals::note(self.server, pdu.sender.server_name(), &pdu.event_id, rule);
        }
        let Some(order) = order else { return Ok(pdu) };
        self.batch.put::<Timeline>(&(self.room.num, order), &pdu.event_id);
        let followed = self.note_gaps(&pdu, order).await?;
        let before = self.live.members.clone();
        let target_before = pdu.target().and_then(|user| before.get(user)).map(|row| row.membership.clone());
        if placement == Placement::Live {
            self.advance(&pdu, followed, &state_after, position).await?;
            self.note_current_state(&pdu, &state_after);
            let event = self.fresh[&pdu.event_id].clone();
            unread::record(self, &event, order).await?;
            self.timeline_grew.push(event);
        }
        self.index_relation(&pdu, order).await?;
        self.apply_redactions(&pdu).await?;
        if let Audience::Room { except } = audience {
            self.address(&pdu, position, &before, target_before.as_ref(), except);
        }
        Ok(pdu)
    }

    /// `count` timeline places before the oldest event, the newest first.
    pub fn reserve_history(&self, count: usize) -> Vec<i64> {
        let oldest = self.live.oldest_order.min(0);
        (1..=count as i64).map(|distance| oldest - distance).collect()
    }

    fn order_for(&mut self, placement: Placement, position: u64) -> i64 {
        let live = &mut self.live;
        let order = match placement {
            Placement::Live => position as i64,
            Placement::History { order } => order,
        };
        live.newest_order = if live.newest_order == 0 { order } else { live.newest_order.max(order) };
        live.oldest_order = if live.oldest_order == 0 { order } else { live.oldest_order.min(order) };
        order
    }

    /// Moves heads and current state past a new accepted event.
    async fn advance(
        &mut self,
        pdu: &Rc<Pdu>,
        followed: bool,
        state_after: &State,
        position: u64,
    ) -> Result<(), AppendError> {
        let hidden = self.hidden_prevs(pdu).await?;
        let heads: BTreeSet<_> = self.live.heads.iter().cloned().collect();
        let mut heads = extremities::advance(&heads, pdu, &|id| hidden.get(id).cloned());
        if followed && heads.len() > 1 {
            // It came late: an event that follows it is here already, so it is no extremity.
            heads.remove(&pdu.event_id);
        }
        self.live.heads = heads.into_iter().collect();
        let current = match self.live.heads.as_slice() {
            [only] if *only == pdu.event_id => state_after.clone(),
            heads => {
                let heads = heads.to_vec();
                self.state_after(&heads).await?
            }
        };
        self.change_state(current, position).await
    }

    /// Notes with the event what the room's state is now, for syncs that ask what it was then.
    fn note_current_state(&mut self, pdu: &Rc<Pdu>, state_after: &State) {
        if self.live.state.id != state_after.id {
            let header =
                EventHeader { state_current: Some(self.live.state.id), ..self.fresh[&pdu.event_id].header.clone() };
            self.store((**pdu).clone(), header);
        }
    }

    /// The previous events of those that `pdu` follows but clients never saw (soft-failed, rejected).
    async fn hidden_prevs(&self, pdu: &Pdu) -> Result<BTreeMap<OwnedEventId, Vec<OwnedEventId>>, StoreError> {
        let mut hidden = BTreeMap::new();
        let mut pending = pdu.prev_events.clone();
        while !pending.is_empty() && hidden.len() < extremities::HIDDEN_WALK_MAX {
            let events = self.events(&pending).await?;
            pending.clear();
            for event in events.into_iter().flatten() {
                let known = hidden.contains_key(&event.pdu.event_id);
                if !event.is_accepted() && !event.is_outlier() && !known {
                    pending.extend(event.pdu.prev_events.iter().cloned());
                    hidden.insert(event.pdu.event_id.clone(), event.pdu.prev_events.clone());
                }
            }
        }
        Ok(hidden)
    }

    /// Queues the event for the servers that must hear of it from us.
    fn address(
        &mut self,
        pdu: &Rc<Pdu>,
        position: u64,
        before: &Members,
        target_before: Option<&MembershipState>,
        except: Option<OwnedServerName>,
    ) {
        let own = self.server.server_name();
        let after = self.live.members.servers();
        let mut servers = destinations(pdu, own, &before.servers(), &after, target_before);
        if pdu.membership() == Some(MembershipState::Invite)
            && let Some(target) = pdu.target().map(|user| user.server_name())
            && !before.has_server(target)
        {
            // It hears of the invite by an invite request.
            servers.remove(target);
        }
        for server in servers.into_iter().filter(|server| Some(server) != except.as_ref()) {
            if self.server.sender.waiting(&server) >= OUTBOX_ROWS_PER_SERVER_MAX {
                // It has been away for long: our heads will tell it what it missed.
                continue;
            }
            self.batch.put::<Outbox>(&(server.clone(), position), &OutboxRow::Pdu(pdu.event_id.clone()));
            *self.queued.entry(server).or_default() += 1;
        }
    }

    /// Queues an invite request that could not be made at once.
    pub async fn queue_invite(&mut self, server: &OwnedServerName, event_id: OwnedEventId) -> Result<(), StoreError> {
        let position = self.next_position().await?;
        self.batch.put::<Outbox>(&(server.clone(), position), &OutboxRow::Invite(event_id));
        *self.queued.entry(server.clone()).or_default() += 1;
        Ok(())
    }

    async fn resolve(&mut self, states: &[State]) -> Result<State, AppendError> {
        let fork = Fork::of(states.iter().map(|state| state.entries.iter()));
        let settled = self
            .with_events(|view| match fork.settle(&self.room.rules, &view.events) {
                Ok(settled) => Ok(settled),
                Err(ResolveError::Missing(wanted)) => {
                    view.wanted.borrow_mut().extend(wanted);
                    Err(AppendError::Unresolvable("events are missing".to_owned()))
                }
                Err(ResolveError::Invalid(reason)) => Err(AppendError::Unresolvable(reason)),
            })
            .await?;
        let contested = fork.contested();
        let is_settled = |state: &&State| contested.iter().all(|key| state.entries.get(key) == settled.get(key));
        if let Some(state) = states.iter().find(is_settled) {
            return Ok(state.clone());
        }
        let base = &states[0];
        let empty = contested.into_iter().filter(|key| !settled.contains_key(*key) && base.entries.contains_key(key));
        let (empty, settled) = (empty.cloned().collect(), settled.into_iter().collect());
        Ok(self.server.rooms.states.change(base, settled, empty, &mut self.batch).await?)
    }

    async fn require(&self, ids: &[OwnedEventId]) -> Result<Vec<Rc<StoredEvent>>, AppendError> {
        let events = self.events(ids).await?;
        let missing: BTreeSet<_> =
            ids.iter().zip(&events).filter(|(_, event)| event.is_none()).map(|(id, _)| id.clone()).collect();
        if !missing.is_empty() {
            return Err(AppendError::Missing(missing));
        }
        Ok(events.into_iter().flatten().collect())
    }

    pub(super) fn store(&mut self, pdu: Pdu, header: EventHeader) -> Rc<Pdu> {
        let pdu = Rc::new(pdu);
        let event = Rc::new(StoredEvent { pdu: pdu.clone(), header });
        self.server.rooms.events.write(&event, &mut self.batch);
        self.fresh.insert(pdu.event_id.clone(), event);
        pdu
    }

    /// How many events this append writes.
    pub fn events_written(&self) -> usize {
        self.fresh.len()
    }

    /// Whether `kind` events of this append reached the timeline.
    pub fn appended(&self, kind: &TimelineEventType) -> bool {
        self.timeline_grew.iter().any(|event| event.pdu.kind == *kind)
    }
}

/// Events at hand for a pure rule, and a note of those it wanted.
#[derive(Default)]
pub struct EventView {
    events: BTreeMap<OwnedEventId, Rc<Pdu>>,
    wanted: RefCell<BTreeSet<OwnedEventId>>,
}

impl EventView {
    fn of(events: impl Iterator<Item = Rc<Pdu>>) -> Self {
        Self { events: events.map(|pdu| (pdu.event_id.clone(), pdu)).collect(), wanted: RefCell::default() }
    }

    pub fn get(&self, event_id: &OwnedEventId) -> Option<Rc<Pdu>> {
        let found = self.events.get(event_id).cloned();
        if found.is_none() {
            self.wanted.borrow_mut().insert(event_id.clone());
        }
        found
    }
}

fn stored(verdict: &Verdict) -> StoredVerdict {
    match verdict {
        Verdict::Accepted => StoredVerdict::Accepted,
        Verdict::SoftFailed { .. } => StoredVerdict::SoftFailed,
        Verdict::Rejected { .. } => StoredVerdict::Rejected,
    }
}
