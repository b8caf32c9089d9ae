//! The outside world as the benchmarks give it to the core: real time, and everything else as cheap as it can be, so
//! that what is measured is the core.
use std::{
    cell::Cell,
    future::poll_fn,
    task::Poll,
    time::{Duration, SystemTime},
};

use futures::{
    executor::LocalSpawner,
    future::{LocalBoxFuture, ready},
    task::LocalSpawnExt,
};
use warren::ports::{Clock, Entropy, Offload, Tasks, offload::Computation};

pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970");
        since.as_millis() as u64
    }

    /// Without a timer, as the shells do it.
    fn yield_now(&self) -> LocalBoxFuture<'static, ()> {
        let mut yielded = false;
        Box::pin(poll_fn(move |context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }))
    }

    fn sleep_ms(&self, duration_ms: u64) -> LocalBoxFuture<'static, ()> {
        Box::pin(futures_timer::Delay::new(Duration::from_millis(duration_ms)))
    }
}

/// The same bytes in every run (splitmix64).
pub struct SeededEntropy(pub Cell<u64>);

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

pub struct PoolTasks(pub LocalSpawner);

impl Tasks for PoolTasks {
    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        self.0.spawn_local(task).expect("the pool outlives the homeservers");
    }
}

pub struct Inline;

impl Offload for Inline {
    fn run(&self, work: Computation) -> LocalBoxFuture<'static, Vec<u8>> {
        Box::pin(ready(work()))
    }
}
