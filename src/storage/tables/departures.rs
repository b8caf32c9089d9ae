//! Users who deactivated their account and are not out of all their rooms yet.
use ruma::OwnedUserId;

use crate::storage::Table;

pub struct Departures;

impl Table for Departures {
    const ID: u8 = 62;
    type Key = OwnedUserId;
    type Row = ();
}
