//! A disk that can lose power: every commit since the last strict one is gone then.
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use futures::future::LocalBoxFuture;
use warren::ports::{Batch, Durability, Op, Scan, Store, StoreError};

use super::{clock::SimTime, random::Random};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A commit takes up to this long.
const COMMIT_MAX_MS: u64 = 8;

#[derive(Default)]
struct Contents {
    rows: Rows,
    /// The value each key had at the last strict commit, for keys changed since.
    undo: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    epoch: u64,
}

#[derive(Clone, Default)]
pub struct SimDisk(Rc<RefCell<Contents>>);

impl SimDisk {
    pub fn open(&self, time: SimTime, random: Random) -> Rc<dyn Store> {
        let mut contents = self.0.borrow_mut();
        contents.epoch += 1;
        Rc::new(SimStore { disk: self.clone(), epoch: contents.epoch, time, random })
    }

    /// Whatever is in flight never happens.
    pub fn cut_off(&self) {
        self.0.borrow_mut().epoch += 1;
    }

    /// Loses every commit since the last strict one; answers whether there was any.
    pub fn lose_relaxed(&self) -> bool {
        let mut contents = self.0.borrow_mut();
        let undo = std::mem::take(&mut contents.undo);
        let lost = !undo.is_empty();
        for (key, value) in undo {
            match value {
                Some(value) => contents.rows.insert(key, value),
                None => contents.rows.remove(&key),
            };
        }
        lost
    }
}

struct SimStore {
    disk: SimDisk,
    epoch: u64,
    time: SimTime,
    random: Random,
}

impl SimStore {
    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let mut contents = self.disk.0.borrow_mut();
        if contents.epoch != self.epoch {
            return Err(StoreError::Fenced);
        }
        for op in batch.ops {
            let (key, value) = match op {
                Op::Put { key, value } => (key, Some(value)),
                Op::Delete { key } => (key, None),
            };
            let old = match value {
                Some(value) => contents.rows.insert(key.clone(), value),
                None => contents.rows.remove(&key),
            };
            contents.undo.entry(key).or_insert(old);
        }
        if batch.durability == Durability::Strict {
            contents.undo.clear();
        }
        Ok(())
    }
}

impl Store for SimStore {
    fn get(&self, key: Vec<u8>) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async move { Ok(self.disk.0.borrow().rows.get(&key).cloned()) })
    }

    fn get_many(&self, keys: Vec<Vec<u8>>) -> LocalBoxFuture<'_, Result<Vec<Option<Vec<u8>>>, StoreError>> {
        Box::pin(async move {
            let contents = self.disk.0.borrow();
            Ok(keys.iter().map(|key| contents.rows.get(key).cloned()).collect())
        })
    }

    fn scan(&self, scan: Scan) -> LocalBoxFuture<'_, Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError>> {
        Box::pin(async move {
            if scan.start >= scan.end {
                return Ok(Vec::new());
            }
            let contents = self.disk.0.borrow();
            let range = contents.rows.range(scan.start..scan.end).map(|(key, value)| (key.clone(), value.clone()));
            Ok(if scan.reverse { range.rev().take(scan.limit).collect() } else { range.take(scan.limit).collect() })
        })
    }

    fn commit(&self, batch: Batch) -> LocalBoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.time.sleep(self.random.below(COMMIT_MAX_MS)).await;
            self.write(batch)
        })
    }
}
