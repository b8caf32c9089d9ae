//! A `Store` whose failures the user gets to see, whichever part of the core met them.
use std::rc::Rc;

use futures::future::LocalBoxFuture;

use crate::status::{StatusReporter, StorageFault};
use warren::ports::{Batch, Scan, Store, StoreError};

pub struct WatchedStore {
    pub store: Rc<dyn Store>,
    pub status: StatusReporter,
}

impl WatchedStore {
    fn failed(&self, error: &StoreError) {
        let fault = match error {
            StoreError::QuotaExceeded => StorageFault::Quota,
            StoreError::Fenced | StoreError::NewerSchema => StorageFault::Fenced,
            StoreError::Backend(reason) => {
                tracing::error!(%reason, "storage failed");
                StorageFault::Failed
            }
        };
        self.status.update(|status| status.storage.error = Some(fault));
    }

    fn wrote(&self) {
        self.status.update(|status| status.storage.error = None);
    }
}

impl Store for WatchedStore {
    fn get(&self, key: Vec<u8>) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async move { self.store.get(key).await.inspect_err(|error| self.failed(error)) })
    }

    fn get_many(&self, keys: Vec<Vec<u8>>) -> LocalBoxFuture<'_, Result<Vec<Option<Vec<u8>>>, StoreError>> {
        Box::pin(async move { self.store.get_many(keys).await.inspect_err(|error| self.failed(error)) })
    }

    fn scan(&self, scan: Scan) -> LocalBoxFuture<'_, Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError>> {
        Box::pin(async move { self.store.scan(scan).await.inspect_err(|error| self.failed(error)) })
    }

    fn commit(&self, batch: Batch) -> LocalBoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let written = self.store.commit(batch).await;
            match &written {
                Ok(()) => self.wrote(),
                Err(error) => self.failed(error),
            }
            written
        })
    }
}
