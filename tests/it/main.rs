//! The API as a client or another server sees it: one homeserver in memory, requests in, answers out. One file a module.
mod harness;

mod client_account;
mod client_discovery;
mod client_session;
