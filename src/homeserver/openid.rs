//! Tokens by which a user shows somebody else who they are (client-server API, "OpenID").
use thiserror::Error;

use super::{
    Homeserver,
    sessions::{self, Session},
};
use crate::{
    ports::{Batch, StoreError},
    storage::tables::{OpenIdTokenRow, OpenIdTokens, Users},
};
use ruma::{OwnedUserId, UserId};

/// How long a token is good.
pub const OPENID_TOKEN_LIFETIME_MS: u64 = 60 * 60 * 1000;

/// How many tokens of this homeserver may be good at once; a further one ends the oldest.
const OPENID_TOKENS_MAX: usize = 1000;

#[derive(Debug, Error)]
pub enum OpenIdError {
    #[error("the token is not known, or has expired")]
    Unknown,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a token for the user of `session`. Expired ones go.
pub async fn issue(homeserver: &Homeserver, session: &Session) -> Result<String, StoreError> {
    let now_ms = homeserver.environment.clock.now_ms();
    let token = sessions::random_token(&*homeserver.environment.entropy);
    let _accounts = homeserver.accounts_lock.lock().await;
    let mut others = homeserver.database.scan_all::<OpenIdTokens, _>(&()).await?;
    others.sort_by_key(|(_, row)| std::cmp::Reverse(row.expires_ms));
    let mut batch = Batch::strict();
    for (index, (hash, row)) in others.iter().enumerate() {
        if index + 1 >= OPENID_TOKENS_MAX || row.expires_ms <= now_ms {
            batch.delete::<OpenIdTokens>(hash);
        }
    }
    let row = OpenIdTokenRow { user_id: session.user_id.clone(), expires_ms: now_ms + OPENID_TOKEN_LIFETIME_MS };
    batch.put::<OpenIdTokens>(&sessions::token_hash(&token), &row);
    homeserver.database.commit(batch).await?;
    Ok(token)
}

/// Who made a token.
pub async fn owner(homeserver: &Homeserver, token: &str) -> Result<OwnedUserId, OpenIdError> {
    let row = homeserver.database.get::<OpenIdTokens>(&sessions::token_hash(token)).await?;
    let now_ms = homeserver.environment.clock.now_ms();
    let row = row.filter(|row| now_ms < row.expires_ms).ok_or(OpenIdError::Unknown)?;
    let user = homeserver.database.get::<Users>(&row.user_id).await?;
    user.filter(|user| !user.deactivated && !user.locked).map(|_| row.user_id).ok_or(OpenIdError::Unknown)
}

/// Puts into `batch` that the user's tokens are no longer good.
pub async fn end_all(homeserver: &Homeserver, batch: &mut Batch, user_id: &UserId) -> Result<(), StoreError> {
    let tokens = homeserver.database.scan_all::<OpenIdTokens, _>(&()).await?;
    let own = tokens.iter().filter(|(_, row)| row.user_id == user_id);
    own.for_each(|(hash, _)| batch.delete::<OpenIdTokens>(hash));
    Ok(())
}
