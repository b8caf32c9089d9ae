//! DNS zones under which every name is made of a key, and which servers' networks meet: what a name alone says.
use ruma::{OwnedServerName, ServerName};

use super::identity::{DEFAULT_SUFFIX, PublicKey};

/// A server name is a label of 62 characters, a dot and the zone; the Matrix specification allows 230 in all and DNS 253.
pub const ZONE_MAX_CHARS: usize = 230 - 63;

/// The longest label of a DNS name, in characters (RFC 1035).
const LABEL_MAX_CHARS: usize = 63;

/// A DNS name whose direct children are homeservers called by their keys: `<label>.<zone>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(String);

impl Zone {
    /// A DNS name of lower-case letters, digits and hyphens. The error is a sentence without its subject.
    pub fn parse(text: &str) -> Result<Self, String> {
        let label_is_valid = |label: &str| {
            (1..=LABEL_MAX_CHARS).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > ZONE_MAX_CHARS {
            return Err(format!("longer than {ZONE_MAX_CHARS} characters"));
        }
        if !text.split('.').all(label_is_valid) {
            return Err("not a DNS name of lower-case letters, digits and hyphens".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the homeserver with that key is called in this zone.
    pub fn name_of(&self, key: &PublicKey) -> OwnedServerName {
        key.server_name(&self.0).expect("a label of a key and a zone make a server name")
    }

    /// The key of a homeserver of this zone; `None` for every other name.
    pub fn key_of(&self, server: &ServerName) -> Option<PublicKey> {
        let (_label, suffix) = server.as_str().split_once('.')?;
        if suffix == self.0 { PublicKey::of_server_name(server) } else { None }
    }
}

/// Marks errors (a key of their JSON, true) that say that two servers have no way to each other (docs/protocol.md).
pub const APART: &str = "org.warren.apart";

/// Where a server is to be found, as far as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Among peers alone: its name holds its key and ends in a suffix that is never looked up.
    AmongPeers,
    /// On the web alone: its name is an ordinary one.
    OnTheWeb,
    /// Among peers, and through the gateway of its zone on the web.
    OnBoth,
}

impl Found {
    pub fn of(server: &ServerName) -> Self {
        let suffix = server.as_str().rsplit('.').next();
        match PublicKey::of_server_name(server) {
            None => Self::OnTheWeb,
            Some(_) if suffix == Some(DEFAULT_SUFFIX) => Self::AmongPeers,
            Some(_) => Self::OnBoth,
        }
    }

    /// Whether two servers can have anything to do with each other.
    pub fn meets(self, other: Self) -> bool {
        !matches!((self, other), (Self::AmongPeers, Self::OnTheWeb) | (Self::OnTheWeb, Self::AmongPeers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::Identity;

    #[test]
    fn zones_are_dns_names() {
        for good in ["alt", "chat.example.org", "a-1.b", "localhost"] {
            assert_eq!(Zone::parse(good).unwrap().as_str(), good);
        }
        let long = "a.".repeat(100);
        for bad in ["", ".", "a..b", "Alt", "-a", "a-", "a_b", "a:8448", "é", "a/b", "a b", &long, &"a".repeat(64)] {
            assert!(Zone::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_direct_children_made_of_a_key_are_of_a_zone() {
        let zone = Zone::parse("tabs.example.org").unwrap();
        let identity = Identity::from_seed([5; 32], "tabs.example.org").unwrap();
        let name = identity.server_name();
        assert_eq!(zone.key_of(name), Some(identity.public_key()));
        assert_eq!(zone.name_of(&identity.public_key()), name);
        let label = name.as_str().split('.').next().unwrap();
        let others = [
            "tabs.example.org".to_owned(),
            "www.tabs.example.org".to_owned(),
            format!("{label}.alt"),
            format!("{label}.example.org"),
            format!("{label}.a.tabs.example.org"),
            format!("{label}.xtabs.example.org"),
            format!("{name}:8448"),
            format!("{name}.evil.example"),
        ];
        for other in others {
            assert_eq!(zone.key_of(<&ServerName>::try_from(other.as_str()).unwrap()), None, "{other}");
        }
    }

    #[test]
    fn who_is_only_among_peers_does_not_meet_who_is_only_on_the_web() {
        let found = |suffix: &str| Found::of(Identity::from_seed([5; 32], suffix).unwrap().server_name());
        let (alt, zone) = (found("alt"), found("tabs.example.org"));
        let web = Found::of(<&ServerName>::try_from("matrix.example.org:8448").unwrap());
        assert_eq!((alt, zone, web), (Found::AmongPeers, Found::OnBoth, Found::OnTheWeb));
        assert_eq!(found("a.alt"), Found::AmongPeers, "nothing below it is looked up either");
        for (one, other, meets) in [
            (alt, alt, true),
            (alt, zone, true),
            (alt, web, false),
            (zone, zone, true),
            (zone, web, true),
            (web, web, true),
        ] {
            assert_eq!((one.meets(other), other.meets(one)), (meets, meets), "{one:?} {other:?}");
        }
    }
}
