//! Stored events: parsed once, kept in a bounded cache, read in bulk.
use std::{cell::RefCell, collections::BTreeMap, num::NonZeroUsize, rc::Rc};

use lru::LruCache;
use ruma::{EventId, OwnedEventId, room_version_rules::RoomVersionRules};

use crate::{
    domain::event::Pdu,
    ports::{Batch, StoreError},
    storage::{
        Database,
        tables::{EventHeader, EventRow, Events as EventsTable, StoredVerdict},
    },
};

/// Events kept parsed in memory.
const EVENTS_CACHED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

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
}

/// The rules of each room by its short number, shared with the room registry.
pub type RulesByRoom = Rc<RefCell<BTreeMap<u64, Rc<RoomVersionRules>>>>;

pub struct Events {
    database: Database,
    rules: RulesByRoom,
    cache: RefCell<LruCache<OwnedEventId, Rc<StoredEvent>>>,
}

impl Events {
    pub fn new(database: Database, rules: RulesByRoom) -> Self {
        Self { database, rules, cache: RefCell::new(LruCache::new(EVENTS_CACHED)) }
    }

    pub async fn get(&self, event_id: &EventId) -> Result<Option<Rc<StoredEvent>>, StoreError> {
        Ok(self.get_many(std::slice::from_ref(&event_id.to_owned())).await?.pop().flatten())
    }

    /// One answer per id, in order.
    pub async fn get_many(&self, event_ids: &[OwnedEventId]) -> Result<Vec<Option<Rc<StoredEvent>>>, StoreError> {
        let mut found: Vec<Option<Rc<StoredEvent>>> = {
            let mut cache = self.cache.borrow_mut();
            event_ids.iter().map(|id| cache.get(id).cloned()).collect()
        };
        let absent: Vec<OwnedEventId> =
            event_ids.iter().zip(&found).filter(|(_, hit)| hit.is_none()).map(|(id, _)| id.clone()).collect();
        let rows = self.database.get_many::<EventsTable>(&absent).await?;
        let mut read = absent.into_iter().zip(rows);
        for hit in found.iter_mut().filter(|hit| hit.is_none()) {
            let Some((event_id, Some(row))) = read.next() else { continue };
            let event = Rc::new(self.parse(event_id, row)?);
            self.remember(event.clone());
            *hit = Some(event);
        }
        Ok(found)
    }

    /// Puts the event into `batch`. Call `remember` once it is committed.
    pub fn write(&self, event: &StoredEvent, batch: &mut Batch) {
        let row = EventRow { header: event.header.clone(), json: event.pdu.json().to_owned() };
        batch.put::<EventsTable>(&event.pdu.event_id, &row);
    }

    pub fn remember(&self, event: Rc<StoredEvent>) {
        self.cache.borrow_mut().put(event.pdu.event_id.clone(), event);
    }

    /// Says that an event is being deleted.
    pub fn forget(&self, event_id: &EventId) {
        self.cache.borrow_mut().pop(event_id);
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
