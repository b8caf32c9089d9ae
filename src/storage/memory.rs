//! The store that forgets: tests, simulation, and tabs whose browser refuses IndexedDB.
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use futures::future::{LocalBoxFuture, ready};

use crate::ports::{Batch, Op, Scan, Store, StoreError};

#[derive(Clone, Default)]
struct Contents {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    epoch: u64,
}

/// An ordered map. Handles opened on the same `MemoryDisk` fence each other as tabs do.
#[derive(Clone, Default)]
pub struct MemoryDisk(Rc<RefCell<Contents>>);

impl MemoryDisk {
    /// Opens the disk and fences every handle opened before.
    pub fn open(&self) -> MemoryStore {
        let mut contents = self.0.borrow_mut();
        contents.epoch += 1;
        MemoryStore { disk: self.clone(), epoch: contents.epoch }
    }

    /// Another disk with the same contents, as a copy of a profile would have.
    pub fn snapshot(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// Sum of key and value lengths.
    pub fn bytes_stored(&self) -> usize {
        self.0.borrow().rows.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

pub struct MemoryStore {
    disk: MemoryDisk,
    epoch: u64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryDisk::default().open()
    }
}

impl MemoryStore {
    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let mut contents = self.disk.0.borrow_mut();
        if contents.epoch != self.epoch {
            return Err(StoreError::Fenced);
        }
        for op in batch.ops {
            match op {
                Op::Put { key, value } => contents.rows.insert(key, value),
                Op::Delete { key } => contents.rows.remove(&key),
            };
        }
        Ok(())
    }
}

impl Store for MemoryStore {
    fn get(&self, key: Vec<u8>) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(ready(Ok(self.disk.0.borrow().rows.get(&key).cloned())))
    }

    fn get_many(&self, keys: Vec<Vec<u8>>) -> LocalBoxFuture<'_, Result<Vec<Option<Vec<u8>>>, StoreError>> {
        let contents = self.disk.0.borrow();
        Box::pin(ready(Ok(keys.iter().map(|key| contents.rows.get(key).cloned()).collect())))
    }

    fn scan(&self, scan: Scan) -> LocalBoxFuture<'_, Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError>> {
        if scan.start >= scan.end {
            return Box::pin(ready(Ok(Vec::new())));
        }
        let contents = self.disk.0.borrow();
        let range = contents.rows.range(scan.start..scan.end).map(|(key, value)| (key.clone(), value.clone()));
        let rows = if scan.reverse { range.rev().take(scan.limit).collect() } else { range.take(scan.limit).collect() };
        Box::pin(ready(Ok(rows)))
    }

    fn commit(&self, batch: Batch) -> LocalBoxFuture<'_, Result<(), StoreError>> {
        Box::pin(ready(self.write(batch)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        let disks: Rc<RefCell<BTreeMap<String, MemoryDisk>>> = Rc::default();
        futures::executor::block_on(crate::storage::conformance::run(|name| {
            let disk = disks.borrow_mut().entry(name.to_owned()).or_default().clone();
            Box::pin(async move { Ok(Rc::new(disk.open()) as Rc<dyn Store>) })
        }));
    }
}
