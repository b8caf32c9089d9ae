//! Whose pushers have an application's id and key in common: when one user takes a device over, the others' go.
use ruma::OwnedUserId;

use crate::storage::Table;

pub struct PusherOwners;

impl Table for PusherOwners {
    const ID: u8 = 52;
    type Key = (String, String, OwnedUserId);
    type Row = ();
}
