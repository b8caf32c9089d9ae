//! Stored events: parsed once, kept in a bounded cache, read in bulk.
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::{EventId, OwnedEventId, room_version_rules::RoomVersionRules};

use crate::{
    domain::{event::Pdu, sized_cache::SizedCache},
    ports::{Batch, StoreError},
    storage::{
        Database,
        tables::{EventHeader, EventRow, Events as EventsTable, StoredVerdict},
    },
};

/// What is kept of parsed events in memory, in bytes: about eight thousand messages.
const EVENTS_CACHED_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Events remembered as not being there: those of a full transaction and what they cite.
const ABSENT_REMEMBERED_MAX: usize = 512;

/// A PDU and what we concluded about it.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub pdu: Rc<Pdu>,
    pub header: EventHeader,
}

impl StoredEvent {
    /// Whether the event has a place in the room's history here, not only in somebody's auth chain.
    pub fn is_outlier(&self) -> bool {
        self.header.state_before.is_none()
    }

    pub fn is_accepted(&self) -> bool {
        self.header.verdict == StoredVerdict::Accepted
    }

    /// About how many bytes of memory it takes.
    fn bytes_in_memory(&self) -> usize {
        size_of::<Self>() + self.pdu.bytes_in_memory()
    }
}

/// The rules of each room by its short number, shared with the room registry.
pub type RulesByRoom = Rc<RefCell<BTreeMap<u64, Rc<RoomVersionRules>>>>;

pub struct Events {
    database: Database,
    rules: RulesByRoom,
    cache: RefCell<SizedCache<OwnedEventId, Rc<StoredEvent>>>,
    absent: RefCell<Absent>,
}

/// Events that the store was found not to have, while nothing is written to its table: whoever takes in an event looks for it
/// more than once.
#[derive(Default)]
struct Absent {
    /// That of the table when they were looked for.
    generation: u64,
    ids: BTreeSet<OwnedEventId>,
}

impl Absent {
    fn has(&self, generation: u64, id: &EventId) -> bool {
        self.generation == generation && self.ids.contains(id)
    }

    fn note(&mut self, generation: u64, id: &OwnedEventId) {
        if self.generation != generation || self.ids.len() >= ABSENT_REMEMBERED_MAX {
            *self = Self { generation, ids: BTreeSet::new() };
        }
        self.ids.insert(id.clone());
    }
}

impl Events {
    pub fn new(database: Database, rules: RulesByRoom) -> Self {
        let cache = RefCell::new(SizedCache::new(EVENTS_CACHED_MAX_BYTES));
        Self { database, rules, cache, absent: RefCell::default() }
    }

    pub async fn get(&self, event_id: &EventId) -> Result<Option<Rc<StoredEvent>>, StoreError> {
        Ok(self.get_many(std::slice::from_ref(&event_id.to_owned())).await?.pop().flatten())
    }

    /// One answer per id, in order.
    pub async fn get_many(&self, event_ids: &[OwnedEventId]) -> Result<Vec<Option<Rc<StoredEvent>>>, StoreError> {
        let mut found: Vec<Option<Rc<StoredEvent>>> = {
            let mut cache = self.cache.borrow_mut();
            event_ids.iter().map(|id| cache.get(id)).collect()
        };
        let generation = self.database.generation::<EventsTable>();
        let (places, wanted): (Vec<usize>, Vec<OwnedEventId>) = {
            let absent = self.absent.borrow();
            let missed = event_ids.iter().zip(&found).enumerate().filter(|(_, (_, hit))| hit.is_none());
            missed
                .filter(|(_, (id, _))| !absent.has(generation, id))
                .map(|(place, (id, _))| (place, id.clone()))
                .unzip()
        };
        let rows = self.database.get_many::<EventsTable>(&wanted).await?;
        for ((place, event_id), row) in places.into_iter().zip(wanted).zip(rows) {
            let Some(row) = row else {
                self.absent.borrow_mut().note(generation, &event_id);
                continue;
            };
            let event = Rc::new(self.parse(event_id, row)?);
            self.remember(event.clone());
            found[place] = Some(event);
        }
        Ok(found)
    }

    /// Puts the event into `batch`. Call `remember` once it is committed.
    pub fn write(&self, event: &StoredEvent, batch: &mut Batch) {
        let row = EventRow { header: event.header.clone(), json: event.pdu.json().to_owned() };
        batch.put::<EventsTable>(&event.pdu.event_id, &row);
    }

    pub fn remember(&self, event: Rc<StoredEvent>) {
        let bytes = event.bytes_in_memory();
        self.cache.borrow_mut().put(event.pdu.event_id.clone(), event, bytes);
    }

    /// Says that an event is being deleted.
    pub fn forget(&self, event_id: &EventId) {
        self.cache.borrow_mut().forget(event_id);
    }

    fn parse(&self, event_id: OwnedEventId, row: EventRow) -> Result<StoredEvent, StoreError> {
        let corrupt = |what: &str| StoreError::Backend(format!("event {event_id}: {what}"));
        let rules = self.rules.borrow().get(&row.header.room).cloned().ok_or_else(|| corrupt("its room is missing"))?;
        let mut pdu =
            Pdu::from_canonical(event_id.clone(), row.json, &rules).map_err(|error| corrupt(&error.to_string()))?;
        pdu.rejected = row.header.verdict == StoredVerdict::Rejected;
        Ok(StoredEvent { pdu: Rc::new(pdu), header: row.header })
    }
}
