//! An environment for one homeserver: a clock that only tests move, seeded entropy, storage that fails when told to, and
//! nobody to talk to.
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use bytes::Bytes;
use futures::{
    executor::LocalSpawner,
    future::{AbortHandle, LocalBoxFuture, abortable, pending, ready},
    task::LocalSpawnExt,
};
use ruma::{OwnedServerName, ServerName};
use warren::{
    ports::{
        Batch, Clock, Entropy, Lane, Offload, PushGatewayError, PushGateways, Scan, Store, StoreError, Tasks,
        Transport, TransportError, offload::Computation,
    },
    storage::memory::MemoryStore,
};

/// The clock's first reading, in milliseconds since the Unix epoch.
const START_MS: u64 = 1_700_000_000_000;

/// What befalls one commit.
#[derive(Clone, Debug)]
pub enum Mishap {
    /// Nothing of it is written.
    Fails(StoreError),
    /// Neither it nor any commit after it ever ends: the worker stops here.
    Hangs { written: bool },
    /// The code panics that commits.
    Panics,
}

/// A memory store whose commits fail while a fault is set, and that takes its time when told to. Nothing of a failed
/// commit is written.
pub struct FaultyStore {
    inner: MemoryStore,
    pub fault: RefCell<Option<StoreError>>,
    /// While set, each operation lets others go first, as often as the seed in it says.
    pub slowness: Cell<Option<u64>>,
    /// Reads since the start.
    pub reads: Cell<usize>,
    /// Commits since the start or the last `plan`.
    pub commits: Cell<u64>,
    plan: RefCell<Option<(u64, Mishap)>>,
    hung: Cell<bool>,
}

impl FaultyStore {
    pub fn new(inner: MemoryStore) -> Self {
        Self {
            inner,
            fault: RefCell::default(),
            slowness: Cell::default(),
            reads: Cell::default(),
            commits: Cell::default(),
            plan: RefCell::default(),
            hung: Cell::default(),
        }
    }

    /// Counts commits from here; the `n`-th, from 1 on, meets with `mishap`.
    pub fn plan(&self, n: u64, mishap: Mishap) {
        self.commits.set(0);
        self.plan.replace(Some((n, mishap)));
    }

    /// Whether the mishap has happened; there will be none any more.
    pub fn end_plan(&self) -> bool {
        self.plan.take().is_some_and(|(n, _)| self.commits.get() >= n)
    }

    /// Whether a commit hangs.
    pub fn is_hung(&self) -> bool {
        self.hung.get()
    }

    /// The mishap this commit meets with, if any.
    fn mishap(&self) -> Option<Mishap> {
        self.commits.set(self.commits.get() + 1);
        if self.hung.get() {
            return Some(Mishap::Hangs { written: false });
        }
        let plan = self.plan.borrow();
        let (_, mishap) = plan.as_ref().filter(|(n, _)| *n == self.commits.get())?;
        self.hung.set(matches!(mishap, Mishap::Hangs { .. }));
        Some(mishap.clone())
    }

    async fn take_time(&self) {
        let Some(seed) = self.slowness.get() else { return };
        let next = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.slowness.set(Some(next));
        for _ in 0..(next >> 60) {
            yield_once().await;
        }
    }

    async fn reading(&self) {
        self.reads.set(self.reads.get() + 1);
        self.take_time().await;
    }
}

/// Lets others go first.
pub async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Store for FaultyStore {
    fn get(&self, key: Vec<u8>) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async move {
            self.reading().await;
            self.inner.get(key).await
        })
    }

    fn get_many(&self, keys: Vec<Vec<u8>>) -> LocalBoxFuture<'_, Result<Vec<Option<Vec<u8>>>, StoreError>> {
        Box::pin(async move {
            self.reading().await;
            self.inner.get_many(keys).await
        })
    }

    fn scan(&self, scan: Scan) -> LocalBoxFuture<'_, Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError>> {
        Box::pin(async move {
            self.reading().await;
            self.inner.scan(scan).await
        })
    }

    fn commit(&self, batch: Batch) -> LocalBoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.take_time().await;
            let fault = self.fault.borrow().clone().map(Mishap::Fails);
            match self.mishap().or(fault) {
                Some(Mishap::Fails(error)) => Err(error),
                Some(Mishap::Hangs { written }) => {
                    if written {
                        self.inner.commit(batch).await?;
                    }
                    pending().await
                }
                Some(Mishap::Panics) => panic!("what this test is about"),
                None => self.inner.commit(batch).await,
            }
        })
    }
}

/// Time stands still until `advance`.
pub struct FakeClock {
    now_ms: Cell<u64>,
    sleepers: RefCell<BTreeMap<u64, Vec<Waker>>>,
    /// So that `sleep_ms` can hand out futures that outlive the borrow.
    itself: std::rc::Weak<Self>,
}

impl FakeClock {
    pub fn advance(&self, ms: u64) {
        self.now_ms.set(self.now_ms.get() + ms);
        let later = self.sleepers.borrow_mut().split_off(&(self.now_ms.get() + 1));
        let due = self.sleepers.replace(later);
        due.into_values().flatten().for_each(Waker::wake);
    }

    /// When the next of those who wait for a time is due.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.sleepers.borrow().first_key_value().map(|(due_ms, _)| *due_ms)
    }

    pub fn new() -> Rc<Self> {
        Rc::new_cyclic(|itself| Self {
            now_ms: Cell::new(START_MS),
            sleepers: RefCell::default(),
            itself: itself.clone(),
        })
    }
}

impl Clock for FakeClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    fn sleep_ms(&self, duration_ms: u64) -> LocalBoxFuture<'static, ()> {
        let clock = self.itself.upgrade().expect("self is alive");
        let until = self.now_ms.get() + duration_ms;
        Box::pin(poll_fn(move |context| {
            if clock.now_ms.get() >= until {
                return Poll::Ready(());
            }
            clock.sleepers.borrow_mut().entry(until).or_default().push(context.waker().clone());
            Poll::Pending
        }))
    }
}

/// The same bytes in every run (splitmix64).
pub struct SeededEntropy(Cell<u64>);

impl SeededEntropy {
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
            let mut z = self.0.get();
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// The tasks of one homeserver; they can be stopped together, as those of a worker are.
pub struct PoolTasks {
    spawner: LocalSpawner,
    handles: RefCell<Vec<AbortHandle>>,
}

impl PoolTasks {
    pub fn new(spawner: LocalSpawner) -> Self {
        Self { spawner, handles: RefCell::default() }
    }

    /// Stops every task where it stands and drops it.
    pub fn stop(&self) {
        self.handles.borrow_mut().drain(..).for_each(|handle| handle.abort());
    }
}

impl Tasks for PoolTasks {
    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        let (task, handle) = abortable(task);
        self.handles.borrow_mut().push(handle);
        // Fails only once the pool is gone, and with it everything that could have waited for the task.
        let _ = self.spawner.spawn_local(async move {
            let _ended_or_stopped = task.await;
        });
    }
}

pub struct Inline;

impl Offload for Inline {
    fn run(&self, work: Computation) -> LocalBoxFuture<'static, Vec<u8>> {
        Box::pin(ready(work()))
    }
}

/// A transport with nobody at the other end; remembers what addresses it was told.
#[derive(Default)]
pub struct NobodyThere {
    pub hints: RefCell<BTreeMap<OwnedServerName, Vec<String>>>,
}

impl Transport for NobodyThere {
    fn request(
        &self,
        destination: OwnedServerName,
        _lane: Lane,
        _request: http::Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<http::Response<Bytes>, TransportError>> {
        let reason = "nobody is there".to_owned();
        Box::pin(ready(Err(TransportError::Unreachable { server: destination, reason })))
    }

    fn connected(&self) -> Vec<OwnedServerName> {
        Vec::new()
    }

    fn add_address_hints(&self, server: &ServerName, addresses: Vec<String>) {
        self.hints.borrow_mut().insert(server.to_owned(), addresses);
    }
}

/// The web with its push gateways: remembers what was posted where and answers what it is told to.
#[derive(Default)]
pub struct FakeGateways {
    pub posted: RefCell<Vec<(String, serde_json::Value)>>,
    /// What becomes of the next posts, in order; after them all is well.
    pub answers: RefCell<VecDeque<Result<(u16, serde_json::Value), PushGatewayError>>>,
}

impl FakeGateways {
    /// The notifications posted since the last call.
    pub fn take(&self) -> Vec<serde_json::Value> {
        self.posted.take().into_iter().map(|(_, mut body)| body["notification"].take()).collect()
    }
}

impl PushGateways for FakeGateways {
    fn allows_local(&self) -> bool {
        false
    }

    fn post(&self, url: &http::Uri, body: Bytes) -> LocalBoxFuture<'static, Result<(u16, Bytes), PushGatewayError>> {
        self.posted.borrow_mut().push((url.to_string(), serde_json::from_slice(&body).unwrap()));
        let next = self.answers.borrow_mut().pop_front();
        let answer = next.unwrap_or_else(|| Ok((200, serde_json::json!({ "rejected": [] }))));
        Box::pin(ready(answer.map(|(status, body)| (status, body.to_string().into()))))
    }
}
