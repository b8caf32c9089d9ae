//! The keys by which users vouch for their devices (client-server API, "Cross-signing"): what such a key must be to be kept.
use ruma::{
    CanonicalJsonObject, SigningKeyAlgorithm, UserId,
    canonical_json::try_from_json_map,
    serde::Base64,
    signatures::{to_canonical_json_string_for_signing, verify_canonical_json_bytes},
};
use serde_json::{Map, Value};
use thiserror::Error;

/// The most bytes a key may have, signatures included.
pub const CROSS_SIGNING_KEY_MAX_BYTES: usize = 16 << 10;
const KEY_BYTES: usize = 32;

pub type Object = Map<String, Value>;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadKey {
    #[error("a cross-signing key has at most {CROSS_SIGNING_KEY_MAX_BYTES} bytes")]
    TooLarge,
    #[error("the key is another user's")]
    OfAnother,
    #[error("the key is not for what it is sent as")]
    Usage,
    #[error("it holds one key, ed25519, by its own name")]
    NotOneKey,
    #[error("the self-signing key is not signed with the user's master key")]
    Unsigned,
}

/// A key's name and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    id: String,
    bytes: Vec<u8>,
}

/// Checks the master key of `user`.
pub fn check_master(user: &UserId, object: &Object) -> Result<PublicKey, BadKey> {
    check(user, object, "master")
}

/// Checks the self-signing key of `user`, which `master` must have signed.
pub fn check_self_signing(user: &UserId, object: &Object, master: &PublicKey) -> Result<PublicKey, BadKey> {
    let key = check(user, object, "self_signing")?;
    if is_signed(user, object, master) { Ok(key) } else { Err(BadKey::Unsigned) }
}

fn check(user: &UserId, object: &Object, usage: &str) -> Result<PublicKey, BadKey> {
    if serde_json::to_vec(object).map_or(usize::MAX, |json| json.len()) > CROSS_SIGNING_KEY_MAX_BYTES {
        return Err(BadKey::TooLarge);
    }
    if object.get("user_id").and_then(Value::as_str) != Some(user.as_str()) {
        return Err(BadKey::OfAnother);
    }
    let usages = object.get("usage").and_then(Value::as_array).ok_or(BadKey::Usage)?;
    if !usages.iter().any(|given| given == usage) {
        return Err(BadKey::Usage);
    }
    let keys = object.get("keys").and_then(Value::as_object).filter(|keys| keys.len() == 1);
    let (id, key) = keys.and_then(|keys| keys.iter().next()).ok_or(BadKey::NotOneKey)?;
    let key = key.as_str().filter(|key| id.strip_prefix("ed25519:") == Some(*key)).ok_or(BadKey::NotOneKey)?;
    let bytes = Base64::<ruma::serde::base64::Standard>::parse(key).map_err(|_| BadKey::NotOneKey)?.into_inner();
    if bytes.len() != KEY_BYTES {
        return Err(BadKey::NotOneKey);
    }
    Ok(PublicKey { id: id.clone(), bytes })
}

fn is_signed(user: &UserId, object: &Object, key: &PublicKey) -> bool {
    let signature = object.get("signatures").and_then(|all| all.get(user.as_str())?.get(&key.id)?.as_str());
    let signature = signature.and_then(|text| Base64::<ruma::serde::base64::Standard>::parse(text).ok());
    let canonical: Option<CanonicalJsonObject> = try_from_json_map(object.clone()).ok();
    let signed = canonical.and_then(|object| to_canonical_json_string_for_signing(&object).ok());
    let (Some(signature), Some(signed)) = (signature, signed) else { return false };
    let ed25519 = SigningKeyAlgorithm::Ed25519;
    verify_canonical_json_bytes(&ed25519, &key.bytes, signature.as_bytes(), signed.as_bytes()).is_ok()
}
