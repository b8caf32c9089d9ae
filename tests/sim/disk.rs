//! A disk that can lose power, which costs it some of the commits since the last strict one, the latest first; and on
//! which a server can be made to die in the middle of a commit.
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use futures::future::{LocalBoxFuture, pending};
use warren::ports::{Batch, Durability, Op, Scan, Store, StoreError};

use super::{clock::SimTime, random::Random};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
/// What each key that a commit wrote had before.
type Undo = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A commit takes up to this long.
const COMMIT_MAX_MS: u64 = 8;

/// When the server that writes here dies.
#[derive(Clone, Copy, Debug)]
pub struct Doom {
    /// Commits that still succeed.
    pub commits_left: u64,
    /// Whether the commit it dies in is written.
    pub written: bool,
    pub power_loss: bool,
}

#[derive(Default)]
struct Contents {
    rows: Rows,
    /// Of each commit since the last strict one, oldest first.
    relaxed: Vec<Undo>,
    epoch: u64,
    doom: Option<Doom>,
    /// The server died in a commit, and nobody has noticed yet.
    struck: Option<Doom>,
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
        let mut contents = self.0.borrow_mut();
        contents.epoch += 1;
        contents.doom = None;
        contents.struck = None;
    }

    /// The server is to die in a commit; or, with `None`, to live on.
    pub fn set_doom(&self, doom: Option<Doom>) {
        self.0.borrow_mut().doom = doom;
    }

    /// How the server died, if it died in a commit.
    pub fn struck(&self) -> Option<Doom> {
        self.0.borrow().struck
    }

    /// How many commits power loss could cost now.
    pub fn relaxed_commits(&self) -> usize {
        self.0.borrow().relaxed.len()
    }

    /// Loses the latest `count` commits.
    pub fn lose(&self, count: usize) {
        let mut contents = self.0.borrow_mut();
        for _ in 0..count {
            for (key, value) in contents.relaxed.pop().unwrap_or_default() {
                match value {
                    Some(value) => contents.rows.insert(key, value),
                    None => contents.rows.remove(&key),
                };
            }
        }
    }
}

struct SimStore {
    disk: SimDisk,
    epoch: u64,
    time: SimTime,
    random: Random,
}

impl SimStore {
    /// `Ok(false)` if the server died of it.
    fn write(&self, batch: Batch) -> Result<bool, StoreError> {
        let mut contents = self.disk.0.borrow_mut();
        if contents.epoch != self.epoch {
            return Err(StoreError::Fenced);
        }
        if contents.struck.is_some() {
            return Ok(false);
        }
        let dies = match &mut contents.doom {
            Some(doom) if doom.commits_left == 0 => true,
            Some(doom) => {
                doom.commits_left -= 1;
                false
            }
            None => false,
        };
        if dies {
            contents.struck = contents.doom.take();
        }
        if !dies || contents.struck.is_some_and(|doom| doom.written) {
            contents.apply(batch);
        }
        Ok(!dies)
    }
}

impl Contents {
    fn apply(&mut self, batch: Batch) {
        let mut undo = Undo::new();
        for op in batch.ops {
            let (key, value) = match op {
                Op::Put { key, value } => (key, Some(value)),
                Op::Delete { key } => (key, None),
            };
            let old = match value {
                Some(value) => self.rows.insert(key.clone(), value),
                None => self.rows.remove(&key),
            };
            undo.entry(key).or_insert(old);
        }
        match batch.durability {
            Durability::Strict => self.relaxed.clear(),
            Durability::Relaxed => self.relaxed.push(undo),
        }
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
            match self.write(batch)? {
                true => Ok(()),
                // Whoever waited dies waiting.
                false => pending().await,
            }
        })
    }
}
