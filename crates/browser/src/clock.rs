//! The browser's clock and its timers.
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures_timer::Delay;

use warren::ports::Clock;

/// The longest single timer, in milliseconds: `setTimeout` fires at once from 2^31 on.
const MAX_TIMER_MS: u64 = 20 * 24 * 60 * 60 * 1000;

pub struct BrowserClock;

impl Clock for BrowserClock {
    fn now_ms(&self) -> u64 {
        // Whole milliseconds since 1970; a clock set before that reads as 1970.
        js_sys::Date::now() as u64
    }

    fn sleep_ms(&self, duration_ms: u64) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let mut left = duration_ms;
            loop {
                let step = left.min(MAX_TIMER_MS);
                Delay::new(Duration::from_millis(step)).await;
                left -= step;
                if left == 0 {
                    return;
                }
            }
        })
    }
}
