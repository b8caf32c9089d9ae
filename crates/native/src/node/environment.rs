//! What the core asks of the outside world, as the operating system and tokio give it.
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, SystemTime},
};

use futures::{FutureExt, future::LocalBoxFuture};
use warren::ports::{Clock, Entropy, Offload, Tasks, offload::Computation};

pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        // A clock set before 1970 reads as 1970.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn yield_now(&self) -> LocalBoxFuture<'static, ()> {
        tokio::task::yield_now().boxed_local()
    }

    fn sleep_ms(&self, duration_ms: u64) -> LocalBoxFuture<'static, ()> {
        tokio::time::sleep(Duration::from_millis(duration_ms)).boxed_local()
    }
}

/// The system's cryptographic randomness.
pub struct SystemEntropy(());

impl SystemEntropy {
    /// Makes sure that there is some: a system that has given numbers once goes on doing so.
    pub fn check() -> Result<Self, String> {
        getrandom::fill(&mut [0; 1]).map_err(|error| error.to_string())?;
        Ok(Self(()))
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the system gave random numbers before");
    }
}

/// Tasks of the `LocalSet` that the program runs in. A panic in one ends that one.
pub struct LocalTasks;

impl Tasks for LocalTasks {
    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        drop(tokio::task::spawn_local(task));
    }
}

/// tokio's threads for what blocks.
pub struct BlockingPool;

impl Offload for BlockingPool {
    fn run(&self, work: Computation) -> LocalBoxFuture<'static, Vec<u8>> {
        let working = tokio::task::spawn_blocking(move || catch_unwind(AssertUnwindSafe(work)));
        Box::pin(async move {
            // Whoever waits shares the fate of the computation.
            let done = working.await.expect("work that has begun is not cancelled");
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}
