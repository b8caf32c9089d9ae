//! The real program, started on a free port of this machine, seen from outside.
#[path = "it/hostile.rs"]
mod hostile;
#[path = "it/page.rs"]
mod page;
#[path = "it/relay.rs"]
mod relay;
#[path = "it/start_and_stop.rs"]
mod start_and_stop;
#[path = "it/warren.rs"]
mod warren;
