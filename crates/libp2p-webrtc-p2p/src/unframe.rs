//! Takes messages that are each preceded by their length (an unsigned varint) out of a stream of bytes.
use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LengthError {
    #[error("a message of {length} bytes, where {max} are allowed")]
    TooLong { length: usize, max: usize },
    #[error("the length of a message is not written as an unsigned varint")]
    NotAVarint,
}

/// Holds at most one incomplete message and what was pushed after it.
#[derive(Debug)]
pub struct Unframer {
    bytes: BytesMut,
    max: usize,
}

impl Unframer {
    /// Messages longer than `max` bytes, their length not counted, are an error.
    pub fn new(max: usize) -> Self {
        Self { bytes: BytesMut::new(), max }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one. After an error there is nothing more to be had.
    pub fn pop(&mut self) -> Result<Option<Bytes>, LengthError> {
        let Some((length, prefix)) = read_length(&self.bytes)? else { return Ok(None) };
        if length > self.max {
            return Err(LengthError::TooLong { length, max: self.max });
        }
        if self.bytes.len() < prefix + length {
            return Ok(None);
        }
        self.bytes.advance(prefix);
        Ok(Some(self.bytes.split_to(length).freeze()))
    }

    /// Whether the bytes so far end in the middle of a message.
    #[cfg(test)]
    pub fn is_incomplete(&self) -> bool {
        !self.bytes.is_empty()
    }

    pub fn clear(&mut self) {
        self.bytes = BytesMut::new();
    }
}

/// The length of a prefix is bounded by what fits a message of this crate: 21 bits.
const LENGTH_BYTES_MAX: usize = 3;

fn read_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, LengthError> {
    let mut length = 0;
    for (index, byte) in bytes.iter().take(LENGTH_BYTES_MAX).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            // The shortest form is the only one.
            let minimal = *byte != 0 || index == 0;
            return if minimal { Ok(Some((length, index + 1))) } else { Err(LengthError::NotAVarint) };
        }
    }
    if bytes.len() < LENGTH_BYTES_MAX { Ok(None) } else { Err(LengthError::NotAVarint) }
}

/// Appends `length` as an unsigned varint.
pub fn put_length(mut length: usize, to: &mut Vec<u8>) {
    while length >= 0x80 {
        to.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    to.push(length as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_survive_however_they_are_cut(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..8),
            cuts in proptest::collection::vec(1_usize..50, 1..20),
        ) {
            let mut wire = Vec::new();
            for message in &messages {
                put_length(message.len(), &mut wire);
                wire.extend_from_slice(message);
            }
            let (mut unframer, mut read, mut cuts) = (Unframer::new(400), Vec::new(), cuts.into_iter().cycle());
            while !wire.is_empty() {
                let at = cuts.next().unwrap().min(wire.len());
                unframer.push(&wire[..at]);
                wire.drain(..at);
                while let Some(message) = unframer.pop().unwrap() {
                    read.push(message.to_vec());
                }
            }
            prop_assert_eq!(read, messages);
            prop_assert!(!unframer.is_incomplete());
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut unframer = Unframer::new(64);
            unframer.push(&bytes);
            while let Ok(Some(message)) = unframer.pop() {
                prop_assert!(message.len() <= 64);
            }
        }
    }

    #[test]
    fn a_length_over_the_limit_is_told_before_the_message_is_there() {
        let mut unframer = Unframer::new(300);
        unframer.push(&[0xad, 0x02]);
        assert_eq!(unframer.pop(), Err(LengthError::TooLong { length: 301, max: 300 }));
    }

    #[test]
    fn lengths_that_are_no_varint_are_refused() {
        for bytes in [&[0xff, 0xff, 0xff][..], &[0x80, 0x00]] {
            let mut unframer = Unframer::new(64);
            unframer.push(bytes);
            assert_eq!(unframer.pop(), Err(LengthError::NotAVarint));
        }
    }
}
