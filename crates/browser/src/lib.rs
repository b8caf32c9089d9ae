//! The shell in a browser worker: the ports on browser APIs, and `Host`, which the worker's script drives.
#![cfg(target_arch = "wasm32")]
mod clock;
mod entropy;
mod host;
mod host_error;
pub mod indexeddb;
mod logging;
mod offline;
mod offload;
mod request_bridge;
mod status;
mod tasks;
mod watched_store;

pub use host::Host;
