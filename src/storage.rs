//! Typed tables over the byte store: what rows exist, how their keys are ordered, and how commits are grouped.
pub mod batch;
pub mod conformance;
pub mod group_commit;
pub mod key;
pub mod memory;
pub mod table;
pub mod tables;

use std::{cell::RefCell, rc::Rc};

use self::{group_commit::GroupCommit, table::decode_pair};
pub use self::{
    key::{Key, KeyReader},
    table::{Row, Table},
};
use crate::{
    domain::sized_cache::SizedCache,
    ports::{Batch, Scan, Store, StoreError},
};

/// The most rows one scan of the core asks for at once. Callers page.
pub const SCAN_PAGE_ROWS: usize = 1000;

/// What is kept in memory of which prefixes have rows, in bytes: about two thousand of them.
const PREFIXES_KNOWN_MAX_BYTES: usize = 512 * 1024;

/// Whether a prefix has rows, with the generation of its table when that was asked.
type PrefixesKnown = SizedCache<Vec<u8>, (u64, bool)>;

/// Typed access to the store. Cheap to clone; all clones share one commit queue.
#[derive(Clone)]
pub struct Database {
    store: Rc<dyn Store>,
    commits: Rc<GroupCommit>,
    known: Rc<RefCell<PrefixesKnown>>,
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

impl Database {
    pub fn new(store: Rc<dyn Store>) -> Self {
        let known = Rc::new(RefCell::new(SizedCache::new(PREFIXES_KNOWN_MAX_BYTES)));
        Self { commits: Rc::new(GroupCommit::new(store.clone())), store, known }
    }

    pub async fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Row>, StoreError> {
        match self.store.get(table::encode_key::<T>(key)).await? {
            Some(value) => Ok(Some(table::decode_row::<T>(&value)?)),
            None => Ok(None),
        }
    }

    /// One answer per key, in order.
    pub async fn get_many<T: Table>(&self, keys: &[T::Key]) -> Result<Vec<Option<T::Row>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys = keys.iter().map(table::encode_key::<T>).collect();
        let values = self.store.get_many(keys).await?;
        values.into_iter().map(|value| value.map(|v| table::decode_row::<T>(&v)).transpose()).collect()
    }

    /// Rows whose key begins with `prefix` (leading components of the key), at most `limit`.
    pub async fn scan_prefix<T: Table, P: Key>(
        &self,
        prefix: &P,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(T::Key, T::Row)>, StoreError> {
        let start = table::encode_prefix::<T, P>(prefix);
        let end = key::after_prefix(&start);
        self.scan_bytes::<T>(start, end, direction, limit).await
    }

    /// Whether there is a row whose key begins with `prefix`. The store is asked again only after a commit touched the table:
    /// for tables in which there is seldom anything.
    pub async fn has_any<T: Table, P: Key>(&self, prefix: &P) -> Result<bool, StoreError> {
        let start = table::encode_prefix::<T, P>(prefix);
        let generation = self.generation::<T>();
        if let Some((asked_at, any)) = self.known.borrow_mut().get(&start)
            && asked_at == generation
        {
            return Ok(any);
        }
        let scan = Scan { start: start.clone(), end: key::after_prefix(&start), reverse: false, limit: 1 };
        let any = !self.store.scan(scan).await?.is_empty();
        let bytes = start.len();
        self.known.borrow_mut().put(start, (generation, any), bytes);
        Ok(any)
    }

    /// Rows of the prefix that follow the key `after`, or its first ones, at most `limit`: for tables of any size.
    pub async fn scan_after<T: Table, P: Key>(
        &self,
        prefix: &P,
        after: Option<&T::Key>,
        limit: usize,
    ) -> Result<Vec<(T::Key, T::Row)>, StoreError> {
        let first = table::encode_prefix::<T, P>(prefix);
        let end = key::after_prefix(&first);
        // The next key after `after` in byte order.
        let start = after.map_or(first, |key| [table::encode_key::<T>(key).as_slice(), &[0]].concat());
        self.scan_bytes::<T>(start, end, Direction::Ascending, limit).await
    }

    /// Rows with `start <= key < end`, at most `limit`.
    pub async fn scan_range<T: Table>(
        &self,
        start: &T::Key,
        end: &T::Key,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(T::Key, T::Row)>, StoreError> {
        self.scan_bytes::<T>(table::encode_key::<T>(start), table::encode_key::<T>(end), direction, limit).await
    }

    /// Every row of the prefix, page by page. For tables whose size under one prefix is bounded by its owner.
    pub async fn scan_all<T: Table, P: Key>(&self, prefix: &P) -> Result<Vec<(T::Key, T::Row)>, StoreError> {
        let mut start = table::encode_prefix::<T, P>(prefix);
        let end = key::after_prefix(&start);
        let mut rows = Vec::new();
        loop {
            let page = self
                .store
                .scan(Scan { start: start.clone(), end: end.clone(), reverse: false, limit: SCAN_PAGE_ROWS })
                .await?;
            let full = page.len() == SCAN_PAGE_ROWS;
            if let Some((last, _)) = page.last() {
                // The next key after `last` in byte order.
                start = [last.as_slice(), &[0]].concat();
            }
            for pair in page {
                rows.push(decode_pair::<T>(pair)?);
            }
            if !full {
                return Ok(rows);
            }
        }
    }

    async fn scan_bytes<T: Table>(
        &self,
        start: Vec<u8>,
        end: Vec<u8>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(T::Key, T::Row)>, StoreError> {
        if start >= end || limit == 0 {
            return Ok(Vec::new());
        }
        let reverse = direction == Direction::Descending;
        self.store.scan(Scan { start, end, reverse, limit }).await?.into_iter().map(decode_pair::<T>).collect()
    }

    /// A number that grows whenever rows of the table may have changed: what was read from the table before is still true
    /// while it stays the same.
    pub fn generation<T: Table>(&self) -> u64 {
        self.commits.generation(T::ID)
    }

    /// Writes the batch, together with whatever else waits while a commit is in flight.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.commits.commit(batch).await
    }
}
