//! Where each user's list of devices stands: of ours what was said of it last, of others how our copy of it is.
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};

use crate::storage::Table;

pub struct DeviceLists;

impl Table for DeviceLists {
    const ID: u8 = 103;
    type Key = OwnedUserId;
    type Row = DeviceListRow;
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceListRow {
    /// When clients were last to be told of a change, as a stream position.
    pub changed_at: u64,
    /// The `stream_id` of the newest update that is in the list: one that we gave, or that the user's server did.
    #[serde(default)]
    pub stream_id: u64,
    /// The `stream_id`s that the user's server is known to have given, the latest; none of users of ours.
    #[serde(default)]
    pub seen: Vec<u64>,
    #[serde(default)]
    pub copy: DeviceListCopy,
    /// What the copy takes, in bytes.
    #[serde(default)]
    pub bytes: u64,
}

/// Whether we have the list of another server's user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceListCopy {
    /// No: whoever wants it asks for it. So of all users of ours, whose devices are in tables of their own.
    #[default]
    None,
    /// Yes, and every update is in it.
    Good,
    /// An update is missing: it is being asked for again.
    Stale,
}
