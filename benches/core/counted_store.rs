//! Counts what the core asks of its store: in a browser each of these is a round trip to IndexedDB.
use std::{cell::Cell, rc::Rc};

use futures::future::LocalBoxFuture;
use warren::{
    ports::{Batch, Scan, Store, StoreError, store::Pair},
    storage::memory::MemoryStore,
};

/// How often the store was asked, since the beginning.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub reads: usize,
    pub commits: usize,
}

pub struct CountedStore {
    pub inner: MemoryStore,
    pub counts: Rc<Cell<Counts>>,
}

impl CountedStore {
    fn count_read(&self) {
        let counts = self.counts.get();
        self.counts.set(Counts { reads: counts.reads + 1, ..counts });
    }
}

impl Store for CountedStore {
    fn get(&self, key: Vec<u8>) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        self.count_read();
        self.inner.get(key)
    }

    fn get_many(&self, keys: Vec<Vec<u8>>) -> LocalBoxFuture<'_, Result<Vec<Option<Vec<u8>>>, StoreError>> {
        self.count_read();
        self.inner.get_many(keys)
    }

    fn scan(&self, scan: Scan) -> LocalBoxFuture<'_, Result<Vec<Pair>, StoreError>> {
        self.count_read();
        self.inner.scan(scan)
    }

    fn commit(&self, batch: Batch) -> LocalBoxFuture<'_, Result<(), StoreError>> {
        let counts = self.counts.get();
        self.counts.set(Counts { commits: counts.commits + 1, ..counts });
        self.inner.commit(batch)
    }
}
