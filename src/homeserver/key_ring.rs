//! The keys of servers whose names do not certify one (server-server API, "Retrieving server keys"): fetched from the server
//! itself, or from a notary that is trusted, and kept so that what it signed can be checked while it is away.
//!
//! A server is asked through the transport, which sees to it that whoever answers may speak for that name: by TLS, or by
//! being what the profile trusts to reach such servers.
mod asking;
mod fetch;
pub mod notary;
pub mod publish;
pub mod verify;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    rc::Rc,
};

use futures::future::{LocalBoxFuture, Shared};
use lru::LruCache;
use ruma::{
    OwnedServerName, ServerName,
    serde::Base64,
    signatures::{PublicKeyMap, PublicKeySet},
};

pub use self::asking::{FETCH_AGAIN_MS, SOONER_MAX};
use self::{asking::Asking, notary::PassedOn};
use super::Homeserver;
use crate::{
    domain::{
        identity::{FormerKey, PublicKey},
        server_keys::{KnownKeys, Published, SignedAt},
    },
    ports::{Batch, StoreError},
    storage::{
        Database,
        tables::{KeysAnswerRow, ServerKeys, ServerKeysRow},
    },
};

/// Servers whose keys are kept; the one asked about longest ago goes first.
const SERVERS_KEPT: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");

/// What must be known of a server's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Ids of keys; none of them in particular if empty.
    pub key_ids: BTreeSet<String>,
    pub signed: SignedAt,
}

type Fetching = Shared<LocalBoxFuture<'static, Option<Rc<Published>>>>;

pub struct KeyRing {
    kept: RefCell<LruCache<OwnedServerName, Rc<KnownKeys>>>,
    asking: Asking,
    fetching: RefCell<BTreeMap<OwnedServerName, Fetching>>,
    passed_on: PassedOn,
}

impl KeyRing {
    pub async fn open(database: &Database) -> Result<Self, StoreError> {
        let mut kept = LruCache::new(SERVERS_KEPT);
        for (server, row) in database.scan_all::<ServerKeys, _>(&()).await? {
            let mut known = KnownKeys::default();
            for answer in row.answers.into_iter().rev() {
                // It was believed when it came; rules that have become stricter since may forget it.
                if let Ok(published) = Published::check(&server, answer.object) {
                    known.add(answer.fetched_ms, published);
                }
            }
            kept.put(server, Rc::new(known));
        }
        Ok(Self {
            kept: RefCell::new(kept),
            asking: Asking::default(),
            fetching: RefCell::default(),
            passed_on: PassedOn::default(),
        })
    }

    fn known(&self, server: &ServerName) -> Option<Rc<KnownKeys>> {
        self.kept.borrow_mut().get(server).cloned()
    }
}

impl Homeserver {
    /// The keys of `server` that were good when something was signed, from what is known; `None` if there are none.
    pub fn keys_known(&self, server: &ServerName, signed: SignedAt) -> Option<PublicKeyMap> {
        let keys = good_keys(self, server, signed);
        (!keys.is_empty()).then(|| [(server.to_string(), keys)].into())
    }
}

fn good_keys(homeserver: &Homeserver, server: &ServerName, signed: SignedAt) -> PublicKeySet {
    match PublicKey::of_server_name(server) {
        Some(key) => key.public_key_map(server).remove(server.as_str()).unwrap_or_default(),
        None if server == homeserver.server_name() => own_keys_at(homeserver, signed),
        None => homeserver.key_ring.known(server).map(|known| known.good_at(signed)).unwrap_or_default(),
    }
}

/// What this homeserver itself signed with then: its events come back to it from others.
fn own_keys_at(homeserver: &Homeserver, signed: SignedAt) -> PublicKeySet {
    let identity = &homeserver.identity;
    let was_good = |former: &&FormerKey| match signed {
        SignedAt::AnyTime => true,
        SignedAt::Ms(at_ms) => at_ms <= former.expired_ms,
    };
    let former = homeserver.options.former_keys.iter().filter(was_good).map(|former| (former.id.clone(), former.key));
    let keys = former.chain([(identity.key_id(), identity.public_key().0)]);
    keys.map(|(id, key)| (id, Base64::new(key.to_vec()))).collect()
}

/// Sees to it that what is needed of a server's keys is known, if it can be had: [`Homeserver::keys_known`] answers after
/// it. Asks as often as [`asking`] says, and once for all who need it at the same time.
pub async fn ensure(homeserver: &Rc<Homeserver>, server: &ServerName, need: &Need) -> Result<(), StoreError> {
    let satisfied = || {
        let good = good_keys(homeserver, server, need.signed);
        !good.is_empty() && need.key_ids.iter().all(|id| good.contains_key(id))
    };
    // A key that is known and was not good then does not become good by asking; a missing one may have come.
    let hopeless = || {
        homeserver.key_ring.known(server).is_some_and(|known| {
            let newest_ms = known.newest().map_or(0, |(fetched_ms, _)| fetched_ms);
            let before = matches!(need.signed, SignedAt::Ms(at_ms) if at_ms <= newest_ms);
            before && !need.key_ids.is_empty() && need.key_ids.iter().all(|id| known.names(id))
        })
    };
    if server == homeserver.server_name() || PublicKey::of_server_name(server).is_some() {
        return Ok(());
    }
    if let Some(known) = homeserver.key_ring.passed_on.take(server) {
        for (fetched_ms, published) in known.answers().collect::<Vec<_>>().into_iter().rev() {
            keep(homeserver, server, fetched_ms, published).await?;
        }
    }
    if satisfied() || hopeless() {
        return Ok(());
    }
    if let Some(published) = fetch::fetch(homeserver, server, &need.key_ids).await {
        keep(homeserver, server, homeserver.environment.clock.now_ms(), &published).await?;
    }
    Ok(())
}

/// Keeps what a server was found to publish.
async fn keep(
    homeserver: &Homeserver,
    server: &ServerName,
    fetched_ms: u64,
    published: &Published,
) -> Result<(), StoreError> {
    let mut known = homeserver.key_ring.known(server).map(|known| (*known).clone()).unwrap_or_default();
    if known.newest().is_some_and(|(at_ms, newest)| at_ms == fetched_ms && newest == published) {
        return Ok(());
    }
    known.add(fetched_ms, published.clone());
    let answers = known
        .answers()
        .map(|(fetched_ms, published)| KeysAnswerRow { fetched_ms, object: published.object().clone() })
        .collect();
    let mut batch = Batch::default();
    let gone = homeserver.key_ring.kept.borrow_mut().push(server.to_owned(), Rc::new(known));
    if let Some((gone, _)) = gone.filter(|(gone, _)| gone != server) {
        batch.delete::<ServerKeys>(&gone);
    }
    batch.put::<ServerKeys>(&server.to_owned(), &ServerKeysRow { answers });
    homeserver.database.commit(batch).await
}
