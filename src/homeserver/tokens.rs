//! Access tokens and the refresh tokens that renew them.
use std::rc::Rc;

use ruma::{OwnedDeviceId, OwnedUserId};
use thiserror::Error;

use super::{
    Homeserver,
    sessions::{self, TokenHash},
};
use crate::{
    ports::{Batch, StoreError},
    storage::tables::{
        AccessTokenRow, AccessTokens, DeviceRow, Devices, NextTokens, RefreshTokenRow, RefreshTokens, Users,
    },
};

/// How long an access token is good that can be refreshed; one that cannot lasts until its device is logged out.
pub const ACCESS_TOKEN_LIFETIME_MS: u64 = 60 * 60 * 1000;

/// What refresh tokens begin with, so that a leaked one is recognised for what it is.
const REFRESH_TOKEN_PREFIX: &str = "warren_refresh_";

/// Tokens as a client gets them, once.
#[derive(Debug)]
pub struct Issued {
    pub access_token: String,
    /// With one the access token expires after [`ACCESS_TOKEN_LIFETIME_MS`].
    pub refresh_token: Option<String>,
}

#[derive(Debug, Error)]
pub enum RefreshError {
    #[error("the refresh token is not known: it was used, its device was logged out, or it was never issued")]
    Unknown,
    #[error("the account is locked: ask whoever runs this homeserver")]
    Locked,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Puts new tokens of a device into `batch`, and their hashes into `row`, whose earlier ones the caller has ended.
pub fn issue(
    homeserver: &Homeserver,
    batch: &mut Batch,
    device: &(OwnedUserId, OwnedDeviceId),
    row: &mut DeviceRow,
    refreshable: bool,
) -> Issued {
    let access_token = sessions::new_access_token(&*homeserver.environment.entropy);
    row.token_hash = sessions::token_hash(&access_token);
    row.next = None;
    put_access(homeserver, batch, device, row.token_hash, refreshable, false);
    let refresh_token = refreshable.then(|| new_refresh_token(homeserver));
    row.refresh_hash = refresh_token.as_deref().map(sessions::token_hash);
    if let Some(hash) = row.refresh_hash {
        put_refresh(batch, device, hash);
    }
    Issued { access_token, refresh_token }
}

/// Deletes every token of a device; call `Sessions::forget` with what this returns after the commit.
pub fn end_all(batch: &mut Batch, row: &DeviceRow) -> Vec<TokenHash> {
    row.refresh_hashes().iter().for_each(|hash| batch.delete::<RefreshTokens>(hash));
    let access = row.access_hashes();
    access.iter().for_each(|hash| batch.delete::<AccessTokens>(hash));
    access
}

/// New tokens for a refresh token (client-server API, "Refreshing access tokens"). The tokens before stay good until one
/// of the new ones is used, as the answer may get lost; a further refresh by the old one ends the unused new ones.
pub async fn refresh(homeserver: &Rc<Homeserver>, token: &str) -> Result<Issued, RefreshError> {
    let hash = sessions::token_hash(token);
    let _accounts = homeserver.accounts_lock.lock().await;
    let RefreshTokenRow { user_id, device_id } =
        homeserver.database.get::<RefreshTokens>(&hash).await?.ok_or(RefreshError::Unknown)?;
    if homeserver.database.get::<Users>(&user_id).await?.is_some_and(|user| user.locked) {
        return Err(RefreshError::Locked);
    }
    let device = (user_id, device_id);
    let mut row = homeserver.database.get::<Devices>(&device).await?.ok_or(RefreshError::Unknown)?;
    let mut batch = Batch::strict();
    let mut ended = Vec::new();
    if let Some(next) = row.next.take() {
        if next.refresh_hash == hash {
            ended.extend(adopt(&mut batch, &mut row, next));
        } else {
            batch.delete::<AccessTokens>(&next.access_hash);
            batch.delete::<RefreshTokens>(&next.refresh_hash);
            ended.push(next.access_hash);
        }
    }
    let access_token = sessions::new_access_token(&*homeserver.environment.entropy);
    let refresh_token = new_refresh_token(homeserver);
    let next = NextTokens {
        access_hash: sessions::token_hash(&access_token),
        refresh_hash: sessions::token_hash(&refresh_token),
    };
    put_access(homeserver, &mut batch, &device, next.access_hash, true, true);
    put_refresh(&mut batch, &device, next.refresh_hash);
    row.next = Some(next);
    batch.put::<Devices>(&device, &row);
    homeserver.database.commit(batch).await?;
    homeserver.sessions.forget(&ended);
    Ok(Issued { access_token, refresh_token: Some(refresh_token) })
}

/// The first use of an access token that came by a refresh: the tokens it replaces end.
pub async fn supersede(homeserver: &Homeserver, hash: TokenHash, used: &AccessTokenRow) -> Result<(), StoreError> {
    let _accounts = homeserver.accounts_lock.lock().await;
    let device = (used.user_id.clone(), used.device_id.clone());
    let Some(mut row) = homeserver.database.get::<Devices>(&device).await? else { return Ok(()) };
    let Some(next) = row.next.take().filter(|next| next.access_hash == hash) else { return Ok(()) };
    let mut batch = Batch::strict();
    let ended = adopt(&mut batch, &mut row, next);
    batch.put::<AccessTokens>(&hash, &AccessTokenRow { supersedes: false, ..used.clone() });
    batch.put::<Devices>(&device, &row);
    homeserver.database.commit(batch).await?;
    homeserver.sessions.forget(&ended);
    Ok(())
}

/// Makes `next` the device's tokens; returns the access tokens that end.
fn adopt(batch: &mut Batch, row: &mut DeviceRow, next: NextTokens) -> Vec<TokenHash> {
    let ended = end_all(batch, row);
    row.token_hash = next.access_hash;
    row.refresh_hash = Some(next.refresh_hash);
    ended
}

fn put_access(
    homeserver: &Homeserver,
    batch: &mut Batch,
    (user_id, device_id): &(OwnedUserId, OwnedDeviceId),
    hash: TokenHash,
    expires: bool,
    supersedes: bool,
) {
    let expires_ms = expires.then(|| homeserver.environment.clock.now_ms() + ACCESS_TOKEN_LIFETIME_MS);
    let row = AccessTokenRow { user_id: user_id.clone(), device_id: device_id.clone(), expires_ms, supersedes };
    batch.put::<AccessTokens>(&hash, &row);
}

fn put_refresh(batch: &mut Batch, (user_id, device_id): &(OwnedUserId, OwnedDeviceId), hash: TokenHash) {
    let row = RefreshTokenRow { user_id: user_id.clone(), device_id: device_id.clone() };
    batch.put::<RefreshTokens>(&hash, &row);
}

fn new_refresh_token(homeserver: &Homeserver) -> String {
    format!("{REFRESH_TOKEN_PREFIX}{}", sessions::random_token(&*homeserver.environment.entropy))
}
