//! Keys as servers publish them, rightly and wrongly.
use ruma::signatures::sign_json;
use serde_json::{Value, json};

use super::*;
use crate::domain::identity::{DEFAULT_SUFFIX, Identity};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn server() -> &'static ServerName {
    <&ServerName>::try_from("example.org").unwrap()
}

/// A server's key: its id here is always `ed25519:self`.
fn key(seed: u8) -> Identity {
    Identity::named([seed; 32], server().to_owned())
}

fn base64(identity: &Identity) -> String {
    Base64::<ruma::serde::base64::Standard, _>::new(identity.public_key().0.to_vec()).encode()
}

fn keys(identity: &Identity) -> Value {
    json!({
        "server_name": "example.org",
        "verify_keys": { "ed25519:self": { "key": base64(identity) } },
        "old_verify_keys": {},
        "valid_until_ts": DAY_MS,
    })
}

fn object(value: Value) -> CanonicalJsonObject {
    serde_json::from_value(value).unwrap()
}

fn signed(identity: &Identity, value: Value) -> CanonicalJsonObject {
    let mut object = object(value);
    sign_json("example.org", identity.key_pair(), &mut object).unwrap();
    object
}

fn published(identity: &Identity, value: Value) -> Published {
    Published::check(server(), signed(identity, value)).unwrap()
}

/// The published keys with some of it changed before it is signed.
fn changed(field: &str, value: Value) -> Result<Published, BadKeys> {
    let mut keys = keys(&key(1));
    keys[field] = value;
    Published::check(server(), signed(&key(1), keys))
}

#[test]
fn what_is_signed_with_its_own_key_is_believed() {
    let published = published(&key(1), keys(&key(1)));
    assert_eq!(published.valid_until_ms(), DAY_MS);
    assert!(published.object().contains_key("signatures"));
}

#[test]
fn what_is_not_signed_with_its_own_key_is_not() {
    let unsigned = Published::check(server(), object(keys(&key(1))));
    assert!(matches!(unsigned, Err(BadKeys::Unsigned(_))));
    let forged = Published::check(server(), signed(&key(2), keys(&key(1))));
    assert!(matches!(forged, Err(BadKeys::Unsigned(_))));
    let mut changed = signed(&key(1), keys(&key(1)));
    changed.insert("valid_until_ts".to_owned(), object(json!({ "later": 2 * DAY_MS }))["later"].clone());
    assert!(matches!(Published::check(server(), changed), Err(BadKeys::Unsigned(_))));
    // Signed by somebody else as somebody else.
    let mut by_another = object(keys(&key(1)));
    sign_json("another.org", key(1).key_pair(), &mut by_another).unwrap();
    assert!(matches!(Published::check(server(), by_another), Err(BadKeys::Unsigned(_))));
}

#[test]
fn others_may_have_signed_it_too() {
    let mut object = signed(&key(1), keys(&key(1)));
    sign_json("notary.org", key(2).key_pair(), &mut object).unwrap();
    Published::check(server(), object).unwrap();
}

#[test]
fn what_is_of_another_server_or_malformed_is_refused() {
    assert_eq!(changed("server_name", json!("another.org")), Err(BadKeys::OfAnother("another.org".to_owned())));
    assert_eq!(changed("server_name", json!(7)), Err(BadKeys::Malformed("server_name")));
    for bad in [json!("soon"), json!(-1), Value::Null] {
        assert_eq!(changed("valid_until_ts", bad), Err(BadKeys::Malformed("valid_until_ts")));
    }
    for bad in [
        json!({}),
        json!([]),
        json!({ "ed25519:self": base64(&key(1)) }),
        json!({ "ed25519:self": { "key": "short" } }),
        json!({ "ed25519:self": { "key": 1 } }),
        json!({ "dilithium:1": { "key": "abc" } }),
    ] {
        assert_eq!(changed("verify_keys", bad), Err(BadKeys::Malformed("verify_keys")));
    }
    let without_end = json!({ "ed25519:old": { "key": base64(&key(2)) } });
    assert_eq!(changed("old_verify_keys", without_end), Err(BadKeys::Malformed("expired_ts")));
    let many: serde_json::Map<_, _> =
        (0..=KEYS_PER_SERVER_MAX).map(|n| (format!("ed25519:{n}"), json!({ "key": base64(&key(1)) }))).collect();
    assert_eq!(changed("verify_keys", Value::Object(many.clone())), Err(BadKeys::TooMany));
    assert_eq!(changed("old_verify_keys", Value::Object(many)), Err(BadKeys::TooMany));
}

#[test]
fn a_name_that_is_a_key_has_no_other() {
    let (own, other) =
        (Identity::from_seed([3; 32], DEFAULT_SUFFIX).unwrap(), Identity::from_seed([4; 32], DEFAULT_SUFFIX).unwrap());
    let of = |identity: &Identity| {
        let mut value = keys(identity);
        value["server_name"] = json!(own.server_name());
        let mut object = object(value);
        sign_json(own.server_name().as_str(), identity.key_pair(), &mut object).unwrap();
        Published::check(own.server_name(), object)
    };
    of(&own).unwrap();
    assert_eq!(of(&other), Err(BadKeys::NotTheNames));
}

#[test]
fn a_key_is_good_until_it_says_and_a_week_after_it_was_fetched_at_most() {
    let mut known = KnownKeys::default();
    let mut value = keys(&key(1));
    value["valid_until_ts"] = json!(1_000 * DAY_MS);
    value["old_verify_keys"] = json!({ "ed25519:old": { "key": base64(&key(2)), "expired_ts": 5 } });
    known.add(10, published(&key(1), value));
    let good = |signed| known.good_at(signed).into_keys().collect::<Vec<_>>();
    assert_eq!(good(SignedAt::Ms(5)), ["ed25519:old", "ed25519:self"]);
    assert_eq!(good(SignedAt::Ms(6)), ["ed25519:self"]);
    assert_eq!(good(SignedAt::Ms(10 + KEYS_BELIEVED_MAX_MS)), ["ed25519:self"]);
    assert!(good(SignedAt::Ms(11 + KEYS_BELIEVED_MAX_MS)).is_empty());
    assert_eq!(good(SignedAt::AnyTime), ["ed25519:old", "ed25519:self"]);
}

#[test]
fn a_newer_answer_decides_on_the_keys_it_names_and_older_ones_on_the_others() {
    let mut known = KnownKeys::default();
    let named = |seed: u8, id: &str, until_ms: u64| {
        let mut value = keys(&key(1));
        value["valid_until_ts"] = json!(until_ms);
        value["verify_keys"][id] = json!({ "key": base64(&key(seed)) });
        published(&key(1), value)
    };
    known.add(0, named(2, "ed25519:a", 100));
    known.add(1, named(3, "ed25519:b", 50));
    let good = known.good_at(SignedAt::Ms(60));
    assert_eq!(good.keys().collect::<Vec<_>>(), ["ed25519:a"], "the newer answer ends `self` at 50");
    assert!(known.names("ed25519:b") && !known.names("ed25519:c"));
    // The same key id with another key: the newer is meant.
    known.add(2, named(4, "ed25519:a", 100));
    assert_eq!(known.good_at(SignedAt::Ms(60))["ed25519:a"].as_bytes(), key(4).public_key().0);
    assert_eq!(known.answers().count(), 2, "what says nothing new any more is forgotten");
    (0..40).for_each(|n| known.add(3 + n, named(9, &format!("ed25519:n{n}"), 100)));
    assert_eq!(known.answers().count(), ANSWERS_KEPT_MAX);
}
