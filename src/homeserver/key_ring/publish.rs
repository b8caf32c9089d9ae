//! What this server publishes as its own keys (server-server API, "Publishing keys").
use std::collections::BTreeMap;

use ruma::{
    CanonicalJsonObject,
    canonical_json::try_from_json_map,
    serde::{Base64, base64::Standard},
    signatures::sign_json,
};
use serde_json::{Value, json};

use super::Homeserver;
use crate::domain::identity::SELF_KEY_VERSION;

/// How long whoever asks may go by the answer, in milliseconds. The key never changes; what may change is which keys are
/// former ones.
pub const OWN_KEYS_VALID_MS: u64 = 24 * 60 * 60 * 1000;

/// A key that is no longer signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerKey {
    /// As it was named in signatures, such as `ed25519:a1b2`.
    pub id: String,
    pub key: [u8; 32],
    /// When it was last signed with, in milliseconds since the Unix epoch.
    pub expired_ms: u64,
}

/// The keys of this homeserver, signed with the one it has.
pub fn own_keys(homeserver: &Homeserver) -> CanonicalJsonObject {
    let base64 = |key: &[u8; 32]| Base64::<Standard, _>::new(key.to_vec()).encode();
    let now_ms = homeserver.environment.clock.now_ms();
    let own_id = format!("ed25519:{SELF_KEY_VERSION}");
    let former: BTreeMap<&str, Value> = homeserver
        .options
        .former_keys
        .iter()
        .filter(|former| former.id != own_id)
        .map(|former| (&*former.id, json!({ "key": base64(&former.key), "expired_ts": former.expired_ms })))
        .collect();
    let mut verify_keys = serde_json::Map::new();
    verify_keys.insert(own_id, json!({ "key": base64(&homeserver.identity.public_key().0) }));
    let keys = json!({
        "server_name": homeserver.server_name(),
        "verify_keys": verify_keys,
        "old_verify_keys": former,
        "valid_until_ts": now_ms + OWN_KEYS_VALID_MS,
    });
    let Value::Object(keys) = keys else { unreachable!("it was written as an object") };
    let mut object = try_from_json_map(keys).expect("times are within what canonical JSON holds");
    sign(homeserver, &mut object);
    object
}

/// Adds the signature of this homeserver.
pub(super) fn sign(homeserver: &Homeserver, object: &mut CanonicalJsonObject) {
    let name = homeserver.server_name().as_str();
    sign_json(name, homeserver.identity.key_pair(), object).expect("signatures, where there are any, are objects");
}
