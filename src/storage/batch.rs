//! Collecting typed writes into one atomic batch.
use super::table::{self, Row, Table};
use crate::ports::{Batch, Durability, Op};

impl Batch {
    pub fn strict() -> Self {
        Self { durability: Durability::Strict, ..Self::default() }
    }

    pub fn put<T: Table>(&mut self, key: &T::Key, row: &T::Row) {
        self.ops.push(Op::Put { key: table::encode_key::<T>(key), value: row.to_bytes() });
    }

    pub fn delete<T: Table>(&mut self, key: &T::Key) {
        self.ops.push(Op::Delete { key: table::encode_key::<T>(key) });
    }

    /// Appends `other`; the stricter durability of the two holds for both.
    pub fn append(&mut self, other: Batch) {
        self.ops.extend(other.ops);
        self.durability = self.durability.max(other.durability);
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}
