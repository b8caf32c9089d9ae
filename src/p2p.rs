//! Carries HTTP between homeservers over libp2p: what every shell shares, nothing of a browser in it.
pub mod http;
#[cfg(test)]
pub(crate) mod virtual_time;
