//! The shell in a browser worker: the ports on browser APIs, and `Host`, which the worker's script drives.
#![cfg(target_arch = "wasm32")]
pub mod clock;
mod connection;
mod entropy;
mod host;
mod host_error;
pub mod indexeddb;
pub mod logging;
pub mod neighbours;
mod offload;
mod online;
mod peer_transport;
mod request_bridge;
mod status;
mod tasks;
mod watched_store;
pub mod websocket;

pub use host::Host;
