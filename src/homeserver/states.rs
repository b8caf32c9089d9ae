//! Room states: persistent maps in memory, short chains of differences in the store.
//!
//! A state that follows another is stored as its difference from an earlier one. Were that always the one before, a chain would
//! be as long as the room's past, or the whole state would have to be written again and again, which in a large room is most
//! of what it takes. So states that follow each other are counted, and number `n` is stored as the difference from number
//! `n - 8^j`, `j` being how many zeros `n` ends with in octal: a chain has at most seven rows for each octal digit of `n`, and
//! a change is written not quite as often as `n` has digits. Once a difference is half as large as the state, the state is
//! written whole and counting begins anew.
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

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

/// How many rows at most are read to know a state: seven for each octal digit of the largest count, and as many as chains had
/// in stores that were begun when each row followed the one before.
const CHAIN_ROWS_MAX: usize = 7 * 11 + 32;
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
    derived: Option<Rc<Derived>>,
}

/// Which state another was made from, and where the two differ.
#[derive(Debug)]
struct Derived {
    from: u64,
    places: Vec<StateKey>,
}

impl State {
    pub fn new(id: u64, entries: RedBlackTreeMap<StateKey, OwnedEventId>) -> Self {
        Self { id, entries, derived: None }
    }

    pub fn get(&self, kind: &StateEventType, state_key: &str) -> Option<&OwnedEventId> {
        // The map is keyed by owned pairs; a lookup is rare enough to build one.
        self.entries.get(&(kind.clone(), state_key.to_owned()))
    }

    pub fn to_map(&self) -> StateMap {
        self.entries.iter().map(|(key, id)| (key.clone(), id.clone())).collect()
    }

    /// Where this state differs from `other`. At once if it was made from it, else by going through both.
    pub fn places_changed_since(&self, other: &Self) -> Vec<StateKey> {
        if self.id == other.id {
            return Vec::new();
        }
        if let Some(derived) = self.derived.as_ref().filter(|derived| derived.from == other.id) {
            return derived.places.clone();
        }
        let differs = |(key, id): &(&StateKey, &OwnedEventId)| other.entries.get(key) != Some(id);
        let gone = other.entries.keys().filter(|key| !self.entries.contains_key(key));
        self.entries.iter().filter(differs).map(|(key, _)| key).chain(gone).cloned().collect()
    }
}

/// What of a state's row is needed to store the states that follow it.
#[derive(Debug)]
struct Link {
    /// How many states followed each other since one was written whole.
    count: u32,
    base: Option<u64>,
    /// The difference from `base`; `None` where a place became empty. Nothing if there is no base.
    difference: Difference,
}

type Difference = BTreeMap<StateKey, Option<OwnedEventId>>;

impl Link {
    fn of(row: &StateRow) -> Self {
        let filled = row.changes.iter().map(|(kind, key, id)| ((kind.as_str().into(), key.clone()), Some(id.clone())));
        let emptied = row.removals.iter().map(|(kind, key)| ((kind.as_str().into(), key.clone()), None));
        let difference = if row.base.is_some() { filled.chain(emptied).collect() } else { Difference::new() };
        Self { count: row.hops, base: row.base, difference }
    }
}

pub struct States {
    database: Database,
    positions: Positions,
    cache: RefCell<SizedCache<u64, (State, Rc<Link>)>>,
}

impl States {
    pub fn new(database: Database, positions: Positions) -> Self {
        Self { database, positions, cache: RefCell::new(SizedCache::new(STATES_CACHED_MAX_BYTES)) }
    }

    pub async fn load(&self, id: u64) -> Result<State, StoreError> {
        Ok(self.load_with_link(id).await?.0)
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
        let state = State::new(self.positions.next().await?.value(), entries);
        self.insert_whole(&state, None, batch);
        Ok(state)
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
        let filled = changes.into_iter().map(|(key, event_id)| (key, Some(event_id)));
        let own: Difference = filled.chain(removals.into_iter().map(|key| (key, None))).collect();
        apply(&mut entries, own.clone());
        let derived = Derived { from: base.id, places: own.keys().cloned().collect() };
        let id = self.positions.next().await?.value();
        let state = State { id, entries, derived: Some(Rc::new(derived)) };
        let changed = own.len();
        let link = self.link_after(base.id, own).await?;
        // A difference as large as half the state saves nothing over writing it whole.
        if link.difference.len() * 2 > state.entries.size() {
            self.insert_whole(&state, Some(changed), batch);
        } else {
            batch.put::<StatesTable>(&id, &row_of(&link));
            // Should the batch fail, the id is never used again and the entry ages out unused.
            self.keep(&state, link, Some(changed));
        }
        Ok(state)
    }

    /// How to store the state that follows `parent` and differs from it by `own`.
    async fn link_after(&self, parent: u64, own: Difference) -> Result<Link, StoreError> {
        let mut difference = own;
        let mut base = parent;
        let mut link = self.load_with_link(base).await?.1;
        let count = link.count + 1;
        let wanted = count - (1 << (count.trailing_zeros() / 3 * 3));
        // It is in the chain of the parent.
        while link.count > wanted
            && let Some(further) = link.base
        {
            for (key, holder) in &link.difference {
                difference.entry(key.clone()).or_insert_with(|| holder.clone());
            }
            base = further;
            link = self.load_with_link(base).await?.1;
        }
        Ok(Link { count, base: Some(base), difference })
    }

    fn insert_whole(&self, state: &State, changed: Option<usize>, batch: &mut Batch) {
        let whole = state.entries.iter().map(|((kind, key), id)| (kind.to_string(), key.clone(), id.clone()));
        let row = StateRow { base: None, hops: 0, changes: whole.collect(), removals: Vec::new() };
        batch.put::<StatesTable>(&state.id, &row);
        self.keep(state, Link { count: 0, base: None, difference: Difference::new() }, changed);
    }

    async fn load_with_link(&self, id: u64) -> Result<(State, Rc<Link>), StoreError> {
        let mut chain: Vec<StateRow> = Vec::new();
        let mut next = Some(id);
        let mut entries = RedBlackTreeMap::new();
        let mut shares = false;
        while let Some(current) = next {
            let cached = self.cache.borrow_mut().get(&current);
            if let Some((state, link)) = cached {
                if current == id {
                    return Ok((state, link));
                }
                shares = true;
                entries = state.entries;
                break;
            }
            if chain.len() >= CHAIN_ROWS_MAX {
                return Err(StoreError::Backend(format!("the chain of state {id} is too long")));
            }
            let row = self.database.get::<StatesTable>(&current).await?;
            let row = row.ok_or_else(|| StoreError::Backend(format!("state {current} is missing")))?;
            next = row.base;
            chain.push(row);
        }
        let changed = shares.then(|| chain.iter().map(|row| row.changes.len() + row.removals.len()).sum());
        let link = Link::of(&chain[0]);
        for row in chain.into_iter().rev() {
            for (kind, key, event_id) in row.changes {
                entries.insert_mut((kind.into(), key), event_id);
            }
            for (kind, key) in row.removals {
                entries.remove_mut(&(kind.into(), key));
            }
        }
        let state = State::new(id, entries);
        let link = self.keep(&state, link, changed);
        Ok((state, link))
    }

    /// Keeps a state in memory, of which all but `changed` entries are those of another there; `None` if it shares nothing.
    fn keep(&self, state: &State, link: Link, changed: Option<usize>) -> Rc<Link> {
        let whole = state.entries.size() * ENTRY_BYTES;
        let shared = changed.map_or(whole, |changed| whole.min(changed * CHANGE_BYTES));
        let bytes = shared + link.difference.len() * ENTRY_BYTES;
        let link = Rc::new(link);
        self.cache.borrow_mut().put(state.id, (state.clone(), link.clone()), bytes);
        link
    }
}

fn apply(entries: &mut RedBlackTreeMap<StateKey, OwnedEventId>, difference: Difference) {
    for (key, holder) in difference {
        match holder {
            Some(event_id) => {
                entries.insert_mut(key, event_id);
            }
            None => {
                entries.remove_mut(&key);
            }
        }
    }
}

fn row_of(link: &Link) -> StateRow {
    let mut row = StateRow { base: link.base, hops: link.count, changes: Vec::new(), removals: Vec::new() };
    for ((kind, key), holder) in &link.difference {
        match holder {
            Some(event_id) => row.changes.push((kind.to_string(), key.clone(), event_id.clone())),
            None => row.removals.push((kind.to_string(), key.clone())),
        }
    }
    row
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

    /// What the rows of one state hold: entries, and how many rows must be read for the whole.
    async fn stored(database: &Database, id: u64) -> (usize, usize) {
        let row = database.get::<StatesTable>(&id).await.unwrap().unwrap();
        let (mut next, mut rows) = (row.base, 1);
        while let Some(base) = next {
            next = database.get::<StatesTable>(&base).await.unwrap().unwrap().base;
            rows += 1;
        }
        (row.changes.len() + row.removals.len(), rows)
    }

    #[test]
    fn a_large_room_takes_little_a_change_and_few_rows_to_read() {
        const MEMBERS: usize = 1_500;
        block_on(async {
            let database = Database::new(Rc::new(MemoryDisk::default().open()));
            let positions = Positions::open(database.clone()).await.unwrap();
            let states = States::new(database.clone(), positions);
            let mut batch = Batch::default();
            let mut state = states.snapshot(&StateMap::new(), &mut batch).await.unwrap();
            let mut ids = Vec::new();
            for member in 0..MEMBERS {
                let place = (StateEventType::RoomMember, format!("@{member}:x.alt"));
                state = states.derive(&state, vec![(place, event(member as u16))], &mut batch).await.unwrap();
                ids.push(state.id);
            }
            database.commit(batch).await.unwrap();
            let (mut entries, mut longest) = (0, 0);
            for id in ids {
                let (held, rows) = stored(&database, id).await;
                entries += held;
                longest = longest.max(rows);
            }
            assert!(entries < MEMBERS * 8, "{entries} entries for {MEMBERS} changes");
            assert!(longest <= 32, "{longest} rows for one state");
        });
    }

    #[test]
    fn states_know_where_they_differ() {
        block_on(async {
            let database = Database::new(Rc::new(MemoryDisk::default().open()));
            let positions = Positions::open(database.clone()).await.unwrap();
            let states = States::new(database.clone(), positions);
            let mut batch = Batch::default();
            let map = StateMap::from([(key(1), event(1)), (key(2), event(2)), (key(3), event(3))]);
            let old = states.snapshot(&map, &mut batch).await.unwrap();
            let new = states
                .change(&old, vec![(key(2), event(9)), (key(4), event(4))], vec![key(3)], &mut batch)
                .await
                .unwrap();
            let differ = BTreeSet::from([key(2), key(3), key(4)]);
            assert_eq!(BTreeSet::from_iter(new.places_changed_since(&old)), differ, "it was made from it");
            assert_eq!(BTreeSet::from_iter(old.places_changed_since(&new)), differ, "it was not");
            assert!(new.places_changed_since(&new).is_empty());
        });
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
