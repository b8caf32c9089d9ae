//! Up to which stream position numbers are taken, so that none is ever used twice.
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct Positions;

impl Table for Positions {
    const ID: u8 = 3;
    type Key = ();
    type Row = PositionsRow;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PositionsRow {
    /// Positions below this may have been used, even if no row shows it.
    pub reserved_until: u64,
}
