//! One key, three names: libp2p's peer id, the public key, and the Matrix server name.
use libp2p::{PeerId, identity, multihash::Multihash};
use ruma::{OwnedServerName, ServerName};

use crate::domain::identity::{DEFAULT_SUFFIX, PublicKey};

/// Code of the identity multihash: the key itself and no hash of it (libp2p peer id specification).
const IDENTITY_HASH: u64 = 0;

/// The longest agent version read from a peer, in bytes: a version and a server name of at most 255.
const MAX_AGENT_VERSION_BYTES: usize = 320;

/// The key a peer id is made of; `None` for peers with keys of another kind, which are no homeservers.
pub fn public_key(peer: &PeerId) -> Option<PublicKey> {
    let hash: &Multihash<64> = peer.as_ref();
    if hash.code() != IDENTITY_HASH {
        return None;
    }
    let key = identity::PublicKey::try_decode_protobuf(hash.digest()).ok()?;
    Some(PublicKey(key.try_into_ed25519().ok()?.to_bytes()))
}

/// The peer whose key is `key`; `None` where those bytes are no point of the curve.
pub fn peer_id(key: &PublicKey) -> Option<PeerId> {
    let key = identity::ed25519::PublicKey::try_from_bytes(&key.0).ok()?;
    Some(PeerId::from_public_key(&key.into()))
}

/// The peer that `server_name` certifies; `None` for ordinary DNS names.
pub fn peer_of_server(server_name: &ServerName) -> Option<PeerId> {
    peer_id(&PublicKey::of_server_name(server_name)?)
}

/// What we call ourselves in identify: the key tells everything of our name but its suffix.
pub fn agent_version(server_name: &ServerName) -> String {
    format!("warren/{} {server_name}", env!("CARGO_PKG_VERSION"))
}

/// The server name of a peer that calls itself `agent_version`: what it says, if its key certifies that name, else
/// its key with the default suffix.
pub fn server_of_peer(peer: &PeerId, agent_version: &str) -> Option<OwnedServerName> {
    let key = public_key(peer)?;
    let said = Some(agent_version)
        .filter(|agent| agent.len() <= MAX_AGENT_VERSION_BYTES)
        .and_then(|agent| ServerName::parse(agent.rsplit(' ').next()?).ok())
        .filter(|name| PublicKey::of_server_name(name) == Some(key));
    said.or_else(|| key.server_name(DEFAULT_SUFFIX).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::Identity;

    #[test]
    fn names_lead_to_each_other_and_to_nobody_else() {
        let identity = Identity::from_seed([3; 32], "tabs.example.org").unwrap();
        let keypair = identity::Keypair::ed25519_from_bytes(identity.seed()).unwrap();
        let peer = keypair.public().to_peer_id();
        assert_eq!(peer_of_server(identity.server_name()), Some(peer));
        assert_eq!(public_key(&peer), Some(identity.public_key()));
        assert_eq!(peer_id(&identity.public_key()), Some(peer));

        assert_eq!(server_of_peer(&peer, &agent_version(identity.server_name())).unwrap(), identity.server_name());
        let default = identity.public_key().server_name(DEFAULT_SUFFIX).unwrap();
        let other = Identity::from_seed([4; 32], DEFAULT_SUFFIX).unwrap();
        let long = format!("{} {}", "x".repeat(400), identity.server_name());
        for agent in ["", "go-libp2p/1", "warren/1 example.org", &agent_version(other.server_name()), &long] {
            assert_eq!(server_of_peer(&peer, agent).unwrap(), default, "{agent}");
        }
        assert_eq!(peer_of_server(<&ServerName>::try_from("example.org").unwrap()), None);
    }

    #[test]
    fn peers_with_other_keys_have_no_name() {
        let hashed = PeerId::from_multihash(Multihash::wrap(0x12, &[7; 32]).unwrap()).unwrap();
        assert_eq!(public_key(&hashed), None);
    }
}
