//! A clock that jumps to the next timer when nothing else can move: waiting costs the tests nothing.
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use futures::{
    FutureExt,
    channel::oneshot,
    executor::LocalPool,
    future::LocalBoxFuture,
    task::{LocalSpawn, LocalSpawnExt},
};

use crate::ports::{Clock, Tasks};

#[derive(Default)]
pub struct VirtualTime {
    now_ms: Cell<u64>,
    next_id: Cell<u64>,
    sleepers: RefCell<BTreeMap<(u64, u64), oneshot::Sender<()>>>,
    tasks: RefCell<Vec<LocalBoxFuture<'static, ()>>>,
}

impl VirtualTime {
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// Runs `work` and everything spawned until `work` is done; panics where all would wait for ever.
    pub fn run<T: 'static>(self: &Rc<Self>, work: impl Future<Output = T> + 'static) -> T {
        let mut pool = LocalPool::new();
        let mut done = pool.spawner().spawn_local_with_handle(work).expect("the pool lives");
        loop {
            pool.run_until_stalled();
            for task in self.tasks.take() {
                pool.spawner().spawn_local_obj(task.into()).expect("the pool lives");
            }
            pool.run_until_stalled();
            if let Some(result) = (&mut done).now_or_never() {
                return result;
            }
            if self.tasks.borrow().is_empty() {
                self.advance();
            }
        }
    }

    /// Time passes and nothing happens, as in a computer that sleeps.
    pub fn stand_still(&self, duration_ms: u64) {
        self.now_ms.set(self.now_ms.get() + duration_ms);
    }

    fn advance(&self) {
        loop {
            let next = self.sleepers.borrow_mut().pop_first();
            let ((at_ms, _), sleeper) = next.expect("nothing left that could happen");
            if !sleeper.is_canceled() {
                // Timers that ran out while everything stood still are only late.
                self.now_ms.set(at_ms.max(self.now_ms.get()));
                let _ = sleeper.send(());
                return;
            }
        }
    }
}

impl Clock for VirtualTime {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    fn sleep_ms(&self, duration_ms: u64) -> LocalBoxFuture<'static, ()> {
        let (sender, receiver) = oneshot::channel();
        let id = self.next_id.replace(self.next_id.get() + 1);
        self.sleepers.borrow_mut().insert((self.now_ms.get() + duration_ms, id), sender);
        receiver.map(|_| ()).boxed_local()
    }
}

impl Tasks for VirtualTime {
    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        self.tasks.borrow_mut().push(task);
    }
}
