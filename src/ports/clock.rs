//! Time: the wall clock events are stamped with, and sleeping.
use futures::future::LocalBoxFuture;

pub trait Clock {
    /// Milliseconds since the Unix epoch. May jump; never used to measure a duration that matters.
    fn now_ms(&self) -> u64;

    /// Lets whatever else waits have a turn: pings, other requests. Shells with a cheaper way than a timer override it.
    fn yield_now(&self) -> LocalBoxFuture<'static, ()> {
        self.sleep_ms(0)
    }

    /// Resolves after at least `duration_ms` milliseconds. Durations are below 24 days, the limit of browser timers.
    fn sleep_ms(&self, duration_ms: u64) -> LocalBoxFuture<'static, ()>;
}
