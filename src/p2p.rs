//! Carries HTTP between homeservers over libp2p: what every shell shares, nothing of a browser in it.
pub mod address_book;
pub mod connections;
pub mod exchanges;
pub mod favourites;
pub mod gateway;
pub mod http;
pub mod lanes;
pub mod network;
pub mod peer_name;
pub mod streams;
pub mod turns;
#[cfg(test)]
pub(crate) mod virtual_time;
