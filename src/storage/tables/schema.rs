//! The version of the schema, so that older code meets newer data without touching it.
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Schema;

impl Table for Schema {
    const ID: u8 = 1;
    type Key = ();
    type Row = SchemaRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchemaRow {
    pub version: u32,
}

/// Grows by one with each change that older code must not write to; fields with defaults do not count.
pub const SCHEMA_VERSION: u32 = 1;
