//! Background work on the thread that owns the homeserver.
use futures::future::LocalBoxFuture;

pub trait Tasks {
    /// Starts `task`; it runs until it ends or the environment is dropped.
    fn spawn(&self, task: LocalBoxFuture<'static, ()>);
}
