//! What the core asks of the outside world, as the operating system and tokio give it.
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{FutureExt, future::LocalBoxFuture};
use tokio::sync::Semaphore;
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

/// Computations at a time; others wait their turn. Each takes a processor and, for a password, 7 MiB.
const COMPUTATIONS_MAX: usize = 4;

/// tokio's threads for what blocks.
pub struct BlockingPool {
    places: Arc<Semaphore>,
}

impl Default for BlockingPool {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(COMPUTATIONS_MAX)) }
    }
}

impl Offload for BlockingPool {
    fn run(&self, work: Computation) -> LocalBoxFuture<'static, Vec<u8>> {
        let places = self.places.clone();
        Box::pin(async move {
            let place = places.acquire_owned().await.expect("the semaphore is never closed");
            let working = tokio::task::spawn_blocking(move || {
                let done = catch_unwind(AssertUnwindSafe(work));
                drop(place);
                done
            });
            // Whoever waits shares the fate of the computation.
            let done = working.await.expect("work that has begun is not cancelled");
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn no_more_computations_than_the_limit_run_at_a_time_and_all_are_done() {
        let pool = BlockingPool::default();
        let running = Arc::new(AtomicUsize::new(0));
        let computation = |number: u8| -> Computation {
            let running = running.clone();
            Box::new(move || {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
                vec![number, u8::from(now <= COMPUTATIONS_MAX)]
            })
        };
        let done = join_all((0..100).map(|number| pool.run(computation(number)))).await;
        assert_eq!(done, (0..100).map(|number| vec![number, 1]).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_computation_that_panics_gives_its_place_back() {
        let pool = BlockingPool::default();
        for _ in 0..=COMPUTATIONS_MAX {
            let broken = pool.run(Box::new(|| panic!("what this test is about")));
            assert!(AssertUnwindSafe(broken).catch_unwind().await.is_err());
        }
        assert_eq!(pool.run(Box::new(|| vec![7])).await, [7]);
    }
}
