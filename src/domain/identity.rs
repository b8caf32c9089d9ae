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
pub const SELF_KEY_VERSION: &str = "self";

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

    /// What ruma-signatures needs to verify anything `server_name` signed.
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
        let signing_key = SigningKey::from_bytes(&seed);
        let document = [&PKCS8_PREFIX[..], &seed].concat();
        let key_pair = Ed25519KeyPair::from_der(&document, SELF_KEY_VERSION.to_owned())
            .expect("a PKCS#8 document around 32 bytes is a valid ed25519 key");
        Self { signing_key, key_pair, server_name }
    }

    pub fn server_name(&self) -> &ServerName {
        &self.server_name
    }

    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.signing_key.verifying_key().to_bytes())
    }

    /// For ruma-signatures: signs events, JSON and requests as `ed25519:self`.
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
