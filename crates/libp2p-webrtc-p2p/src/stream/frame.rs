//! What is written on a data channel: an unsigned varint, and `Message { optional Flag flag = 1; optional bytes message = 2; }`.
use bytes::Bytes;
use prost::Message as _;
use thiserror::Error;

use crate::unframe::{LengthError, put_length};

/// Bytes of one frame, its length included (libp2p specs, `webrtc/README.md`, multiplexing).
pub const FRAME_MAX_BYTES: usize = 16 * 1024;

/// Of a whole frame: its length, and key and length of the message.
const OVERHEAD_BYTES: usize = 2 + 1 + 2;

/// Bytes of data in one frame.
pub(crate) const PAYLOAD_MAX_BYTES: usize = FRAME_MAX_BYTES - OVERHEAD_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    /// No more is written.
    Fin = 0,
    /// What is written now is not read any more.
    StopSending = 1,
    /// Both directions end at once.
    Reset = 2,
    /// [`Flag::Fin`] has arrived.
    FinAck = 3,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub flag: Option<Flag>,
    pub data: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    #[error(transparent)]
    Length(#[from] LengthError),
    #[error("a frame is not protobuf: {0}")]
    NotProtobuf(String),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(int32, optional, tag = "1")]
    flag: Option<i32>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    message: Option<Bytes>,
}

impl Frame {
    /// Reads a frame without its length. A flag of a later version of the protocol is as good as none.
    pub fn decode(body: Bytes) -> Result<Self, FrameError> {
        let wire = Wire::decode(body).map_err(|error| FrameError::NotProtobuf(error.to_string()))?;
        let flag = match wire.flag {
            Some(0) => Some(Flag::Fin),
            Some(1) => Some(Flag::StopSending),
            Some(2) => Some(Flag::Reset),
            Some(3) => Some(Flag::FinAck),
            Some(_) | None => None,
        };
        Ok(Self { flag, data: wire.message.unwrap_or_default() })
    }
}

/// The frame for at most [`PAYLOAD_MAX_BYTES`] of data. Written by hand: prost would copy the data once more.
pub(crate) fn data(payload: &[u8]) -> Vec<u8> {
    debug_assert!(payload.len() <= PAYLOAD_MAX_BYTES);
    let mut message = Vec::with_capacity(3);
    message.push(0x12);
    put_length(payload.len(), &mut message);
    let mut frame = Vec::with_capacity(OVERHEAD_BYTES + payload.len());
    put_length(message.len() + payload.len(), &mut frame);
    frame.extend_from_slice(&message);
    frame.extend_from_slice(payload);
    frame
}

pub(crate) fn flag(flag: Flag) -> [u8; 3] {
    [2, 0x08, flag as u8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unframe::Unframer;

    fn read(bytes: &[u8]) -> Frame {
        let mut unframer = Unframer::new(FRAME_MAX_BYTES);
        unframer.push(bytes);
        let frame = Frame::decode(unframer.pop().unwrap().unwrap()).unwrap();
        assert!(!unframer.is_incomplete());
        frame
    }

    /// Written by hand from the protobuf wire format, as js-libp2p's protons writes them.
    #[test]
    fn the_bytes_are_those_of_other_implementations() {
        assert_eq!(data(b"hi"), b"\x04\x12\x02hi");
        assert_eq!(flag(Flag::Fin), *b"\x02\x08\x00");
        assert_eq!(flag(Flag::StopSending), *b"\x02\x08\x01");
        assert_eq!(flag(Flag::Reset), *b"\x02\x08\x02");
        assert_eq!(flag(Flag::FinAck), *b"\x02\x08\x03");
        assert_eq!(read(b"\x06\x08\x00\x12\x02hi"), Frame { flag: Some(Flag::Fin), data: Bytes::from("hi") });
    }

    #[test]
    fn the_biggest_frame_is_as_big_as_allowed() {
        let frame = data(&[7; PAYLOAD_MAX_BYTES]);
        assert_eq!(frame.len(), FRAME_MAX_BYTES);
        assert_eq!(read(&frame).data.len(), PAYLOAD_MAX_BYTES);
    }

    #[test]
    fn what_later_versions_add_is_ignored_and_what_is_no_protobuf_is_not() {
        assert_eq!(read(b"\x02\x08\x09"), Frame { flag: None, data: Bytes::new() });
        assert_eq!(read(b"\x00"), Frame { flag: None, data: Bytes::new() });
        assert!(matches!(Frame::decode(Bytes::from_static(b"\x12\x05x")), Err(FrameError::NotProtobuf(_))));
    }
}
