//! Heavy work in a worker that has no threads: done in place, after letting what is ready run.
use futures::future::LocalBoxFuture;

use warren::ports::offload::{Computation, Offload};

pub struct InlineOffload;

impl Offload for InlineOffload {
    fn run(&self, work: Computation) -> LocalBoxFuture<'static, Vec<u8>> {
        Box::pin(async move {
            // One turn of the event loop: requests that have already arrived are read before the pause.
            futures_timer::Delay::new(std::time::Duration::ZERO).await;
            work()
        })
    }
}
