//! The store of a homeserver without a browser: one directory of fjall (docs/adr/0006-disk-store.md).
//!
//! A relaxed commit is in the operating system's hands when it is acknowledged and survives the death of the process; a
//! strict one is on the disk, with every commit before it.
#[cfg(test)]
mod tests;
mod torn_journal;

use std::{
    cell::Cell,
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use futures::future::{LocalBoxFuture, ready};
use tokio::{sync::Mutex, task::spawn_blocking};
use warren::ports::{Batch, Durability, Op, Scan, Store, StoreError, store::Pair};

/// What is written before it is sorted into tables, in bytes. Opening reads as much again from the journal, so this
/// bounds how long a start takes after a crash.
const MEMTABLE_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Blocks of tables kept in memory, in bytes.
const CACHE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Threads that sort and merge: one may write a table while the other merges.
const WORKER_THREADS: usize = 2;

/// The longest key fjall takes, in bytes.
const KEY_MAX_BYTES: usize = u16::MAX as usize;

/// Everything is in one keyspace, as its order is the order of the core's keys.
const ROWS: &str = "rows";

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("cannot make the data directory {path}: {source}")]
    DataDir { path: PathBuf, source: io::Error },
    #[error("the data in {path} is in use by another process: stop that one, or choose another --data-dir")]
    InUse { path: PathBuf },
    #[error("the data in {path} cannot be opened: {reason}")]
    Open { path: PathBuf, reason: String },
}

/// One directory, opened once: no other process can open it, and the stores opened on it fence each other.
pub struct DiskDatabase(Rc<Disk>);

struct Disk {
    database: Database,
    rows: Keyspace,
    /// Of the store opened last.
    epoch: Cell<u64>,
    /// Held by the commit under way. Whoever asks first is first.
    turn: Arc<Mutex<()>>,
    counts: Cell<CommitCounts>,
}

/// Commits since the directory was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitCounts {
    pub relaxed: u64,
    pub strict: u64,
    pub failed: u64,
}

/// A handle that writes until a later one is opened.
pub struct DiskStore {
    disk: Rc<Disk>,
    epoch: u64,
}

impl DiskDatabase {
    /// Opens `directory`, made if it is not there and readable by its owner alone, as it holds keys. Blocks, after a
    /// crash for as long as it takes to read the journal.
    pub fn open(directory: &Path) -> Result<Self, DiskError> {
        make_private(directory).map_err(|source| DiskError::DataDir { path: directory.to_owned(), source })?;
        let failed = |error: fjall::Error| match error {
            fjall::Error::Locked => DiskError::InUse { path: directory.to_owned() },
            error => DiskError::Open { path: directory.to_owned(), reason: reason(&error) },
        };
        let database = torn_journal::open(directory, || {
            Database::builder(directory).cache_size(CACHE_MAX_BYTES).worker_threads(WORKER_THREADS).open()
        })
        .map_err(failed)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_MAX_BYTES);
        let rows = database.keyspace(ROWS, options).map_err(failed)?;
        let (epoch, turn, counts) = (Cell::new(0), Arc::default(), Cell::default());
        Ok(Self(Rc::new(Disk { database, rows, epoch, turn, counts })))
    }

    /// A handle on the whole directory; those opened before write no more.
    pub fn store(&self) -> DiskStore {
        let epoch = self.0.epoch.get() + 1;
        self.0.epoch.set(epoch);
        DiskStore { disk: self.0.clone(), epoch }
    }

    /// Resolves once everything that was acknowledged is on the disk.
    pub async fn sync(&self) -> Result<(), StoreError> {
        self.0.sync(self.0.turn.clone().lock_owned().await).await
    }

    pub fn commit_counts(&self) -> CommitCounts {
        self.0.counts.get()
    }

    /// What the directory takes up, in bytes.
    pub fn bytes_on_disk(&self) -> u64 {
        self.0.database.disk_space().unwrap_or_default()
    }
}

impl Disk {
    /// Applies the operations, all or none, and hands them to the operating system.
    fn write(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
        for op in ops {
            let (Op::Put { key, .. } | Op::Delete { key }) = &op;
            if key.is_empty() || key.len() > KEY_MAX_BYTES {
                return Err(StoreError::Backend(format!("a key of {} bytes", key.len())));
            }
            match op {
                Op::Put { key, value } => batch.insert(&self.rows, key, value),
                Op::Delete { key } => batch.remove(&self.rows, key),
            }
        }
        batch.commit().map_err(|error| store_error(&error))
    }

    /// Off this thread, which may read meanwhile. `turn` is given back when it is done, and not when nobody waits for it
    /// any more, so that no later commit overtakes this one.
    async fn sync(&self, turn: tokio::sync::OwnedMutexGuard<()>) -> Result<(), StoreError> {
        let database = self.database.clone();
        let syncing = spawn_blocking(move || {
            let synced = database.persist(PersistMode::SyncData);
            drop(turn);
            synced
        });
        match syncing.await {
            Ok(synced) => synced.map_err(|error| store_error(&error)),
            Err(stopped) => Err(StoreError::Backend(stopped.to_string())),
        }
    }

    fn count(&self, durability: Durability, outcome: &Result<(), StoreError>) {
        let mut counts = self.counts.get();
        match (outcome, durability) {
            (Err(_), _) => counts.failed += 1,
            (Ok(()), Durability::Relaxed) => counts.relaxed += 1,
            (Ok(()), Durability::Strict) => counts.strict += 1,
        }
        self.counts.set(counts);
    }
}

impl DiskStore {
    async fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let turn = self.disk.turn.clone().lock_owned().await;
        if self.disk.epoch.get() != self.epoch {
            return Err(StoreError::Fenced);
        }
        // Here and not beside this thread: no read finds a half of it, and it takes less time than a change of threads.
        self.disk.write(batch.ops)?;
        match batch.durability {
            Durability::Relaxed => Ok(()),
            Durability::Strict => self.disk.sync(turn).await,
        }
    }

    fn get_now(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.disk.rows.get(key).map_err(|error| store_error(&error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan_now(&self, scan: Scan) -> Result<Vec<Pair>, StoreError> {
        if scan.start >= scan.end {
            return Ok(Vec::new());
        }
        let pair = |guard: fjall::Guard| {
            let (key, value) = guard.into_inner().map_err(|error| store_error(&error))?;
            Ok((key.to_vec(), value.to_vec()))
        };
        let rows = self.disk.rows.range(scan.start..scan.end);
        if scan.reverse {
            rows.rev().take(scan.limit).map(pair).collect()
        } else {
            rows.take(scan.limit).map(pair).collect()
        }
    }
}

impl Store for DiskStore {
    fn get(&self, key: Vec<u8>) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(ready(self.get_now(&key)))
    }

    fn get_many(&self, keys: Vec<Vec<u8>>) -> LocalBoxFuture<'_, Result<Vec<Option<Vec<u8>>>, StoreError>> {
        Box::pin(ready(keys.iter().map(|key| self.get_now(key)).collect()))
    }

    fn scan(&self, scan: Scan) -> LocalBoxFuture<'_, Result<Vec<Pair>, StoreError>> {
        Box::pin(ready(self.scan_now(scan)))
    }

    fn commit(&self, batch: Batch) -> LocalBoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let durability = batch.durability;
            let outcome = self.write(batch).await;
            self.disk.count(durability, &outcome);
            if let Err(StoreError::Backend(reason)) = &outcome {
                tracing::error!(reason, "storage failed");
            }
            outcome
        })
    }
}

fn make_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn store_error(error: &fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(source) if is_full(source) => StoreError::QuotaExceeded,
        error => StoreError::Backend(reason(error)),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn reason(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(source) => source.to_string(),
        // Nobody knows what of it is on the disk, so nothing more is written over it.
        fjall::Error::Poisoned => "an earlier write failed; nothing is written until the next start".to_owned(),
        fjall::Error::InvalidVersion(_) => "it was written by a newer version, or is no data of Warren".to_owned(),
        error => error.to_string(),
    }
}
