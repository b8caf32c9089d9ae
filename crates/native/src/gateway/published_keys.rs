//! What homeservers of tabs publish as their keys, for whoever asks while the tab sleeps: events of it go on being checked.
use std::num::NonZeroUsize;

use bytes::Bytes;
use lru::LruCache;
use ruma::CanonicalJsonObject;
use warren::domain::{
    identity::PublicKey,
    server_keys::{KEYS_ANSWER_MAX_BYTES, Published},
    zone::Zone,
};

/// Tabs whose keys are kept; the one asked about longest ago goes first.
const KEPT: NonZeroUsize = NonZeroUsize::new(2_048).expect("not zero");

/// A tab that is connected is asked again after this, in milliseconds: half of what its answer is good for.
const ASK_AGAIN_MS: u64 = 12 * 60 * 60 * 1000;

pub struct PublishedKeys(LruCache<PublicKey, Kept>);

struct Kept {
    at_ms: u64,
    /// `None` while the tab is being asked, or where it gave no answer that holds.
    body: Option<Bytes>,
}

impl Default for PublishedKeys {
    fn default() -> Self {
        Self(LruCache::new(KEPT))
    }
}

impl PublishedKeys {
    /// Keeps what the homeserver with that key answered, if it is signed by it.
    pub fn keep(&mut self, key: PublicKey, zone: &Zone, body: &Bytes, now_ms: u64) {
        if body.len() > KEYS_ANSWER_MAX_BYTES {
            return;
        }
        let Ok(object) = serde_json::from_slice::<CanonicalJsonObject>(body) else { return };
        match Published::check(&zone.name_of(&key), object) {
            Ok(_) => drop(self.0.put(key, Kept { at_ms: now_ms, body: Some(body.clone()) })),
            Err(error) => tracing::debug!(?key, %error, "a tab publishes what is not its keys"),
        }
    }

    pub fn get(&mut self, key: &PublicKey) -> Option<Bytes> {
        self.0.get(key)?.body.clone()
    }

    /// Whether to ask the homeserver, which is there: true once in a while.
    pub fn is_due(&mut self, key: &PublicKey, now_ms: u64) -> bool {
        let due = self.0.peek(key).is_none_or(|kept| now_ms.saturating_sub(kept.at_ms) >= ASK_AGAIN_MS);
        if due {
            let body = self.0.peek(key).and_then(|kept| kept.body.clone());
            self.0.put(*key, Kept { at_ms: now_ms, body });
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use warren::domain::identity::Identity;

    use super::*;

    fn published(identity: &Identity, name: &str) -> Bytes {
        let key = ruma::serde::Base64::<ruma::serde::base64::Standard, _>::new(identity.public_key().0.to_vec());
        let mut object: CanonicalJsonObject = serde_json::from_value(json!({
            "server_name": name,
            "verify_keys": { "ed25519:self": { "key": key.encode() } },
            "valid_until_ts": 2_000,
        }))
        .unwrap();
        ruma::signatures::sign_json(name, identity.key_pair(), &mut object).unwrap();
        serde_json::to_vec(&object).unwrap().into()
    }

    #[test]
    fn what_a_tab_signed_is_kept_and_nothing_else() {
        let zone = Zone::parse("tabs.example.org").unwrap();
        let [tab, other] = [1, 2].map(|seed| Identity::from_seed([seed; 32], zone.as_str()).unwrap());
        let mut keys = PublishedKeys::default();
        let good = published(&tab, tab.server_name().as_str());
        for bad in [
            published(&other, tab.server_name().as_str()),
            published(&other, other.server_name().as_str()),
            Bytes::from_static(b"{}"),
            Bytes::from_static(b"no JSON"),
        ] {
            keys.keep(tab.public_key(), &zone, &bad, 0);
            assert_eq!(keys.get(&tab.public_key()), None, "{bad:?}");
        }
        keys.keep(tab.public_key(), &zone, &good, 0);
        assert_eq!(keys.get(&tab.public_key()), Some(good));
    }

    #[test]
    fn a_tab_is_asked_twice_a_day() {
        let key = Identity::from_seed([1; 32], "tabs.example.org").unwrap().public_key();
        let mut keys = PublishedKeys::default();
        let due: Vec<_> = [0, 1, ASK_AGAIN_MS, ASK_AGAIN_MS + 1].map(|now_ms| keys.is_due(&key, now_ms)).into();
        assert_eq!(due, [true, false, true, false]);
    }
}
