//! One HTTP/1.1 exchange after another on a byte stream: the libp2p HTTP protocol, both halves, all of it bounded.
//!
//! The client half is hyper. Its server half asks the operating system for the date on every poll, which panics in
//! wasm, so the server half here is httparse and a loop.
mod body;
mod budget;
mod client;
mod deadline;
mod head;
#[cfg(test)]
mod pipe;
mod server;
#[cfg(test)]
mod tests;

pub use self::{
    budget::Budget,
    client::{ClientStream, ExchangeError, ExchangeLimits},
    server::{Ended, Handler, serve},
};

/// The protocol of HTTP/1.1 on a stream (libp2p HTTP specification, "HTTP over libp2p streams").
pub const PROTOCOL: &str = "/http/1.1";

/// Request line or status line and all headers, in bytes. A signed federation request needs well under 2 KiB.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Headers in one head.
pub const MAX_HEADERS: usize = 64;

/// Body of a request, in bytes: a transaction of 50 PDUs of 64 KiB and 100 EDUs fits twice.
pub const MAX_REQUEST_BODY_BYTES: usize = 8 * 1024 * 1024;

/// Body of an answer, in bytes: the state of a room of some ten thousand members.
pub const MAX_ANSWER_BODY_BYTES: usize = 32 * 1024 * 1024;

/// How much is read from a stream at a time, in bytes.
const READ_BYTES: usize = 16 * 1024;
