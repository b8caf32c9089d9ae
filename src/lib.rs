//! Warren's core: a Matrix homeserver that knows neither a browser nor an operating system.
//!
//! `domain` (pure rules) <- `ports` <- `storage` <- `homeserver` (workflows) <- `api` (HTTP in, HTTP out);
//! `p2p` carries HTTP over libp2p streams for the shells in `crates/`. ARCHITECTURE.md is the map.
pub mod api;
pub mod domain;
pub mod homeserver;
pub mod p2p;
pub mod ports;
pub mod storage;
