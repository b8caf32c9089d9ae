//! How two peers that a relay has introduced agree on a direct connection: `/webrtc-signaling/0.0.1`.
pub mod candidate;
pub mod message;
pub mod session;

use libp2p_swarm::StreamProtocol;

/// The stream that signalling runs on (libp2p specs, `webrtc/webrtc.md`).
pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/webrtc-signaling/0.0.1");
