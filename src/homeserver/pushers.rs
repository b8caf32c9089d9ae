//! Pushers: where users want their notifications sent (client-server API, "Push Notifications"). By HTTP only, and only
//! where the shell can reach gateways: what nobody would send is refused, so that no client relies on it.
use std::rc::Rc;

use ruma::{
    OwnedDeviceId, OwnedUserId, UserId,
    api::client::push::{Pusher, PusherIds, PusherInit, PusherKind},
    push::HttpPusherData,
};
use serde_json::{Map, Value};
use thiserror::Error;

use super::{Homeserver, sessions::Session};
use crate::{
    ports::{Batch, StoreError},
    storage::{
        Direction,
        tables::{PusherOwners, PusherRow, Pushers as PushersTable},
    },
};

/// The longest ids of applications, in characters, and keys, in bytes (client-server API, `POST /pushers/set`).
pub const APP_ID_MAX_CHARS: usize = 64;
pub const PUSHKEY_MAX_BYTES: usize = 512;
/// The most bytes each of the other texts may have, and the client's data as JSON.
pub const PUSHER_TEXT_MAX_BYTES: usize = 512;
pub const PUSHER_DATA_MAX_BYTES: usize = 4_096;
/// The most pushers a user may have.
pub const PUSHERS_PER_USER_MAX: usize = 100;
/// The most users whose pushers share an application's id and key.
const OWNERS_MAX: usize = 1_000;

/// Where the specification has every gateway.
const GATEWAY_PATH: &str = "/_matrix/push/v1/notify";

#[derive(Debug, Error)]
pub enum PusherError {
    #[error("pushers of the kind {0:?} are not offered here")]
    NotOffered(String),
    #[error("this homeserver reaches no push gateways: it runs in a browser's tab")]
    NoGateways,
    #[error("`{0}` is empty or too long")]
    BadText(&'static str),
    #[error("`url` must be https, without credentials, with the path {GATEWAY_PATH}")]
    BadUrl,
    #[error("`data` is larger than {PUSHER_DATA_MAX_BYTES} bytes")]
    DataTooLarge,
    #[error("there are {PUSHERS_PER_USER_MAX} pushers already")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// User, application and key.
pub type PusherKey = (OwnedUserId, String, String);

/// The pushers of a user.
pub async fn all(server: &Homeserver, user: &UserId) -> Result<Vec<Pusher>, StoreError> {
    let rows = rows_of(server, user).await?;
    Ok(rows.into_iter().map(|((_, app_id, pushkey), row)| written(app_id, pushkey, row)).collect())
}

/// Adds a pusher, or replaces the one with its ids. Others' pushers with those ids go, unless `append` says otherwise:
/// the device has changed hands.
pub async fn set(server: &Rc<Homeserver>, session: &Session, pusher: Pusher, append: bool) -> Result<(), PusherError> {
    let data = check(server, &pusher)?;
    let (app_id, pushkey) = (pusher.ids.app_id, pusher.ids.pushkey);
    let key = (session.user_id.clone(), app_id.clone(), pushkey.clone());
    let _accounts = server.accounts_lock.lock().await;
    let existing = server.database.get::<PushersTable>(&key).await?;
    if existing.is_none() && rows_of(server, &session.user_id).await?.len() >= PUSHERS_PER_USER_MAX {
        return Err(PusherError::TooMany);
    }
    let mut batch = Batch::strict();
    let mut gone = Vec::new();
    if !append {
        for owner in owners(server, &app_id, &pushkey).await?.into_iter().filter(|owner| *owner != session.user_id) {
            let key = (owner, app_id.clone(), pushkey.clone());
            remove(&mut batch, &key);
            gone.push(key);
        }
    }
    let row = PusherRow {
        device_id: session.device_id.clone(),
        app_display_name: pusher.app_display_name,
        device_display_name: pusher.device_display_name,
        profile_tag: pusher.profile_tag,
        lang: pusher.lang,
        url: data.0,
        data: data.1,
        set_ms: server.environment.clock.now_ms(),
        through: existing.as_ref().map_or_else(|| server.positions.visible(), |row| row.through),
        told_unread: existing.map_or(0, |row| row.told_unread),
    };
    batch.put::<PushersTable>(&key, &row);
    batch.put::<PusherOwners>(&(app_id, pushkey, session.user_id.clone()), &());
    server.database.commit(batch).await?;
    gone.iter().for_each(|key| server.pushes.forget(key));
    server.pushes.set(key);
    Ok(())
}

/// Removes a pusher, if it is there.
pub async fn delete(server: &Rc<Homeserver>, user: &UserId, ids: PusherIds) -> Result<(), PusherError> {
    delete_key(server, &(user.to_owned(), ids.app_id, ids.pushkey)).await.map_err(PusherError::from)
}

pub async fn delete_key(server: &Homeserver, key: &PusherKey) -> Result<(), StoreError> {
    let _accounts = server.accounts_lock.lock().await;
    if server.database.get::<PushersTable>(key).await?.is_none() {
        return Ok(());
    }
    let mut batch = Batch::strict();
    remove(&mut batch, key);
    server.database.commit(batch).await?;
    server.pushes.forget(key);
    Ok(())
}

/// Puts into `batch` that what these devices of a user set is gone. The caller holds `accounts_lock`, commits, and has
/// `Pushes::forget` take note.
pub async fn remove_with_devices(
    server: &Homeserver,
    user: &UserId,
    devices: &[OwnedDeviceId],
    batch: &mut Batch,
) -> Result<Vec<PusherKey>, StoreError> {
    let rows = rows_of(server, user).await?;
    let gone = rows.into_iter().filter(|(_, row)| devices.contains(&row.device_id)).map(|(key, _)| key);
    let gone: Vec<PusherKey> = gone.collect();
    gone.iter().for_each(|key| remove(batch, key));
    Ok(gone)
}

fn remove(batch: &mut Batch, key: &PusherKey) {
    let (user, app_id, pushkey) = key.clone();
    batch.delete::<PushersTable>(key);
    batch.delete::<PusherOwners>(&(app_id, pushkey, user));
}

async fn rows_of(server: &Homeserver, user: &UserId) -> Result<Vec<(PusherKey, PusherRow)>, StoreError> {
    let prefix = (user.to_owned(),);
    server.database.scan_prefix::<PushersTable, _>(&prefix, Direction::Ascending, PUSHERS_PER_USER_MAX).await
}

async fn owners(server: &Homeserver, app_id: &str, pushkey: &str) -> Result<Vec<OwnedUserId>, StoreError> {
    let prefix = (app_id.to_owned(), pushkey.to_owned());
    let rows = server.database.scan_prefix::<PusherOwners, _>(&prefix, Direction::Ascending, OWNERS_MAX).await?;
    Ok(rows.into_iter().map(|((_, _, owner), ())| owner).collect())
}

/// The gateway's URL and the rest of the data, if the pusher is one that can be served.
fn check(server: &Homeserver, pusher: &Pusher) -> Result<(String, Map<String, Value>), PusherError> {
    let PusherKind::Http(http) = &pusher.kind else {
        let kind = serde_json::to_value(&pusher.kind).ok().and_then(|kind| Some(kind["kind"].as_str()?.to_owned()));
        return Err(PusherError::NotOffered(kind.unwrap_or_default()));
    };
    let Some(gateways) = &server.environment.push_gateways else { return Err(PusherError::NoGateways) };
    let PusherIds { app_id, pushkey, .. } = &pusher.ids;
    if app_id.is_empty() || app_id.chars().count() > APP_ID_MAX_CHARS {
        return Err(PusherError::BadText("app_id"));
    }
    if pushkey.is_empty() || pushkey.len() > PUSHKEY_MAX_BYTES {
        return Err(PusherError::BadText("pushkey"));
    }
    for (name, text) in [
        ("app_display_name", Some(&pusher.app_display_name)),
        ("device_display_name", Some(&pusher.device_display_name)),
        ("lang", Some(&pusher.lang)),
        ("profile_tag", pusher.profile_tag.as_ref()),
    ] {
        if text.is_some_and(|text| text.len() > PUSHER_TEXT_MAX_BYTES) {
            return Err(PusherError::BadText(name));
        }
    }
    check_url(&http.url, gateways.allows_local())?;
    let mut data: Map<String, Value> = http.data.clone().into_iter().collect();
    if let Some(format) = &http.format {
        data.insert("format".to_owned(), format.as_str().into());
    }
    let too_large = serde_json::to_string(&data).map_or(usize::MAX, |data| data.len()) > PUSHER_DATA_MAX_BYTES;
    if too_large { Err(PusherError::DataTooLarge) } else { Ok((http.url.clone(), data)) }
}

fn check_url(url: &str, allows_http: bool) -> Result<(), PusherError> {
    let uri: http::Uri = url.parse().map_err(|_| PusherError::BadUrl)?;
    let scheme = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => allows_http,
        _ => false,
    };
    let authority = uri.authority().is_some_and(|at| !at.host().is_empty() && !at.as_str().contains('@'));
    let fits = url.len() <= PUSHER_DATA_MAX_BYTES && !url.contains('#');
    if scheme && authority && fits && uri.path() == GATEWAY_PATH { Ok(()) } else { Err(PusherError::BadUrl) }
}

fn written(app_id: String, pushkey: String, row: PusherRow) -> Pusher {
    let mut data = HttpPusherData::new(row.url);
    data.format = row.data.get("format").and_then(Value::as_str).map(Into::into);
    data.data = row.data.into_iter().filter(|(key, _)| key != "format").collect();
    let init = PusherInit {
        ids: PusherIds::new(pushkey, app_id),
        kind: PusherKind::Http(data),
        app_display_name: row.app_display_name,
        device_display_name: row.device_display_name,
        profile_tag: row.profile_tag,
        lang: row.lang,
    };
    init.into()
}
