//! Durable bytes: an ordered map with atomic batches. Tables and their encodings live in `storage`; a backend sees bytes only.
use futures::future::LocalBoxFuture;
use thiserror::Error;

/// How safe a commit is once acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Survives a crash of the tab or process; power loss may cost it. For what peers can give back.
    Relaxed,
    /// On disk before it is acknowledged. For what nobody can give back: keys, accounts, tokens.
    Strict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put { key: Vec<u8>, value: Vec<u8> },
    Delete { key: Vec<u8> },
}

/// Writes that become visible together or not at all. Later operations on the same key win.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub ops: Vec<Op>,
    pub durability: Durability,
}

impl Default for Batch {
    fn default() -> Self {
        Self { ops: Vec::new(), durability: Durability::Relaxed }
    }
}

/// Keys from `start` (inclusive) to `end` (exclusive), ascending or, if `reverse`, descending, at most `limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    pub start: Vec<u8>,
    pub end: Vec<u8>,
    pub reverse: bool,
    pub limit: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// Storage is full; nothing of the batch was written.
    #[error("storage is full")]
    QuotaExceeded,
    /// Another leader has taken over this profile; this one must stop.
    #[error("another tab has taken over this profile")]
    Fenced,
    /// The data was written by newer code; this code must reload and not write.
    #[error("storage was written by a newer version")]
    NewerSchema,
    /// The backend failed; nothing of the batch was written. The text is for the log.
    #[error("storage failed: {0}")]
    Backend(String),
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

pub trait Store {
    fn get(&self, key: Vec<u8>) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, StoreError>>;

    /// One answer per key, in order.
    fn get_many(&self, keys: Vec<Vec<u8>>) -> LocalBoxFuture<'_, Result<Vec<Option<Vec<u8>>>, StoreError>>;

    fn scan(&self, scan: Scan) -> LocalBoxFuture<'_, Result<Vec<Pair>, StoreError>>;

    /// Writes the whole batch or nothing. Reads started after it resolves see it.
    fn commit(&self, batch: Batch) -> LocalBoxFuture<'_, Result<(), StoreError>>;
}
