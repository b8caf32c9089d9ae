//! Transaction ids of clients: a request that is repeated, even while the first is under way, gets the first's answer.
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use multibase::Base;
use ruma::{OwnedDeviceId, OwnedUserId, TransactionId};
use sha2::{Digest, Sha256};

use super::{Homeserver, sessions::Session};
use crate::{
    ports::{Batch, StoreError},
    storage::tables::{ClientTxnRow, ClientTxns as Table},
};

/// How many transactions of a device are remembered, at least; older ones go first.
const CLIENT_TXNS_PER_DEVICE_MAX: usize = 1000;

/// How long a transaction is remembered, if there is room for it.
const CLIENT_TXN_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// After how many transactions those of the device at hand are pruned.
const PRUNE_EVERY: u64 = 250;

type Key = (OwnedUserId, OwnedDeviceId, String);

/// The transactions under way, with whoever waits for each.
#[derive(Clone, Default)]
pub struct ClientTxns {
    under_way: Rc<RefCell<BTreeMap<Key, Vec<Waker>>>>,
    begun: Rc<Cell<u64>>,
}

/// What a transaction id turned out to be.
pub enum Begun {
    /// It was answered before: with this event id or room id.
    Repeated(String),
    /// It is new, and nobody else is at it until the value is dropped.
    New(ClientTxn),
}

/// A transaction under way. Dropping it lets a repetition try again, or find what `record` wrote.
pub struct ClientTxn {
    key: Key,
    under_way: ClientTxns,
}

/// Begins the transaction `txn_id` of a device at an endpoint. `endpoint` tells apart requests that may carry the same id:
/// its path without the id.
pub async fn begin(
    homeserver: &Rc<Homeserver>,
    session: &Session,
    endpoint: &str,
    txn_id: &TransactionId,
) -> Result<Begun, StoreError> {
    // Of bounded length, however long an id the client chose.
    let digest = Base::Base64Url.encode(Sha256::digest(format!("{endpoint}\n{txn_id}")));
    let key = (session.user_id.clone(), session.device_id.clone(), digest);
    let txn = homeserver.client_txns.claim(key).await;
    if let Some(row) = homeserver.database.get::<Table>(&txn.key).await? {
        return Ok(Begun::Repeated(row.answer));
    }
    let txns = &homeserver.client_txns;
    txns.begun.set(txns.begun.get() + 1);
    if txns.begun.get().is_multiple_of(PRUNE_EVERY) {
        prune_later(homeserver, session);
    }
    Ok(Begun::New(txn))
}

impl ClientTxn {
    /// Notes the answer in the batch that makes it true.
    pub fn record(&self, batch: &mut Batch, answer: &str, now_ms: u64) {
        batch.put::<Table>(&self.key, &ClientTxnRow { answer: answer.to_owned(), at_ms: now_ms });
    }
}

impl Drop for ClientTxn {
    fn drop(&mut self) {
        let waiting = self.under_way.under_way.borrow_mut().remove(&self.key);
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

impl ClientTxns {
    async fn claim(&self, key: Key) -> ClientTxn {
        poll_fn(|context| {
            let mut under_way = self.under_way.borrow_mut();
            match under_way.get_mut(&key) {
                Some(waiting) => {
                    if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                        waiting.push(context.waker().clone());
                    }
                    Poll::Pending
                }
                None => {
                    under_way.insert(key.clone(), Vec::new());
                    Poll::Ready(())
                }
            }
        })
        .await;
        ClientTxn { key, under_way: self.clone() }
    }
}

fn prune_later(homeserver: &Rc<Homeserver>, session: &Session) {
    let weak = Rc::downgrade(homeserver);
    let device = (session.user_id.clone(), session.device_id.clone());
    homeserver.environment.tasks.spawn(Box::pin(async move {
        if let Some(homeserver) = weak.upgrade()
            && let Err(error) = prune(&homeserver, &device).await
        {
            tracing::debug!(%error, "old client transactions were not pruned");
        }
    }));
}

/// Deletes the transactions of a device that are too old or too many.
async fn prune(homeserver: &Homeserver, device: &(OwnedUserId, OwnedDeviceId)) -> Result<(), StoreError> {
    let mut rows = homeserver.database.scan_all::<Table, _>(device).await?;
    rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.at_ms));
    let oldest_ms = homeserver.environment.clock.now_ms().saturating_sub(CLIENT_TXN_KEPT_MS);
    let mut batch = Batch::default();
    for (index, (key, row)) in rows.iter().enumerate() {
        if index >= CLIENT_TXNS_PER_DEVICE_MAX || row.at_ms < oldest_ms {
            batch.delete::<Table>(key);
        }
    }
    homeserver.database.commit(batch).await
}
