//! What a table is: a never-reused id, a key type and a row type. One file a table, under `tables/`.
use serde::{Serialize, de::DeserializeOwned};

use super::key::{Key, KeyReader};
use crate::ports::StoreError;

pub trait Table {
    /// The first byte of every key. Never reused, not even for a table that is gone.
    const ID: u8;
    type Key: Key;
    type Row: Row;
}

/// A value. Serde types are stored as JSON, so that a schema grows by adding fields with defaults.
pub trait Row: Sized {
    fn to_bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error>;
}

impl<T: Serialize + DeserializeOwned> Row for T {
    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("rows serialize: string keys, finite numbers")
    }
    fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

pub(super) fn encode_key<T: Table>(key: &T::Key) -> Vec<u8> {
    encode_prefix::<T, _>(key)
}

pub(super) fn encode_prefix<T: Table, P: Key>(prefix: &P) -> Vec<u8> {
    let mut out = vec![T::ID];
    prefix.encode(&mut out);
    out
}

pub(super) fn decode_row<T: Table>(value: &[u8]) -> Result<T::Row, StoreError> {
    T::Row::from_bytes(value).map_err(|error| corrupt::<T>(&error.to_string()))
}

pub(super) fn decode_pair<T: Table>((key, value): (Vec<u8>, Vec<u8>)) -> Result<(T::Key, T::Row), StoreError> {
    let mut reader = KeyReader(key.get(1..).unwrap_or_default());
    let decoded = T::Key::decode(&mut reader).filter(|_| reader.0.is_empty());
    let decoded = decoded.ok_or_else(|| corrupt::<T>("key"))?;
    Ok((decoded, decode_row::<T>(&value)?))
}

fn corrupt<T: Table>(what: &str) -> StoreError {
    StoreError::Backend(format!("a row of table {} cannot be read: {what}", T::ID))
}
