//! Telling others the keys of third servers (server-server API, "Querying keys through another server"), signed by us too. What
//! is fetched only because somebody asked is kept apart, in memory, and costs a budget that all who ask share.
use std::{cell::RefCell, collections::BTreeMap, num::NonZeroUsize, rc::Rc};

use futures::future::join_all;
use lru::LruCache;
use ruma::{CanonicalJsonObject, OwnedServerName, ServerName};
use thiserror::Error;

use super::{
    Homeserver, fetch,
    publish::{own_keys, sign},
};
use crate::{
    domain::{
        rate_limit::{Buckets, Rate},
        server_keys::{KnownKeys, Published},
    },
    ports::StoreError,
};

/// The most servers one request may ask about.
pub const NOTARY_SERVERS_MAX: usize = 100;
/// Servers fetched at the same time for one request.
const FETCHED_AT_ONCE_MAX: usize = 8;
/// What all who ask may make us fetch: a burst, then one a second.
const FETCH_RATE: Rate = Rate { burst: 60, refill_ms: 1_000 };
/// Servers whose keys are remembered because somebody asked.
const PASSED_ON_KEPT: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
const ONE: NonZeroUsize = NonZeroUsize::new(1).expect("not zero");

#[derive(Debug, Error)]
pub enum NotaryError {
    #[error("one request asks about {NOTARY_SERVERS_MAX} servers at most")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What somebody wants to know of a server's keys.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Ids of keys; any if empty.
    pub key_ids: Vec<String>,
    /// Until when they shall be good at least, in milliseconds since the Unix epoch; now if nothing is said.
    pub valid_until_ms: Option<u64>,
}

pub struct PassedOn {
    known: RefCell<LruCache<OwnedServerName, Rc<KnownKeys>>>,
    budget: RefCell<Buckets<()>>,
}

impl PassedOn {
    /// What was fetched for others, for whoever needs it now.
    pub(super) fn take(&self, server: &ServerName) -> Option<Rc<KnownKeys>> {
        self.known.borrow_mut().pop(server)
    }
}

impl Default for PassedOn {
    fn default() -> Self {
        Self { known: RefCell::new(LruCache::new(PASSED_ON_KEPT)), budget: RefCell::new(Buckets::new(FETCH_RATE, ONE)) }
    }
}

/// What is known of the keys of these servers, signed by them and by us. Servers that cannot be reached and were never
/// heard of are left out.
pub async fn query(
    homeserver: &Rc<Homeserver>,
    wanted: BTreeMap<OwnedServerName, Wanted>,
) -> Result<Vec<CanonicalJsonObject>, NotaryError> {
    if wanted.len() > NOTARY_SERVERS_MAX {
        return Err(NotaryError::TooMany);
    }
    let stale: Vec<_> = wanted.iter().filter(|(server, wanted)| !suffices(homeserver, server, wanted)).collect();
    for some in stale.chunks(FETCHED_AT_ONCE_MAX) {
        let refreshed = join_all(some.iter().map(|(server, wanted)| refresh(homeserver, server, wanted))).await;
        refreshed.into_iter().collect::<Result<(), _>>()?;
    }
    let mut told = Vec::new();
    for (server, wanted) in &wanted {
        if server == homeserver.server_name() {
            told.push(own_keys(homeserver));
            continue;
        }
        let Some(known) = known(homeserver, server) else { continue };
        for object in chosen(&known, wanted) {
            let mut object = object.clone();
            sign(homeserver, &mut object);
            told.push(object);
        }
    }
    Ok(told)
}

/// The newest answer, and older ones with keys that are wanted and not in it.
fn chosen<'a>(known: &'a KnownKeys, wanted: &'a Wanted) -> impl Iterator<Item = &'a CanonicalJsonObject> {
    let newest = known.newest().map(|(_, published)| published);
    let missing = move |published: &Published| {
        let in_newest = |id: &String| newest.is_some_and(|newest| newest.has(id));
        wanted.key_ids.iter().any(|id| published.has(id) && !in_newest(id))
    };
    let chosen = known.answers().enumerate().filter(move |(index, (_, published))| *index == 0 || missing(published));
    chosen.map(|(_, (_, published))| published.object())
}

fn known(homeserver: &Homeserver, server: &ServerName) -> Option<Rc<KnownKeys>> {
    let ring = &homeserver.key_ring;
    ring.known(server).or_else(|| ring.passed_on.known.borrow_mut().get(server).cloned())
}

/// Whether what is known need not be asked for again: it is good for as long as is wanted, and has not lived half its life.
fn suffices(homeserver: &Homeserver, server: &ServerName, wanted: &Wanted) -> bool {
    if server == homeserver.server_name() {
        return true;
    }
    let Some(known) = known(homeserver, server) else { return false };
    let Some((fetched_ms, newest)) = known.newest() else { return false };
    let now_ms = homeserver.environment.clock.now_ms();
    let until_ms = newest.valid_until_ms();
    until_ms >= wanted.valid_until_ms.unwrap_or(now_ms)
        && now_ms < fetched_ms + until_ms.saturating_sub(fetched_ms) / 2
        && wanted.key_ids.iter().all(|id| known.names(id))
}

async fn refresh(homeserver: &Rc<Homeserver>, server: &ServerName, wanted: &Wanted) -> Result<(), StoreError> {
    let key_ids = wanted.key_ids.iter().cloned().collect();
    let now_ms = homeserver.environment.clock.now_ms();
    let ring = &homeserver.key_ring;
    if fetch::asked_lately(homeserver, server, &key_ids) {
        return Ok(());
    }
    if ring.passed_on.budget.borrow_mut().take((), 1, now_ms).is_err() {
        tracing::info!(%server, "keys are not fetched: others have had too many fetched");
        return Ok(());
    }
    let Some(published) = fetch::fetch(homeserver, server, &key_ids).await else { return Ok(()) };
    if ring.known(server).is_some() {
        return super::keep(homeserver, server, now_ms, &published).await;
    }
    let mut known = ring.passed_on.known.borrow_mut().get(server).map(|known| (**known).clone()).unwrap_or_default();
    known.add(now_ms, (*published).clone());
    ring.passed_on.known.borrow_mut().put(server.to_owned(), Rc::new(known));
    Ok(())
}
