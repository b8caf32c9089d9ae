//! Policy servers (server-server API, "Policy Servers"): whom a room lets recommend events, and whether an event has that
//! server's signature.
use std::collections::BTreeMap;

use ruma::{
    OwnedServerName, ServerName, events::TimelineEventType, room_version_rules::RoomVersionRules, serde::Base64,
    signatures::PublicKeyMap,
};
use serde::Deserialize;
use serde_json::value::RawValue as RawJsonValue;

use crate::domain::event::{
    Pdu,
    draft::{DraftError, with_signature},
};

/// The type of the state event that names a room's policy server.
pub const POLICY: &str = "m.room.policy";
/// The id of the key by which policy servers sign events, whatever keys they publish.
pub const POLICY_KEY_ID: &str = "ed25519:policy_server";

/// A policy server as a room names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyServer {
    name: OwnedServerName,
    /// The key of the room's choice; empty where what it chose is no key, so that nothing is recommended.
    keys: PublicKeyMap,
}

impl PolicyServer {
    /// What the content of a room's `m.room.policy` names; `None` where it is not valid, and the room uses none.
    pub fn named(content: &RawJsonValue) -> Option<Self> {
        #[derive(Deserialize)]
        struct Named {
            via: OwnedServerName,
            public_keys: PublicKeys,
        }
        #[derive(Deserialize)]
        struct PublicKeys {
            ed25519: String,
        }
        let Named { via, public_keys } = serde_json::from_str(content.get()).ok()?;
        let key = Base64::parse(public_keys.ed25519).ok().map(|key| (POLICY_KEY_ID.to_owned(), key));
        Some(Self { keys: BTreeMap::from([(via.to_string(), key.into_iter().collect())]), name: via })
    }

    pub fn name(&self) -> &ServerName {
        &self.name
    }

    /// Whether it signed the event, or need not have.
    pub fn recommends(&self, pdu: &Pdu, rules: &RoomVersionRules) -> bool {
        names_policy_server(pdu) || pdu.object(rules).is_signed_by(&self.name, &self.keys, rules)
    }

    /// The event with the signature that this server gave, beside those it has; `None` if the signature does not hold.
    pub fn countersigned(
        &self,
        pdu: &Pdu,
        signature: &str,
        rules: &RoomVersionRules,
    ) -> Result<Option<Pdu>, DraftError> {
        let signed = with_signature(pdu, &self.name, POLICY_KEY_ID, signature, rules)?;
        Ok(self.recommends(&signed, rules).then_some(signed))
    }
}

/// Whether the event names the room's policy server, or names none any more. That one is not asked about it: a room can
/// always part with it.
pub fn names_policy_server(pdu: &Pdu) -> bool {
    pdu.kind == TimelineEventType::from(POLICY) && pdu.state_key.as_deref() == Some("")
}
