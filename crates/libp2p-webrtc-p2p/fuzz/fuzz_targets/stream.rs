//! Messages of anybody on a data channel.
#![no_main]
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use libp2p_webrtc_p2p::stream::{Budget, CONNECTION_UNREAD_MAX_BYTES, Channel, ChannelError, Pipe};

struct Nowhere;

impl Channel for Nowhere {
    fn send(&mut self, message: &[u8]) -> Result<(), ChannelError> {
        assert_eq!(message.len(), 3, "only flags are answers");
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        0
    }

    fn close(&mut self) {}
}

fuzz_target!(|messages: Vec<Vec<u8>>| {
    let budget = Arc::<Budget>::default();
    let pipe = Pipe::new(Box::new(Nowhere), true, budget.clone());
    for message in &messages {
        pipe.received(message);
        assert!(budget.unread_bytes() <= CONNECTION_UNREAD_MAX_BYTES);
    }
    drop(pipe);
    assert_eq!((budget.unread_bytes(), budget.channels()), (0, 0));
});
