//! Heavy computation (password hashing) away from the thread that serves requests.
use futures::future::LocalBoxFuture;

/// A self-contained computation on bytes; what it captures must be able to move to another thread.
pub type Computation = Box<dyn FnOnce() -> Vec<u8> + Send + 'static>;

pub trait Offload {
    /// Runs `work` and resolves to its result: a blocking pool natively, inline where there is none.
    fn run(&self, work: Computation) -> LocalBoxFuture<'static, Vec<u8>>;
}
