//! The clock on the browser's timers.
use futures::future::{Either, select};
use warren::ports::Clock;
use warren_browser::clock::BrowserClock;

pub async fn sleeps_last_as_long_as_asked() {
    let clock = BrowserClock;
    let before = clock.now_ms();
    assert!(before > 1_700_000_000_000, "milliseconds since 1970");
    clock.sleep_ms(50).await;
    // Timers and dates are rounded differently.
    assert!(clock.now_ms() - before >= 48);
    clock.sleep_ms(0).await;
    // Timers from 2^31 ms on fire at once; a sleep must not.
    let long = clock.sleep_ms(1 << 33);
    assert!(matches!(select(long, clock.sleep_ms(100)).await, Either::Right(_)));
}
