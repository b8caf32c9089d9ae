//! Order-preserving key encoding: comparing encoded bytes compares the tuples they stand for.
//!
//! Unsigned integers are big-endian; signed ones have their sign bit flipped; strings are escaped (`00` becomes
//! `00 FF`) and end in `00 01`, so that a string sorts before its extensions and after its prefixes.
use ruma::{OwnedDeviceId, OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedServerName, OwnedUserId};

/// What ends a string, and what a zero in it becomes.
const END: [u8; 2] = [0, 1];
const ESCAPED_ZERO: [u8; 2] = [0, 0xFF];

/// A key, or a leading part of one.
pub trait Key: Sized {
    fn encode(&self, out: &mut Vec<u8>);

    /// `None` if the bytes are not what `encode` writes.
    fn decode(reader: &mut KeyReader<'_>) -> Option<Self>;
}

/// What is left to decode of a key.
pub struct KeyReader<'a>(pub &'a [u8]);

impl KeyReader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }
}

/// The smallest byte string greater than every one that begins with `prefix` (which is never all `FF`: tables start keys
/// with their id).
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

impl Key for () {
    fn encode(&self, _out: &mut Vec<u8>) {}
    fn decode(_reader: &mut KeyReader<'_>) -> Option<Self> {
        Some(())
    }
}

impl Key for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
    fn decode(reader: &mut KeyReader<'_>) -> Option<Self> {
        reader.take().map(Self::from_be_bytes)
    }
}

impl Key for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        (*self as u64 ^ (1 << 63)).encode(out);
    }
    fn decode(reader: &mut KeyReader<'_>) -> Option<Self> {
        u64::decode(reader).map(|flipped| (flipped ^ (1 << 63)) as i64)
    }
}

impl Key for [u8; 32] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn decode(reader: &mut KeyReader<'_>) -> Option<Self> {
        reader.take()
    }
}

impl Key for String {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_str(self, out);
    }
    fn decode(reader: &mut KeyReader<'_>) -> Option<Self> {
        let mut bytes = Vec::new();
        loop {
            match reader.0 {
                [0, 1, tail @ ..] => {
                    reader.0 = tail;
                    return String::from_utf8(bytes).ok();
                }
                [0, 0xFF, tail @ ..] => {
                    bytes.push(0);
                    reader.0 = tail;
                }
                [byte, tail @ ..] if *byte != 0 => {
                    bytes.push(*byte);
                    reader.0 = tail;
                }
                _ => return None,
            }
        }
    }
}

fn encode_str(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + END.len());
    for (index, part) in text.as_bytes().split(|byte| *byte == 0).enumerate() {
        if index > 0 {
            out.extend_from_slice(&ESCAPED_ZERO);
        }
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&END);
}

macro_rules! identifier_keys {
    ($($id:ty),*) => {$(
        impl Key for $id {
            fn encode(&self, out: &mut Vec<u8>) {
                encode_str(self.as_str(), out);
            }
            fn decode(reader: &mut KeyReader<'_>) -> Option<Self> {
                String::decode(reader)?.try_into().ok()
            }
        }
    )*};
}
identifier_keys!(OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedServerName, OwnedUserId, OwnedDeviceId);

macro_rules! tuple_keys {
    ($($name:ident),*) => {
        impl<$($name: Key),*> Key for ($($name,)*) {
            #[allow(non_snake_case)]
            fn encode(&self, out: &mut Vec<u8>) {
                let ($($name,)*) = self;
                $($name.encode(out);)*
            }
            fn decode(reader: &mut KeyReader<'_>) -> Option<Self> {
                Some(($($name::decode(reader)?,)*))
            }
        }
    };
}
tuple_keys!(A);
tuple_keys!(A, B);
tuple_keys!(A, B, C);
tuple_keys!(A, B, C, D);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(key: &impl Key) -> Vec<u8> {
        let mut out = Vec::new();
        key.encode(&mut out);
        out
    }

    fn decoded<K: Key>(bytes: &[u8]) -> Option<K> {
        let mut reader = KeyReader(bytes);
        let key = K::decode(&mut reader)?;
        reader.0.is_empty().then_some(key)
    }

    proptest! {
        #[test]
        fn round_trip_and_order(a: (String, i64, u64, String), b: (String, i64, u64, String)) {
            prop_assert_eq!(decoded::<(String, i64, u64, String)>(&encoded(&a)), Some(a.clone()));
            prop_assert_eq!(encoded(&a).cmp(&encoded(&b)), a.cmp(&b));
        }

        #[test]
        fn a_prefix_selects_its_keys_and_no_others(a: (String, String), prefix: String) {
            let start = encoded(&prefix);
            let end = after_prefix(&start);
            let key = encoded(&a);
            prop_assert_eq!(start <= key && key < end, a.0 == prefix);
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            if let Some(key) = decoded::<(String, i64)>(&bytes) {
                prop_assert_eq!(encoded(&key), bytes);
            }
        }
    }
}
