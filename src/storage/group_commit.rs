//! Groups commits without a timer: what queues while one commit is in flight goes into the next.
use std::{cell::RefCell, collections::BTreeSet, future::Future, rc::Rc, task::Waker};

use futures::channel::oneshot;

use crate::ports::{Batch, Op, Store, StoreError};

/// A group is closed once it holds this many operations; a single larger batch still goes whole.
const GROUP_OPS_MAX: usize = 4096;

type Waiting = (Batch, oneshot::Sender<Result<(), StoreError>>);

#[derive(Default)]
struct Queue {
    in_flight: bool,
    waiting: Vec<Waiting>,
    /// Tasks to wake when the turn is given back.
    wakers: Vec<Waker>,
}

pub struct GroupCommit {
    store: Rc<dyn Store>,
    queue: RefCell<Queue>,
    /// By table id: grows when rows of the table may have changed.
    generations: RefCell<Box<[u64; 256]>>,
}

impl GroupCommit {
    pub fn new(store: Rc<dyn Store>) -> Self {
        Self { store, queue: RefCell::default(), generations: RefCell::new(Box::new([0; 256])) }
    }

    pub fn generation(&self, table: u8) -> u64 {
        self.generations.borrow()[usize::from(table)]
    }

    /// Resolves once `batch` is written, alone or with others. If a group fails, each of its batches is tried alone,
    /// so that one caller's failure is not another's. A caller may stop waiting; its batch is written all the same if
    /// another caller is there to do it.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let (sender, mut receiver) = oneshot::channel();
        self.queue.borrow_mut().waiting.push((batch, sender));
        loop {
            // Whoever finds nobody committing does it for all; the others wait for their answer, or for the turn
            // of a committer that was dropped half-way.
            if let Some(turn) = Turn::try_take(self) {
                turn.drain().await;
            }
            match futures::future::select(&mut receiver, self.turn_free()).await {
                futures::future::Either::Left((Ok(result), _)) => return result,
                futures::future::Either::Left((Err(_), _)) => {
                    return Err(StoreError::Backend("the commit was abandoned half-way".to_owned()));
                }
                futures::future::Either::Right(_) => {}
            }
        }
    }

    /// Resolves when nobody holds the turn. Polled only when some waiter's answer or the drop of a turn wakes the task.
    fn turn_free(&self) -> impl Future<Output = ()> + Unpin {
        futures::future::poll_fn(|context| {
            let mut queue = self.queue.borrow_mut();
            if !queue.in_flight {
                return std::task::Poll::Ready(());
            }
            queue.wakers.push(context.waker().clone());
            std::task::Poll::Pending
        })
    }

    fn next_group(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue.borrow_mut();
        if queue.waiting.is_empty() {
            return None;
        }
        let mut ops = 0;
        let fits = |(batch, _): &&Waiting| {
            ops += batch.ops.len();
            ops <= GROUP_OPS_MAX
        };
        let count = queue.waiting.iter().take_while(fits).count().max(1);
        Some(queue.waiting.drain(..count).collect())
    }
}

/// The tables a commit writes to. Their generations grow before anybody hears that it is over, and if nobody ever does.
struct Touched<'a> {
    tables: BTreeSet<u8>,
    commits: &'a GroupCommit,
}

impl<'a> Touched<'a> {
    fn by(batch: &Batch, commits: &'a GroupCommit) -> Self {
        let key = |op: &Op| match op {
            Op::Put { key, .. } | Op::Delete { key } => key.first().copied(),
        };
        Self { tables: batch.ops.iter().filter_map(key).collect(), commits }
    }

    fn bump(&self) {
        let mut generations = self.commits.generations.borrow_mut();
        self.tables.iter().for_each(|table| generations[usize::from(*table)] += 1);
    }
}

impl Drop for Touched<'_> {
    fn drop(&mut self) {
        self.bump();
    }
}

/// The right to commit. Held across awaits; given back even if the task holding it is dropped.
struct Turn<'a>(&'a GroupCommit);

impl<'a> Turn<'a> {
    fn try_take(commits: &'a GroupCommit) -> Option<Self> {
        let taken = std::mem::replace(&mut commits.queue.borrow_mut().in_flight, true);
        (!taken).then(|| Self(commits))
    }

    async fn drain(&self) {
        while let Some(group) = self.0.next_group() {
            let mut merged = Batch::default();
            group.iter().for_each(|(batch, _)| merged.append(batch.clone()));
            let touched = Touched::by(&merged, self.0);
            // A caller that stopped waiting does not mind that nobody takes its answer.
            match self.0.store.commit(merged).await {
                Err(error) if group.len() > 1 && error != StoreError::Fenced => {
                    for (batch, waiter) in group {
                        let result = self.0.store.commit(batch).await;
                        touched.bump();
                        let _ = waiter.send(result);
                    }
                }
                result => {
                    touched.bump();
                    group.into_iter().for_each(|(_, waiter)| {
                        let _ = waiter.send(result.clone());
                    });
                }
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let wakers = {
            let mut queue = self.0.queue.borrow_mut();
            queue.in_flight = false;
            std::mem::take(&mut queue.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, task::Poll};

    use futures::{
        executor::block_on,
        future::{LocalBoxFuture, join_all, poll_fn},
    };

    use super::*;
    use crate::{
        ports::{Durability, Op, Scan},
        storage::memory::MemoryStore,
    };

    /// Counts commits, yields once in each, and refuses batches that write the key `poison`.
    #[derive(Default)]
    struct Counting {
        inner: MemoryStore,
        commits: Cell<usize>,
        strict: Cell<usize>,
    }

    impl Store for Counting {
        fn get(&self, key: Vec<u8>) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
            self.inner.get(key)
        }
        fn get_many(&self, keys: Vec<Vec<u8>>) -> LocalBoxFuture<'_, Result<Vec<Option<Vec<u8>>>, StoreError>> {
            self.inner.get_many(keys)
        }
        fn scan(&self, scan: Scan) -> LocalBoxFuture<'_, Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError>> {
            self.inner.scan(scan)
        }
        fn commit(&self, batch: Batch) -> LocalBoxFuture<'_, Result<(), StoreError>> {
            Box::pin(async move {
                self.commits.set(self.commits.get() + 1);
                if batch.durability == Durability::Strict {
                    self.strict.set(self.strict.get() + 1);
                }
                yield_once().await;
                let poisoned = batch.ops.iter().any(|op| matches!(op, Op::Put { key, .. } if key == b"poison"));
                if poisoned { Err(StoreError::QuotaExceeded) } else { self.inner.commit(batch).await }
            })
        }
    }

    /// Lets every other future of the join run once before going on.
    async fn yield_once() {
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

    fn put(key: &str) -> Batch {
        Batch { ops: vec![Op::Put { key: key.into(), value: vec![1] }], ..Batch::default() }
    }

    #[test]
    fn what_queues_during_a_commit_shares_the_next() {
        let store = Rc::new(Counting::default());
        let commits = GroupCommit::new(store.clone());
        let mut batches: Vec<_> = (0..100).map(|n| put(&n.to_string())).collect();
        batches[50].durability = Durability::Strict;
        let results = block_on(join_all(batches.into_iter().map(|batch| commits.commit(batch))));
        assert!(results.iter().all(Result::is_ok));
        assert_eq!((store.commits.get(), store.strict.get()), (2, 1));
        assert!(block_on(store.get(b"99".to_vec())).unwrap().is_some());
    }

    #[test]
    fn one_failure_is_not_anothers() {
        let store = Rc::new(Counting::default());
        let commits = GroupCommit::new(store.clone());
        let keys = ["a", "b", "poison", "c"];
        let results = block_on(join_all(keys.map(|key| commits.commit(put(key)))));
        assert_eq!(results, [Ok(()), Ok(()), Err(StoreError::QuotaExceeded), Ok(())]);
    }

    #[test]
    fn a_table_that_was_written_to_is_told_apart() {
        let store = Rc::new(Counting::default());
        let commits = GroupCommit::new(store);
        let (a, b) = (commits.generation(b'a'), commits.generation(b'b'));
        block_on(commits.commit(put("abc"))).unwrap();
        assert!(commits.generation(b'a') > a);
        assert_eq!(commits.generation(b'b'), b);
        let a = commits.generation(b'a');
        let mut abandoned = Box::pin(commits.commit(put("abc")));
        let waker = futures::task::noop_waker();
        assert!(abandoned.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        drop(abandoned);
        assert!(commits.generation(b'a') > a, "it may have been written");
    }

    #[test]
    fn a_dropped_committer_gives_the_turn_to_those_who_wait() {
        let store = Rc::new(Counting::default());
        let commits = GroupCommit::new(store.clone());
        let mut dropped = Box::pin(commits.commit(put("a")));
        let mut waiting = Box::pin(commits.commit(put("b")));
        let waker = futures::task::noop_waker();
        let mut context = std::task::Context::from_waker(&waker);
        assert!(dropped.as_mut().poll(&mut context).is_pending());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        drop(dropped);
        assert_eq!(block_on(waiting), Ok(()));
    }
}
