//! Credentials for a TURN server that shares a secret with this homeserver ("A REST API For Access To TURN Services"): good
//! for a while, and made without asking anybody.
use std::fmt;

use hmac::{Hmac, Mac};
use multibase::Base;
use ruma::UserId;
use sha1::Sha1;

/// A TURN server, and how long its credentials are good for.
#[derive(Clone)]
pub struct TurnServer {
    pub uris: Vec<String>,
    pub shared_secret: String,
    /// In seconds.
    pub ttl_s: u64,
}

/// What a client shows to a TURN server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub username: String,
    pub password: String,
}

impl TurnServer {
    /// A credential for `user` from `now_ms` on.
    pub fn credential(&self, user: &UserId, now_ms: u64) -> Credential {
        let until_s = (now_ms / 1_000).saturating_add(self.ttl_s);
        let username = format!("{until_s}:{user}");
        let mut mac =
            Hmac::<Sha1>::new_from_slice(self.shared_secret.as_bytes()).expect("a key of HMAC has any length");
        mac.update(username.as_bytes());
        Credential { password: Base::Base64Pad.encode(mac.finalize().into_bytes()), username }
    }
}

/// Without the secret, which is not for logs.
impl fmt::Debug for TurnServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnServer").field("uris", &self.uris).field("ttl_s", &self.ttl_s).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn a_credential_is_what_turn_servers_expect() {
        let turn = TurnServer { uris: Vec::new(), shared_secret: "n0t so secret".to_owned(), ttl_s: 86_400 };
        let credential = turn.credential(user_id!("@alice:example.org"), 1_700_000_000_999);
        assert_eq!(credential.username, "1700086400:@alice:example.org");
        assert_eq!(credential.password, "0anJggDBZlyLd+XfFj/kPuZtRNA=");
        assert!(!format!("{turn:?}").contains("n0t"));
    }
}
