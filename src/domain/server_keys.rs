//! The keys that servers publish (server-server API, "Publishing keys"): what must be so before they are believed, and which
//! of them were good when. Names that certify their key need none of this, and publish all the same.
use std::collections::{BTreeMap, BTreeSet};

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, ServerName,
    serde::Base64,
    signatures::{PublicKeyMap, verify_json},
};
use thiserror::Error;

use super::identity::PublicKey;

/// The most bytes one answer with the keys of a server may have.
pub const KEYS_ANSWER_MAX_BYTES: usize = 16 << 10;
/// The most keys a server may publish, and as many old ones.
pub const KEYS_PER_SERVER_MAX: usize = 32;
/// How long a key is believed without asking again, in milliseconds, whatever its server says (server-server API,
/// "Publishing keys": seven days).
pub const KEYS_BELIEVED_MAX_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// Answers of one server that are kept: an older one for keys that the newer do not name.
const ANSWERS_KEPT_MAX: usize = 4;

/// The length of an ed25519 key.
const KEY_BYTES: usize = 32;

type Keys<T> = BTreeMap<String, T>;

/// Why what a server is said to publish is not believed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadKeys {
    #[error("they are of {0}")]
    OfAnother(String),
    #[error("`{0}` is missing or not what it should be")]
    Malformed(&'static str),
    #[error("there are more than {KEYS_PER_SERVER_MAX} of them")]
    TooMany,
    #[error("the server's name is made of another key")]
    NotTheNames,
    #[error("they are not signed with one of them: {0}")]
    Unsigned(String),
}

/// When something was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedAt {
    /// Whenever: in room versions 1 to 4 a key is good for ever.
    AnyTime,
    /// Milliseconds since the Unix epoch.
    Ms(u64),
}

/// What a server published once, in its own words.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    object: CanonicalJsonObject,
    current: Keys<Base64>,
    /// With the time from which they are no longer good, in milliseconds since the Unix epoch.
    old: Keys<(Base64, u64)>,
    valid_until_ms: u64,
}

impl Published {
    /// Believes `object` to be what `server` publishes, if it is signed with every key of it that it names as a signer,
    /// and with one at least.
    pub fn check(server: &ServerName, object: CanonicalJsonObject) -> Result<Self, BadKeys> {
        let text = |field: &str| object.get(field).and_then(CanonicalJsonValue::as_str);
        let named = text("server_name").ok_or(BadKeys::Malformed("server_name"))?;
        if named != server.as_str() {
            return Err(BadKeys::OfAnother(named.chars().take(255).collect()));
        }
        let valid_until_ms = milliseconds(&object, "valid_until_ts")?;
        let current = current_keys(&object)?;
        let old = old_keys(&object)?;
        check_name(server, &current)?;
        check_signatures(server, &object, &current)?;
        Ok(Self { object, current, old, valid_until_ms })
    }

    /// As it was signed, for whoever shall see it.
    pub fn object(&self) -> &CanonicalJsonObject {
        &self.object
    }

    /// Until when the current keys are good as the server says, in milliseconds since the Unix epoch.
    pub fn valid_until_ms(&self) -> u64 {
        self.valid_until_ms
    }

    /// Whether the key is among them, current or old.
    pub fn has(&self, key_id: &str) -> bool {
        self.names().any(|id| id == key_id)
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.current.keys().chain(self.old.keys())
    }
}

/// Objects of ids to objects with a key each. What is of an algorithm we do not know is of no use, and no mistake.
fn entries<'a>(
    object: &'a CanonicalJsonObject,
    field: &'static str,
) -> Result<Vec<(&'a String, Base64, &'a CanonicalJsonObject)>, BadKeys> {
    let Some(keys) = object.get(field) else { return Ok(Vec::new()) };
    let keys = keys.as_object().ok_or(BadKeys::Malformed(field))?;
    if keys.len() > KEYS_PER_SERVER_MAX {
        return Err(BadKeys::TooMany);
    }
    let mut entries = Vec::new();
    for (id, entry) in keys.iter().filter(|(id, _)| id.starts_with("ed25519:")) {
        let entry = entry.as_object().ok_or(BadKeys::Malformed(field))?;
        let key = entry.get("key").and_then(CanonicalJsonValue::as_str).ok_or(BadKeys::Malformed(field))?;
        let key = Base64::parse(key).ok().filter(|key: &Base64| key.as_bytes().len() == KEY_BYTES);
        entries.push((id, key.ok_or(BadKeys::Malformed(field))?, entry));
    }
    Ok(entries)
}

fn current_keys(object: &CanonicalJsonObject) -> Result<Keys<Base64>, BadKeys> {
    let keys: Keys<_> = entries(object, "verify_keys")?.into_iter().map(|(id, key, _)| (id.clone(), key)).collect();
    if keys.is_empty() { Err(BadKeys::Malformed("verify_keys")) } else { Ok(keys) }
}

fn old_keys(object: &CanonicalJsonObject) -> Result<Keys<(Base64, u64)>, BadKeys> {
    entries(object, "old_verify_keys")?
        .into_iter()
        .map(|(id, key, entry)| Ok((id.clone(), (key, milliseconds(entry, "expired_ts")?))))
        .collect()
}

fn milliseconds(object: &CanonicalJsonObject, field: &'static str) -> Result<u64, BadKeys> {
    let Some(CanonicalJsonValue::Integer(value)) = object.get(field) else { return Err(BadKeys::Malformed(field)) };
    u64::try_from(i64::from(*value)).map_err(|_| BadKeys::Malformed(field))
}

/// A name that certifies a key has that key and no other.
fn check_name(server: &ServerName, current: &Keys<Base64>) -> Result<(), BadKeys> {
    match PublicKey::of_server_name(server) {
        Some(key) if current.values().any(|other| other.as_bytes() != key.0) => Err(BadKeys::NotTheNames),
        _ => Ok(()),
    }
}

fn check_signatures(server: &ServerName, object: &CanonicalJsonObject, current: &Keys<Base64>) -> Result<(), BadKeys> {
    // Others may have signed it too, whose keys are not known here.
    let signatures = object.get("signatures").and_then(CanonicalJsonValue::as_object);
    let own = signatures.and_then(|signatures| signatures.get(server.as_str()));
    let own = own.ok_or_else(|| BadKeys::Unsigned("the server's own signature is missing".to_owned()))?;
    let mut alone = object.clone();
    let own = CanonicalJsonObject::from([(server.to_string(), own.clone())]);
    alone.insert("signatures".to_owned(), CanonicalJsonValue::Object(own));
    let keys = PublicKeyMap::from([(server.to_string(), current.clone())]);
    verify_json(&keys, &alone).map_err(|error| BadKeys::Unsigned(error.to_string()))
}

/// Everything a server published that is still of use, newest first, each with when it was fetched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownKeys(Vec<(u64, Published)>);

impl KnownKeys {
    /// Takes in what was fetched at `fetched_ms`. Older answers stay for keys that the newer ones do not name, as long as
    /// there is room.
    pub fn add(&mut self, fetched_ms: u64, published: Published) {
        self.0.insert(0, (fetched_ms, published));
        let mut named = BTreeSet::new();
        let mut bytes = 0;
        self.0.retain(|(_, published)| {
            let news = published.names().filter(|id| named.insert((*id).clone())).count() > 0;
            bytes += if news { serde_json::to_vec(published.object()).map_or(0, |json| json.len()) } else { 0 };
            news && bytes <= 2 * KEYS_ANSWER_MAX_BYTES
        });
        self.0.truncate(ANSWERS_KEPT_MAX);
    }

    /// Newest first, with when each was fetched.
    pub fn answers(&self) -> impl Iterator<Item = (u64, &Published)> {
        self.0.iter().map(|(fetched_ms, published)| (*fetched_ms, published))
    }

    pub fn newest(&self) -> Option<(u64, &Published)> {
        self.answers().next()
    }

    /// The keys that were good then, by id. What the newest answer says of a key counts.
    pub fn good_at(&self, signed: SignedAt) -> Keys<Base64> {
        let mut decided = BTreeSet::new();
        let mut good = Keys::new();
        for (fetched_ms, published) in self.answers() {
            let until_ms = published.valid_until_ms.min(fetched_ms.saturating_add(KEYS_BELIEVED_MAX_MS));
            let current = published.current.iter().map(|(id, key)| (id, key, until_ms));
            let old = published.old.iter().map(|(id, (key, expired_ms))| (id, key, *expired_ms));
            for (id, key, until_ms) in current.chain(old) {
                let in_time = match signed {
                    SignedAt::AnyTime => true,
                    SignedAt::Ms(at_ms) => at_ms <= until_ms,
                };
                if decided.insert(id) && in_time {
                    good.insert(id.clone(), key.clone());
                }
            }
        }
        good
    }

    /// Whether the key is named, good or not.
    pub fn names(&self, key_id: &str) -> bool {
        self.answers().any(|(_, published)| published.has(key_id))
    }
}

#[cfg(test)]
mod tests;
