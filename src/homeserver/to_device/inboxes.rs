//! How much waits for each device, so that most syncs and deliveries need not look.
use std::{cell::RefCell, num::NonZeroUsize};

use lru::LruCache;

use super::{Device, bytes_of};
use crate::{homeserver::Homeserver, ports::StoreError, storage::tables::ToDevice};

/// Devices of which that is known without looking.
const DEVICES_KNOWN: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");

#[derive(Clone, Copy, Debug, Default)]
pub struct Inbox {
    pub messages: usize,
    pub bytes: usize,
    /// The stream position of the newest message that ever came.
    pub newest: u64,
}

pub struct Inboxes(RefCell<LruCache<Device, Inbox>>);

impl Default for Inboxes {
    fn default() -> Self {
        Self(RefCell::new(LruCache::new(DEVICES_KNOWN)))
    }
}

impl Inboxes {
    pub async fn load(&self, server: &Homeserver, device: &Device) -> Result<Inbox, StoreError> {
        if let Some(inbox) = self.0.borrow_mut().get(device) {
            return Ok(*inbox);
        }
        let rows = server.database.scan_all::<ToDevice, _>(device).await?;
        let inbox = Inbox {
            messages: rows.len(),
            bytes: rows.iter().map(|(_, row)| bytes_of(&row.content)).sum(),
            newest: rows.last().map_or(0, |((_, _, position), _)| *position),
        };
        // Whoever learnt it meanwhile knows of what was written meanwhile.
        Ok(*self.0.borrow_mut().get_or_insert(device.clone(), || inbox))
    }

    pub fn grew(&self, device: &Device, bytes: usize, position: u64) {
        if let Some(inbox) = self.0.borrow_mut().get_mut(device) {
            inbox.messages += 1;
            inbox.bytes += bytes;
            inbox.newest = inbox.newest.max(position);
        }
    }

    pub fn shrank(&self, device: &Device, messages: usize, bytes: usize) {
        if let Some(inbox) = self.0.borrow_mut().get_mut(device) {
            inbox.messages = inbox.messages.saturating_sub(messages);
            inbox.bytes = inbox.bytes.saturating_sub(bytes);
        }
    }

    /// Has the store asked again, if nothing has come after this position.
    pub fn forget_before(&self, device: &Device, position: u64) {
        let mut inboxes = self.0.borrow_mut();
        if inboxes.peek(device).is_some_and(|inbox| inbox.newest <= position) {
            inboxes.pop(device);
        }
    }
}
