//! Asking a server for its keys: itself, else the notaries that are trusted.
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use bytes::Bytes;
use futures::future::{Either, FutureExt, select};
use http::Method;
use ruma::{CanonicalJsonObject, OwnedServerName, ServerName, signatures::verify_json};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::Homeserver;
use crate::{
    domain::server_keys::{KEYS_ANSWER_MAX_BYTES, Published, SignedAt},
    ports::Lane,
};

/// How long one server is waited for, in milliseconds.
const FETCH_PATIENCE_MS: u64 = 10_000;
/// Notaries that are asked for one server.
const NOTARIES_ASKED_MAX: usize = 3;

/// What `server` publishes now, asked because of these keys. `None` if nobody tells, or somebody was asked a short while ago.
pub(super) async fn fetch(
    homeserver: &Rc<Homeserver>,
    server: &ServerName,
    key_ids: &BTreeSet<String>,
) -> Option<Rc<Published>> {
    let ring = &homeserver.key_ring;
    let under_way = ring.fetching.borrow().get(server).cloned();
    if let Some(fetching) = under_way {
        return fetching.await;
    }
    let now_ms = homeserver.environment.clock.now_ms();
    if !ring.asking.may_ask(server, key_ids, now_ms) {
        return None;
    }
    ring.asking.ask(server, key_ids, now_ms);
    let (weak, name) = (Rc::downgrade(homeserver), server.to_owned());
    let fetching = async move {
        let homeserver = weak.upgrade()?;
        let published = fetch_now(&homeserver, &name).await.map(Rc::new);
        homeserver.key_ring.fetching.borrow_mut().remove(&name);
        if published.is_some() {
            homeserver.key_ring.asking.answered(&name);
        }
        published
    };
    let fetching = fetching.boxed_local().shared();
    ring.fetching.borrow_mut().insert(server.to_owned(), fetching.clone());
    fetching.await
}

/// Whether [`fetch`] would not ask, because the server was asked so short a while ago; not while it is being asked.
pub(super) fn asked_lately(homeserver: &Homeserver, server: &ServerName, key_ids: &BTreeSet<String>) -> bool {
    let (now_ms, ring) = (homeserver.environment.clock.now_ms(), &homeserver.key_ring);
    !ring.asking.may_ask(server, key_ids, now_ms) && !ring.fetching.borrow().contains_key(server)
}

async fn fetch_now(homeserver: &Homeserver, server: &OwnedServerName) -> Option<Published> {
    match directly(homeserver, server).await {
        Ok(published) => return Some(published),
        Err(error) => tracing::info!(%server, error, "a server's keys could not be had from itself"),
    }
    for notary in homeserver.options.notaries.iter().filter(|notary| *notary != server).take(NOTARIES_ASKED_MAX) {
        match from_notary(homeserver, notary, server).await {
            Ok(published) => return Some(published),
            Err(error) => tracing::info!(%server, %notary, error, "a server's keys could not be had from a notary"),
        }
    }
    None
}

async fn directly(homeserver: &Homeserver, server: &OwnedServerName) -> Result<Published, String> {
    let body = ask(homeserver, server, Method::GET, "/_matrix/key/v2/server", Bytes::new()).await?;
    let object: CanonicalJsonObject = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    Published::check(server, object).map_err(|error| error.to_string())
}

/// What a notary says and has signed. Its own keys must be known: it is a server whose name certifies one, or one whose
/// keys came from itself before.
async fn from_notary(
    homeserver: &Homeserver,
    notary: &OwnedServerName,
    server: &OwnedServerName,
) -> Result<Published, String> {
    #[derive(Deserialize)]
    struct Answer {
        server_keys: Vec<Box<RawValue>>,
    }
    let now_ms = homeserver.environment.clock.now_ms();
    let notary_keys = match homeserver.keys_known(notary, SignedAt::Ms(now_ms)) {
        Some(keys) => keys,
        None => {
            let published = directly(homeserver, notary).await?;
            let mut known = crate::domain::server_keys::KnownKeys::default();
            known.add(now_ms, published);
            BTreeMap::from([(notary.to_string(), known.good_at(SignedAt::Ms(now_ms)))])
        }
    };
    let asked = json!({ "server_keys": { server.as_str(): {} } });
    let body = ask(homeserver, notary, Method::POST, "/_matrix/key/v2/query", asked.to_string().into()).await?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let mut newest: Option<Published> = None;
    for raw in answer.server_keys {
        let object: CanonicalJsonObject = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
        if object.get("server_name").and_then(|name| name.as_str()) != Some(server.as_str()) {
            continue;
        }
        check_notary(notary, &notary_keys, &object)?;
        let published = Published::check(server, object).map_err(|error| error.to_string())?;
        if newest.as_ref().is_none_or(|newest| newest.valid_until_ms() < published.valid_until_ms()) {
            newest = Some(published);
        }
    }
    newest.ok_or_else(|| "it knows nothing of them".to_owned())
}

fn check_notary(
    notary: &ServerName,
    keys: &ruma::signatures::PublicKeyMap,
    object: &CanonicalJsonObject,
) -> Result<(), String> {
    let signatures = object.get("signatures").and_then(|signatures| signatures.as_object());
    let own = signatures.and_then(|signatures| signatures.get(notary.as_str()));
    let own = own.ok_or_else(|| "the notary has not signed them".to_owned())?;
    let mut alone = object.clone();
    alone.insert("signatures".to_owned(), CanonicalJsonObject::from([(notary.to_string(), own.clone())]).into());
    verify_json(keys, &alone).map_err(|error| format!("the notary's signature does not hold: {error}"))
}

/// An answer of 200 with a body of bounded size, in bounded time.
async fn ask(
    homeserver: &Homeserver,
    server: &OwnedServerName,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Bytes, String> {
    let request = http::Request::builder().method(method).uri(path);
    let request = request.header(http::header::CONTENT_TYPE, "application/json").body(body);
    let request = request.map_err(|error| error.to_string())?;
    let asking = homeserver.environment.transport.request(server.clone(), Lane::Queries, request);
    let response = match select(asking, homeserver.environment.clock.sleep_ms(FETCH_PATIENCE_MS)).await {
        Either::Left((response, _)) => response.map_err(|error| error.to_string())?,
        Either::Right(_) => return Err("it did not answer in time".to_owned()),
    };
    if response.status() != http::StatusCode::OK {
        return Err(format!("it answered {}", response.status()));
    }
    let body = response.into_body();
    // A notary may know several answers of one server.
    if body.len() > 4 * KEYS_ANSWER_MAX_BYTES {
        return Err(format!("its answer has {} bytes", body.len()));
    }
    Ok(body)
}
