//! Room states: persistent maps in memory, bounded chains of differences in the store.
use std::cell::RefCell;

use rpds::RedBlackTreeMap;
use ruma::{OwnedEventId, events::StateEventType};

use super::positions::Positions;
use crate::{
    domain::{room::resolve::StateMap, sized_cache::SizedCache},
    ports::{Batch, StoreError},
    storage::{
        Database,
        tables::{StateRow, States as StatesTable},
    },
};

/// How many rows at most are read to know a state.
pub const STATE_CHAIN_HOPS_MAX: u32 = 32;
/// What is kept of states in memory, in bytes.
const STATES_CACHED_MAX_BYTES: usize = 8 * 1024 * 1024;
/// What an entry of a state takes, in bytes: its key, an event id and the node of the map.
const ENTRY_BYTES: usize = 320;
/// What an entry takes that differs from the state it was derived from. The two share the rest: each level of the map above
/// the entry is there twice.
const CHANGE_BYTES: usize = 1_536;

pub type StateKey = (StateEventType, String);

/// A state and its id in the store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State {
    pub id: u64,
    pub entries: RedBlackTreeMap<StateKey, OwnedEventId>,
}

impl State {
    pub fn get(&self, kind: &StateEventType, state_key: &str) -> Option<&OwnedEventId> {
        // The map is keyed by owned pairs; a lookup is rare enough to build one.
        self.entries.get(&(kind.clone(), state_key.to_owned()))
    }

    pub fn to_map(&self) -> StateMap {
        self.entries.iter().map(|(key, id)| (key.clone(), id.clone())).collect()
    }
}

pub struct States {
    database: Database,
    positions: Positions,
    cache: RefCell<SizedCache<u64, (State, u32)>>,
}

impl States {
    pub fn new(database: Database, positions: Positions) -> Self {
        Self { database, positions, cache: RefCell::new(SizedCache::new(STATES_CACHED_MAX_BYTES)) }
    }

    pub async fn load(&self, id: u64) -> Result<State, StoreError> {
        Ok(self.load_with_hops(id).await?.0)
    }

    /// A state equal to `base` but for `changes`, written into `batch` and usable at once.
    pub async fn derive(
        &self,
        base: &State,
        changes: Vec<(StateKey, OwnedEventId)>,
        batch: &mut Batch,
    ) -> Result<State, StoreError> {
        self.change(base, changes, Vec::new(), batch).await
    }

    /// As `derive`, with some places empty.
    pub async fn change(
        &self,
        base: &State,
        changes: Vec<(StateKey, OwnedEventId)>,
        removals: Vec<StateKey>,
        batch: &mut Batch,
    ) -> Result<State, StoreError> {
        let changes: Vec<_> =
            changes.into_iter().filter(|(key, event_id)| base.entries.get(key) != Some(event_id)).collect();
        self.write(base, changes, removals, batch).await
    }

    /// A state without a past: the empty one before a create event, or one a peer told us.
    pub async fn snapshot(&self, map: &StateMap, batch: &mut Batch) -> Result<State, StoreError> {
        let entries = map.iter().map(|(key, id)| (key.clone(), id.clone())).collect();
        self.insert(entries, None, 0, Vec::new(), Vec::new(), batch).await
    }

    async fn write(
        &self,
        base: &State,
        changes: Vec<(StateKey, OwnedEventId)>,
        removals: Vec<StateKey>,
        batch: &mut Batch,
    ) -> Result<State, StoreError> {
        if changes.is_empty() && removals.is_empty() {
            return Ok(base.clone());
        }
        let mut entries = base.entries.clone();
        for (key, event_id) in &changes {
            entries.insert_mut(key.clone(), event_id.clone());
        }
        for key in &removals {
            entries.remove_mut(key);
        }
        let hops = self.load_with_hops(base.id).await?.1 + 1;
        // A difference as large as half the state saves nothing over writing it whole.
        if hops > STATE_CHAIN_HOPS_MAX || (changes.len() + removals.len()) * 2 > entries.size() {
            return self.insert(entries, None, 0, Vec::new(), Vec::new(), batch).await;
        }
        self.insert(entries, Some(base.id), hops, changes, removals, batch).await
    }

    async fn insert(
        &self,
        entries: RedBlackTreeMap<StateKey, OwnedEventId>,
        base: Option<u64>,
        hops: u32,
        changes: Vec<(StateKey, OwnedEventId)>,
        removals: Vec<StateKey>,
        batch: &mut Batch,
    ) -> Result<State, StoreError> {
        let id = self.positions.next().await?.value();
        let state = State { id, entries };
        let whole = || state.entries.iter().map(|(key, id)| (key.clone(), id.clone())).collect();
        let changes = if base.is_some() { changes } else { whole() };
        let changed = base.map(|_| changes.len() + removals.len());
        let row = StateRow {
            base,
            hops,
            changes: changes.into_iter().map(|((kind, key), id)| (kind.to_string(), key, id)).collect(),
            removals: removals.into_iter().map(|(kind, key)| (kind.to_string(), key)).collect(),
        };
        batch.put::<StatesTable>(&id, &row);
        // Should the batch fail, the id is never used again and the entry ages out unused.
        self.keep(&state, hops, changed);
        Ok(state)
    }

    async fn load_with_hops(&self, id: u64) -> Result<(State, u32), StoreError> {
        let mut chain: Vec<StateRow> = Vec::new();
        let mut next = Some(id);
        let mut entries = RedBlackTreeMap::new();
        let mut changed = None;
        while let Some(current) = next {
            let cached = self.cache.borrow_mut().get(&current);
            if let Some((state, hops)) = cached {
                if current == id {
                    return Ok((state, hops));
                }
                changed = Some(chain.iter().map(|row| row.changes.len() + row.removals.len()).sum());
                entries = state.entries;
                break;
            }
            if chain.len() > STATE_CHAIN_HOPS_MAX as usize {
                return Err(StoreError::Backend(format!("the chain of state {id} is too long")));
            }
            let row = self.database.get::<StatesTable>(&current).await?;
            let row = row.ok_or_else(|| StoreError::Backend(format!("state {current} is missing")))?;
            next = row.base;
            chain.push(row);
        }
        let hops = chain.first().map_or(0, |row| row.hops);
        for row in chain.into_iter().rev() {
            for (kind, key, event_id) in row.changes {
                entries.insert_mut((kind.into(), key), event_id);
            }
            for (kind, key) in row.removals {
                entries.remove_mut(&(kind.into(), key));
            }
        }
        let state = State { id, entries };
        self.keep(&state, hops, changed);
        Ok((state, hops))
    }

    /// Keeps a state in memory, of which all but `changed` entries are those of another there; `None` if it shares nothing.
    fn keep(&self, state: &State, hops: u32, changed: Option<usize>) {
        let whole = state.entries.size() * ENTRY_BYTES;
        let bytes = changed.map_or(whole, |changed| whole.min(changed * CHANGE_BYTES));
        self.cache.borrow_mut().put(state.id, (state.clone(), hops), bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, rc::Rc};

    use futures::executor::block_on;
    use proptest::prelude::*;

    use super::*;
    use crate::storage::memory::MemoryDisk;

    fn event(number: u16) -> OwnedEventId {
        OwnedEventId::try_from(format!("${number}")).unwrap()
    }

    fn key(number: u8) -> StateKey {
        (StateEventType::RoomMember, format!("@{number}:x.alt"))
    }

    proptest! {
        #[test]
        fn a_chain_of_any_shape_reads_back_as_written(
            steps in prop::collection::vec(prop::collection::vec((0u8..40, prop::option::of(any::<u16>())), 0..6), 1..90)
        ) {
            block_on(async {
                let database = Database::new(Rc::new(MemoryDisk::default().open()));
                let positions = Positions::open(database.clone()).await.unwrap();
                let states = States::new(database.clone(), positions.clone());
                let mut batch = Batch::default();
                let mut expected = StateMap::new();
                let mut written = vec![(states.snapshot(&expected, &mut batch).await.unwrap(), expected.clone())];
                for step in steps {
                    for (place, holder) in &step {
                        match holder {
                            Some(number) => expected.insert(key(*place), event(*number)),
                            None => expected.remove(&key(*place)),
                        };
                    }
                    let base = written.last().unwrap().0.clone();
                    let places: BTreeSet<_> = step.into_iter().map(|(place, _)| key(place)).collect();
                    let (filled, emptied): (Vec<_>, Vec<_>) = places.into_iter().partition(|key| expected.contains_key(key));
                    let filled = filled.into_iter().map(|key| (key.clone(), expected[&key].clone())).collect();
                    let emptied = emptied.into_iter().filter(|key| base.entries.contains_key(key)).collect();
                    let state = states.change(&base, filled, emptied, &mut batch).await.unwrap();
                    written.push((state, expected.clone()));
                }
                database.commit(batch).await.unwrap();
                let fresh = States::new(database, positions);
                for (state, map) in written.into_iter().rev() {
                    prop_assert_eq!(state.to_map(), map.clone());
                    prop_assert_eq!(fresh.load(state.id).await.unwrap().to_map(), map);
                    fresh.cache.borrow_mut().forget(&state.id);
                }
                Ok(())
            })?;
        }
    }
}
