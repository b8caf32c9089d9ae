//! Appending to a room: working copies of what is live, one batch, one commit, then adoption. Under the room's lock.
mod commit;
mod device_lists;
mod draft;
mod foretold;
mod heads;
mod lookup;
mod members;
mod outbox;
mod redactions;
mod relations;

pub use self::{
    lookup::EventView,
    members::{changed_members, strip},
};

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::{
    EventId, OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomVersionId,
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
};
use thiserror::Error;

use self::{foretold::Foretold, relations::FreshRelations};
use super::{
    Live, Room,
    policy::{self, PolicyError},
    waiting,
};
use crate::{
    domain::{
        event::{Pdu, draft::DraftError, reference},
        room::{
            admit::{self, Verdict},
            resolve::StateMap,
        },
    },
    homeserver::{
        Homeserver, events::StoredEvent, positions::Position, queueing::FairGuard, refusals, states::State, unread,
    },
    ports::{Batch, Durability, StoreError},
    storage::tables::{EventHeader, RelationsIndex, RoomRow, StoredVerdict, Timeline},
};

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
    /// Before the oldest event of the timeline, as history fetched later, at a place from `reserve_history`. `recommended`: by
    /// the policy server that the room had then, or it had none.
    History { order: i64, recommended: bool },
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
    /// Which events of the room begin to wait for others, and which no longer do.
    pub(super) waiting: waiting::Changes,
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
            waiting: waiting::Changes::default(),
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

    /// As `receive`, at the state before the event as peers tell it, because not all it follows could be had. What it
    /// follows and we have counts as well: no peer's word replaces what we know. Nor does it condemn: an event that is not
    /// allowed at such a state, and that what it cites allows, goes on waiting for what it follows.
    pub async fn receive_told(&mut self, pdu: Pdu, told: State) -> Result<Verdict, AppendError> {
        let (mut states, mut missing) = (vec![told], BTreeSet::new());
        for (id, event) in pdu.prev_events.iter().zip(self.events(&pdu.prev_events).await?) {
            match event.and_then(|event| event.header.state_after) {
                Some(state) => states.push(self.server.rooms.states.load(state).await?),
                None => drop(missing.insert(id.clone())),
            }
        }
        let state_before = self.resolve(states).await?;
        let is_condemned = !missing.is_empty() && !self.is_allowed_at(&pdu, &state_before).await?;
        if is_condemned && self.rests_on_enough(&pdu).await? {
            return Err(AppendError::Missing(missing));
        }
        self.receive_at(pdu, state_before, Placement::Live, Audience::Nobody).await
    }

    /// Whether what the event cites allows it, whatever the state before it.
    async fn rests_on_enough(&self, pdu: &Pdu) -> Result<bool, AppendError> {
        let cited: Vec<_> = self.require(&pdu.auth_events).await?.iter().map(|event| event.pdu.clone()).collect();
        let create = self.event(&self.room.create_event).await?.map(|event| event.pdu.clone());
        let verdict = admit::admit_by_auth_events(pdu, &self.room.rules, &cited, create);
        Ok(verdict.map_err(|missing| AppendError::Missing(missing.0))? == Verdict::Accepted)
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
        let not_recommended =
            || Verdict::SoftFailed { rule: "the room's policy server does not recommend it".to_owned() };
        let verdict = match (self.admit(&pdu, &state_before).await?, placement) {
            (Verdict::Accepted | Verdict::SoftFailed { .. }, _) if self.is_second_create(&pdu) => {
                Verdict::Rejected { rule: "the room has another create event".to_owned() }
            }
            (Verdict::Accepted | Verdict::SoftFailed { .. }, Placement::History { recommended: false, .. }) => {
                not_recommended()
            }
            // What is history now was judged against the state of its own time.
            (Verdict::SoftFailed { .. }, Placement::History { .. }) => Verdict::Accepted,
            (Verdict::Accepted, Placement::Live) if !policy::recommends(self, &pdu).await? => not_recommended(),
            (verdict, _) => verdict,
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
            _ => self.resolve(states).await,
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

    /// Whether the rules allow `pdu` at one state, whatever it cites.
    async fn is_allowed_at(&self, pdu: &Pdu, state: &State) -> Result<bool, AppendError> {
        self.with_events(|events| {
            let lookup = |kind: &StateEventType, key: &str| events.get(state.get(kind, key)?);
            Ok(admit::allowed_at(pdu, &self.room.rules, &lookup).is_ok())
        })
        .await
    }

    /// Gives up everything but the room's lock.
    pub fn discard(self) -> Option<FairGuard<'a>> {
        self._guard
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

    pub(super) async fn next_position(&mut self) -> Result<u64, StoreError> {
        let position = self.server.positions.next().await?;
        let value = position.value();
        self.positions.push(position);
        Ok(value)
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
        let Some(order) = order else {
            // There may be more to be had before what is not shown.
            if let Placement::History { order, .. } = placement {
                self.note_gaps(&pdu, order).await?;
            }
            return Ok(pdu);
        };
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
            Placement::History { order, .. } => order,
        };
        live.newest_order = if live.newest_order == 0 { order } else { live.newest_order.max(order) };
        live.oldest_order = if live.oldest_order == 0 { order } else { live.oldest_order.min(order) };
        order
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

fn stored(verdict: &Verdict) -> StoredVerdict {
    match verdict {
        Verdict::Accepted => StoredVerdict::Accepted,
        Verdict::SoftFailed { .. } => StoredVerdict::SoftFailed,
        Verdict::Rejected { .. } => StoredVerdict::Rejected,
    }
}
