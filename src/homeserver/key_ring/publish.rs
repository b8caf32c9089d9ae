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

/// How long whoever asks may go by the answer, in milliseconds.
pub const OWN_KEYS_VALID_MS: u64 = 24 * 60 * 60 * 1000;

/// The keys of this homeserver, signed with the one it has.
pub fn own_keys(homeserver: &Homeserver) -> CanonicalJsonObject {
    let base64 = |key: &[u8; 32]| Base64::<Standard, _>::new(key.to_vec()).encode();
    let now_ms = homeserver.environment.clock.now_ms();
    let own_id = homeserver.identity.key_id();
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
