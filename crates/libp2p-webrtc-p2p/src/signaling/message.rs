//! The messages of `/webrtc-signaling/0.0.1` and their bytes: `Message { optional Type type = 1; optional string data = 2; }`.
use prost::Message as _;
use thiserror::Error;

use crate::unframe::put_length;

/// Bytes of one message without its length. An offer with all its candidates is about 3 KiB.
pub const MESSAGE_MAX_BYTES: usize = 64 * 1024;

const SDP_OFFER: i32 = 0;
const SDP_ANSWER: i32 = 1;
const ICE_CANDIDATE: i32 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// SDP.
    Offer(String),
    /// SDP.
    Answer(String),
    /// The JSON of `RTCIceCandidate.toJSON()`.
    Candidate(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    #[error("a message is not protobuf: {0}")]
    NotProtobuf(String),
    #[error("a message has no type")]
    NoType,
    #[error("a message is of the unknown type {0}")]
    UnknownType(i32),
    #[error("a message has no data")]
    NoData,
}

/// Both fields have presence: type 0 is written too.
#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(int32, optional, tag = "1")]
    kind: Option<i32>,
    #[prost(string, optional, tag = "2")]
    data: Option<String>,
}

impl Message {
    /// The bytes of the message, its length in front.
    pub fn encode(self) -> Vec<u8> {
        let (kind, data) = match self {
            Self::Offer(sdp) => (SDP_OFFER, sdp),
            Self::Answer(sdp) => (SDP_ANSWER, sdp),
            Self::Candidate(json) => (ICE_CANDIDATE, json),
        };
        let body = Wire { kind: Some(kind), data: Some(data) }.encode_to_vec();
        let mut bytes = Vec::with_capacity(body.len() + 3);
        put_length(body.len(), &mut bytes);
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads a message without its length.
    pub fn decode(body: &[u8]) -> Result<Self, MessageError> {
        let wire = Wire::decode(body).map_err(|error| MessageError::NotProtobuf(error.to_string()))?;
        let data = wire.data.ok_or(MessageError::NoData);
        match wire.kind.ok_or(MessageError::NoType)? {
            SDP_OFFER => data.map(Self::Offer),
            SDP_ANSWER => data.map(Self::Answer),
            ICE_CANDIDATE => data.map(Self::Candidate),
            unknown => Err(MessageError::UnknownType(unknown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Written by hand from the protobuf wire format, as js-libp2p's protons writes them.
    #[test]
    fn the_bytes_are_those_of_other_implementations() {
        let golden: [(Message, &[u8]); 3] = [
            (Message::Offer("v=0".to_owned()), b"\x07\x08\x00\x12\x03v=0"),
            (Message::Answer("v=0".to_owned()), b"\x07\x08\x01\x12\x03v=0"),
            (Message::Candidate("{}".to_owned()), b"\x06\x08\x02\x12\x02{}"),
        ];
        for (message, bytes) in golden {
            assert_eq!(message.clone().encode(), bytes);
            assert_eq!(Message::decode(&bytes[1..]), Ok(message));
        }
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        assert_eq!(Message::decode(b""), Err(MessageError::NoType));
        assert_eq!(Message::decode(b"\x12\x00"), Err(MessageError::NoType));
        assert_eq!(Message::decode(b"\x08\x00"), Err(MessageError::NoData));
        assert_eq!(Message::decode(b"\x08\x03\x12\x00"), Err(MessageError::UnknownType(3)));
        assert!(matches!(Message::decode(b"\x12\x05x"), Err(MessageError::NotProtobuf(_))));
        assert!(matches!(Message::decode(b"\x08\x00\x12\x01\xff"), Err(MessageError::NotProtobuf(_))), "not UTF-8");
    }

    #[test]
    fn fields_of_later_versions_are_ignored() {
        assert_eq!(Message::decode(b"\x08\x00\x12\x01x\x1a\x02hi"), Ok(Message::Offer("x".to_owned())));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(data in ".{0,300}", kind in 0..3) {
            let message = match kind {
                0 => Message::Offer(data),
                1 => Message::Answer(data),
                _ => Message::Candidate(data),
            };
            let mut unframer = crate::unframe::Unframer::new(MESSAGE_MAX_BYTES);
            unframer.push(&message.clone().encode());
            prop_assert_eq!(Message::decode(&unframer.pop().unwrap().unwrap()), Ok(message));
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::decode(&bytes);
        }
    }
}
