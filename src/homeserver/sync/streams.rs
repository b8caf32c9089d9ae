//! What a sync tells, one file a stream.
pub(super) mod account_data;
pub(super) mod device_lists;
pub(super) mod invites;
pub mod lazy_members;
pub mod presence;
pub(super) mod receipts;
pub(super) mod state;
pub mod summary;
pub(super) mod timeline;
pub(super) mod to_device;
pub(super) mod typing;
pub(super) mod unread;
