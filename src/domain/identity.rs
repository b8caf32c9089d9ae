//! Who a homeserver is: one ed25519 key that is its libp2p identity, its signing key and, in base36, its name.
use std::fmt;

use ed25519_dalek::SigningKey;
use multibase::Base;
use ruma::{
    OwnedServerName, ServerName,
    serde::Base64,
    signatures::{Ed25519KeyPair, PublicKeyMap},
};

/// The version part of the key id of a self-certifying server. Such a server has one key for life, so it never changes.
/// Servers of other names signed with it, too, before they could change their keys.
pub const SELF_KEY_VERSION: &str = "self";

/// Characters of a key that are the version part of its id where a name does not certify it: enough to tell the keys apart
/// that one server ever has.
const KEY_VERSION_CHARS: usize = 8;

/// The suffix of server names that no DNS may ever resolve (RFC 9476).
pub const DEFAULT_SUFFIX: &str = "alt";

/// A libp2p peer id of an ed25519 key as CIDv1 (libp2p peer id spec): version 1, codec libp2p-key,
/// identity multihash of 36 bytes, protobuf key type ed25519, 32 bytes of key.
const CID_PREFIX: [u8; 8] = [0x01, 0x72, 0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The object identifier 1.3.101.112 in the PKCS#8 document of an ed25519 key (RFC 8410).
pub(crate) const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The public half of a homeserver's key; also the whole of its libp2p peer id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The key that the first label of `server_name` certifies; `None` for ordinary DNS names.
    pub fn of_server_name(server_name: &ServerName) -> Option<Self> {
        if server_name.port().is_some() {
            return None;
        }
        let (label, _suffix) = server_name.as_str().split_once('.')?;
        let bytes = match label.as_bytes() {
            [b'k', digits @ ..] if digits.iter().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()) => {
                Base::Base36Lower.decode(&label[1..]).ok()?
            }
            _ => return None,
        };
        let key = bytes.strip_prefix(&CID_PREFIX)?.try_into().ok()?;
        // Only the canonical spelling is a name: one key, one label.
        (Self(key).label() == label).then_some(Self(key))
    }

    /// The first label of the server name: base36 CIDv1, 62 lower-case characters.
    pub fn label(&self) -> String {
        let cid = [&CID_PREFIX[..], &self.0].concat();
        format!("k{}", Base::Base36Lower.encode(cid))
    }

    pub fn server_name(&self, suffix: &str) -> Result<OwnedServerName, ruma::IdParseError> {
        ServerName::parse(format!("{}.{suffix}", self.label()))
    }

    /// The version part of the id of this key where a server may have others after it: characters of the key itself, of
    /// those that ids are made of (appendices, "Signing details": letters, digits and `_`).
    pub fn version(&self) -> String {
        let text = Base::Base64Url.encode(self.0).replace('-', "_");
        text[..KEY_VERSION_CHARS].to_owned()
    }

    /// What ruma-signatures needs to verify anything that `server_name`, which certifies this key, signed.
    pub fn public_key_map(&self, server_name: &ServerName) -> PublicKeyMap {
        let keys = [(format!("ed25519:{SELF_KEY_VERSION}"), Base64::new(self.0.to_vec()))].into();
        [(server_name.to_string(), keys)].into()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.label())
    }
}

/// A key that a homeserver signed with before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerKey {
    /// As it was named in signatures, such as `ed25519:a1b2`.
    pub id: String,
    pub key: [u8; 32],
    /// When it was last signed with, in milliseconds since the Unix epoch.
    pub expired_ms: u64,
}

/// The secret key of this homeserver and the name it goes by.
pub struct Identity {
    signing_key: SigningKey,
    key_pair: Ed25519KeyPair,
    server_name: OwnedServerName,
}

impl Identity {
    /// `seed` is the ed25519 secret; `suffix` a DNS name the zone of the page gives, or [`DEFAULT_SUFFIX`].
    pub fn from_seed(seed: [u8; 32], suffix: &str) -> Result<Self, ruma::IdParseError> {
        let key = PublicKey(SigningKey::from_bytes(&seed).verifying_key().to_bytes());
        Ok(Self::named(seed, key.server_name(suffix)?))
    }

    /// A homeserver by a name that says nothing of its key, such as `example.org:8448`. Peers that know a server by the
    /// key in its name do not believe it.
    pub fn named(seed: [u8; 32], server_name: OwnedServerName) -> Self {
        Self::signing_as(seed, server_name, SELF_KEY_VERSION)
    }

    /// As [`Self::named`], with a key that goes by `key_version`.
    pub fn signing_as(seed: [u8; 32], server_name: OwnedServerName, key_version: &str) -> Self {
        let signing_key = SigningKey::from_bytes(&seed);
        let document = [&PKCS8_PREFIX[..], &seed].concat();
        let key_pair = Ed25519KeyPair::from_der(&document, key_version.to_owned())
            .expect("a PKCS#8 document around 32 bytes is a valid ed25519 key");
        Self { signing_key, key_pair, server_name }
    }

    pub fn server_name(&self) -> &ServerName {
        &self.server_name
    }

    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.signing_key.verifying_key().to_bytes())
    }

    /// The id of the key it signs with, such as `ed25519:self`.
    pub fn key_id(&self) -> String {
        format!("ed25519:{}", self.key_pair.version())
    }

    /// For ruma-signatures: signs events, JSON and requests.
    pub fn key_pair(&self) -> &Ed25519KeyPair {
        &self.key_pair
    }

    /// The secret, for the libp2p key pair of the same identity.
    pub fn seed(&self) -> [u8; 32] {
        self.signing_key.to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_itself_in_characters_that_ids_are_made_of() {
        let versions: std::collections::BTreeSet<_> = (0..=255)
            .map(|seed| {
                let identity = Identity::from_seed([seed; 32], DEFAULT_SUFFIX).unwrap();
                identity.public_key().version()
            })
            .collect();
        assert_eq!(versions.len(), 256);
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        assert!(versions.iter().all(|version| version.len() == 8 && version.bytes().all(is_allowed)), "{versions:?}");
        assert!(versions.iter().any(|version| version.contains('_')));
        let named = Identity::signing_as([7; 32], ServerName::parse("example.org").unwrap(), "a_b");
        assert_eq!(named.key_id(), "ed25519:a_b");
    }

    #[test]
    fn a_name_certifies_its_key_and_nothing_else_does() {
        let identity = Identity::from_seed([7; 32], DEFAULT_SUFFIX).unwrap();
        let name = identity.server_name().to_owned();
        assert_eq!(name.as_str().split_once('.').unwrap().0.len(), 62);
        assert!(name.as_str().starts_with("k51"));
        assert_eq!(PublicKey::of_server_name(&name), Some(identity.public_key()));
        let zone = identity.public_key().server_name("tabs.example.org").unwrap();
        assert_eq!(PublicKey::of_server_name(&zone), Some(identity.public_key()));

        for foreign in ["example.org", "k51.alt", "localhost", &format!("{name}:8448"), &name.as_str().to_uppercase()] {
            if let Ok(parsed) = ServerName::parse(foreign) {
                assert_eq!(PublicKey::of_server_name(&parsed), None, "{foreign}");
            }
        }
        // A leading zero digit decodes to the same number: not the canonical spelling.
        let padded = ServerName::parse(format!("k0{}", &name.as_str()[1..])).unwrap();
        assert_eq!(PublicKey::of_server_name(&padded), None);
    }
}
