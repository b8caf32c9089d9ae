//! Virtual time: it moves when nothing else can.
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use futures::future::LocalBoxFuture;
use warren::ports::Clock;

const START_MS: u64 = 1_760_000_000_000;

#[derive(Default)]
struct Timers {
    next_id: Cell<u64>,
    /// By deadline and order of starting, so that equal deadlines fire in a fixed order.
    waiting: RefCell<BTreeMap<(u64, u64), Option<Waker>>>,
}

#[derive(Clone)]
pub struct SimTime {
    now_ms: Rc<Cell<u64>>,
    timers: Rc<Timers>,
}

impl SimTime {
    pub fn new() -> Self {
        Self { now_ms: Rc::new(Cell::new(START_MS)), timers: Rc::default() }
    }

    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    pub fn elapsed_ms(&self) -> u64 {
        self.now_ms.get() - START_MS
    }

    /// Jumps to the next deadline, if it is at most `until_ms`, and wakes who waits for it.
    pub fn advance(&self, until_ms: u64) -> bool {
        let next = self.timers.waiting.borrow().keys().next().copied();
        let Some(key) = next.filter(|(deadline, _)| *deadline <= until_ms) else {
            self.now_ms.set(self.now_ms.get().max(until_ms));
            return false;
        };
        self.now_ms.set(self.now_ms.get().max(key.0));
        if let Some(Some(waker)) = self.timers.waiting.borrow_mut().remove(&key) {
            waker.wake();
        }
        true
    }

    pub fn sleep(&self, duration_ms: u64) -> LocalBoxFuture<'static, ()> {
        let id = self.timers.next_id.get();
        self.timers.next_id.set(id + 1);
        let key = (self.now_ms.get() + duration_ms, id);
        self.timers.waiting.borrow_mut().insert(key, None);
        let timers = self.timers.clone();
        let sleeping = Sleeping { key, timers };
        Box::pin(poll_fn(move |context| match sleeping.timers.waiting.borrow_mut().get_mut(&sleeping.key) {
            Some(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }))
    }
}

/// Takes the timer away if nobody waits for it any more.
struct Sleeping {
    key: (u64, u64),
    timers: Rc<Timers>,
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        self.timers.waiting.borrow_mut().remove(&self.key);
    }
}

/// One server's clock: virtual time, fast or slow by an amount that may change.
pub struct SkewedClock {
    pub time: SimTime,
    pub skew_ms: Rc<Cell<i64>>,
}

impl Clock for SkewedClock {
    fn now_ms(&self) -> u64 {
        self.time.now_ms().saturating_add_signed(self.skew_ms.get())
    }

    fn sleep_ms(&self, duration_ms: u64) -> LocalBoxFuture<'static, ()> {
        self.time.sleep(duration_ms)
    }
}
