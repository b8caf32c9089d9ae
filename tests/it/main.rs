//! The API as a client or another server sees it: one homeserver in memory or a few, requests in, answers out. One file a module.
mod fakes;
mod federation_network;
mod federation_peer;
mod harness;
mod talk;

mod api_faults;
mod client_account;
mod client_config;
mod client_device;
mod client_discovery;
mod client_filter;
mod client_message;
mod client_profile;
mod client_push;
mod client_receipt;
mod client_session;
mod client_state;
mod client_sync;
mod client_tag;
mod client_txns;
mod client_typing;
mod client_warren;
mod federation_leaves;
mod spec_coverage;
mod sync_model;
mod sync_race;
