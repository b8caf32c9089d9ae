//! What the page learns of a trap.

/// The driver counts this as passed when the page was told of exactly this panic.
pub async fn a_panic_is_told_before_the_trap() {
    panic!("on purpose: told before the trap");
}
