//! Time limits on anything a peer can stall.
use std::{future::Future, pin::pin};

use futures::future::{Either, select};

use crate::ports::Clock;

/// A time limit ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elapsed;

/// `work`, if it ends within `limit_ms` milliseconds; otherwise it is dropped where it stood.
pub(super) async fn within<T>(clock: &dyn Clock, limit_ms: u64, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    match select(pin!(work), clock.sleep_ms(limit_ms)).await {
        Either::Left((done, _)) => Ok(done),
        Either::Right(_) => Err(Elapsed),
    }
}
