//! Events against the keys that were good when they were signed, fetched where they are not known.
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use futures::{
    StreamExt,
    future::{Either, select},
    stream,
};
use ruma::{OwnedServerName, OwnedUserId, RoomId, ServerName, room_version_rules::RoomVersionRules};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue as RawJsonValue;

use super::{Homeserver, Need, ensure};
use crate::domain::{
    event::check::{self, Checked, DropReason},
    identity::PublicKey,
    server_keys::SignedAt,
};

/// Servers whose signatures an event may need: the sender's, and whoever authorised a join or sent an invite on.
const SIGNERS_MAX: usize = 3;
/// Servers whose keys are fetched at a time for the events of one answer, and how long all of them are waited for.
const FETCHED_AT_ONCE_MAX: usize = 32;
const FETCHES_WAIT_MAX_MS: u64 = 60_000;

/// What says which keys an event is checked with. Who else may have had to sign it is rarely another server.
#[derive(Deserialize)]
struct Signed {
    sender: OwnedUserId,
    #[serde(default)]
    origin_server_ts: u64,
    #[serde(default)]
    signatures: BTreeMap<OwnedServerName, BTreeMap<String, IgnoredAny>>,
}

/// Checks one received event with the keys that are known (see [`check::check_received`]).
pub fn check_known(
    server: &Homeserver,
    raw: &RawJsonValue,
    room_id: &RoomId,
    rules: &RoomVersionRules,
) -> Result<Checked, DropReason> {
    check::check_received(raw, room_id, rules, &|name, signed| server.keys_known(name, signed))
}

/// As [`check_known`], of an event in an answer to `/backfill` (see [`check::check_filled_in`]).
pub fn check_filled_in(
    server: &Homeserver,
    raw: &RawJsonValue,
    room_id: &RoomId,
    rules: &RoomVersionRules,
) -> Result<Checked, DropReason> {
    check::check_filled_in(raw, room_id, rules, &|name, signed| server.keys_known(name, signed))
}

/// As [`check_known`], once the keys it takes were asked for if they are not known.
pub async fn check_received(
    server: &Rc<Homeserver>,
    raw: &RawJsonValue,
    room_id: &RoomId,
    rules: &RoomVersionRules,
) -> Result<Checked, DropReason> {
    prefetch(server, [raw], rules).await;
    check_known(server, raw, room_id, rules)
}

/// Asks for the keys that these events were signed with and that are not known; bounded in time.
pub async fn prefetch(
    server: &Rc<Homeserver>,
    raws: impl IntoIterator<Item = &RawJsonValue>,
    rules: &RoomVersionRules,
) {
    let mut needs: BTreeMap<(OwnedServerName, BTreeSet<String>), SignedAt> = BTreeMap::new();
    for raw in raws {
        for (signer, need) in unknown(server, raw, rules) {
            let latest = needs.entry((signer, need.key_ids)).or_insert(need.signed);
            if let (SignedAt::Ms(latest), SignedAt::Ms(at_ms)) = (latest, need.signed) {
                *latest = at_ms.max(*latest);
            }
        }
    }
    if needs.is_empty() {
        return;
    }
    let fetches = stream::iter(needs).for_each_concurrent(FETCHED_AT_ONCE_MAX, async |((signer, key_ids), signed)| {
        if let Err(error) = ensure(server, &signer, &Need { key_ids, signed }).await {
            tracing::warn!(%signer, %error, "the keys of a server could not be kept");
        }
    });
    let patience = server.environment.clock.sleep_ms(FETCHES_WAIT_MAX_MS);
    match select(Box::pin(fetches), patience).await {
        Either::Left(((), _)) => {}
        Either::Right(((), _)) => tracing::info!("not all keys of a room's servers came in time"),
    }
}

/// Of the servers whose signature the event needs, those of whose keys none is known that signed it and was good then.
fn unknown(server: &Homeserver, raw: &RawJsonValue, rules: &RoomVersionRules) -> Vec<(OwnedServerName, Need)> {
    let Ok(Signed { sender, origin_server_ts, signatures }) = serde_json::from_str(raw.get()) else {
        return Vec::new();
    };
    let signed = if rules.enforce_key_validity { SignedAt::Ms(origin_server_ts) } else { SignedAt::AnyTime };
    let is_known = |name: &ServerName, key_ids: &BTreeSet<String>| {
        let known = server.keys_known(name, signed);
        let keys = known.as_ref().and_then(|known| known.get(name.as_str()));
        keys.is_some_and(|keys| key_ids.iter().any(|id| keys.contains_key(id)))
    };
    let published = |name: &ServerName| PublicKey::of_server_name(name).is_none() && name != server.server_name();
    // The sender's first: what else has signed the event is not always needed.
    let mut signers: Vec<_> = signatures.into_iter().filter(|(name, _)| published(name)).collect();
    signers.sort_by_key(|(name, _)| name != sender.server_name());
    let key_ids =
        |keys: BTreeMap<String, IgnoredAny>| keys.into_keys().filter(|id| id.starts_with("ed25519:")).collect();
    let signers = signers.into_iter().take(SIGNERS_MAX).map(|(name, keys)| (name, key_ids(keys)));
    let needed = signers.filter(|(name, ids): &(_, BTreeSet<String>)| !ids.is_empty() && !is_known(name, ids));
    needed.map(|(name, key_ids)| (name, Need { key_ids, signed })).collect()
}
