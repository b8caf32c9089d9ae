//! How large a request may be before anything reads it, and whom one counts for that says not who asks.
use core::net::IpAddr;

/// Where a request came from, put into its extensions by a shell that knows: those without a token are counted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// The most bytes a client's request body may have: room for `createRoom` with many initial events of 64 KiB each.
pub const CLIENT_BODY_MAX_BYTES: usize = 2 << 20;

/// The most bytes a server's request body may have: a transaction of 50 PDUs of 64 KiB, and as much again in EDUs.
pub const FEDERATION_BODY_MAX_BYTES: usize = 8 << 20;
