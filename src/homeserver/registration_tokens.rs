//! Tokens that let somebody make an account (client-server API, "Token-authenticated registration"): those of the
//! homeserver's settings, good for any number of accounts, and those that administrators make.
use std::cell::Cell;

use thiserror::Error;

use super::{Homeserver, sessions};
use crate::{
    ports::{Batch, StoreError},
    storage::{
        Direction,
        tables::{RegistrationTokenRow, RegistrationTokens},
    },
};

/// The most characters a token may have (client-server API, "Token-authenticated registration").
pub const REGISTRATION_TOKEN_MAX_CHARS: usize = 64;

/// How many characters a token has that is made here, unless another number is asked for.
pub const REGISTRATION_TOKEN_CHARS: usize = 16;

/// How many tokens administrators may have made.
pub const REGISTRATION_TOKENS_MAX: usize = 1000;

/// How many tokens that are none may be asked about within the window before no further one is looked at.
const GUESSES_MAX: u32 = 60;
const GUESSES_WINDOW_MS: u64 = 60 * 1000;

#[derive(Debug, Error)]
pub enum RegistrationTokenError {
    #[error("a registration token has 1 to {REGISTRATION_TOKEN_MAX_CHARS} of the characters A-Z, a-z, 0-9 and ._~-")]
    Malformed,
    #[error("a token that expires does so in the future")]
    ExpiresInThePast,
    #[error("there is such a token already")]
    InUse,
    #[error("there are {REGISTRATION_TOKENS_MAX} tokens already")]
    TooMany,
    #[error("there is no such token")]
    NotFound,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Error)]
pub enum ValidityError {
    #[error("too many tokens were asked about that are none")]
    TooManyGuesses { retry_after_ms: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Counts tokens that were asked about and are none, by whomever. Not stored: a restart forgives.
#[derive(Default)]
pub struct Guesses {
    count: Cell<u32>,
    since_ms: Cell<u64>,
}

impl Guesses {
    fn wait_ms(&self, now_ms: u64) -> u64 {
        let end_ms = self.since_ms.get().saturating_add(GUESSES_WINDOW_MS);
        if self.count.get() < GUESSES_MAX { 0 } else { end_ms.saturating_sub(now_ms) }
    }

    fn count(&self, now_ms: u64) {
        if now_ms.saturating_sub(self.since_ms.get()) >= GUESSES_WINDOW_MS {
            self.since_ms.set(now_ms);
            self.count.set(0);
        }
        self.count.set(self.count.get() + 1);
    }
}

/// Whether an account could be made with `token` now.
pub async fn is_valid(homeserver: &Homeserver, token: &str) -> Result<bool, ValidityError> {
    let now_ms = homeserver.environment.clock.now_ms();
    let retry_after_ms = homeserver.token_guesses.wait_ms(now_ms);
    if retry_after_ms > 0 {
        return Err(ValidityError::TooManyGuesses { retry_after_ms });
    }
    let valid = is_of_settings(homeserver, token)
        || good_row(homeserver, token).await?.is_some_and(|row| is_good(&row, now_ms));
    if !valid {
        homeserver.token_guesses.count(now_ms);
    }
    Ok(valid)
}

/// Puts into `batch` that an account is made with `token`; `false` if none can be. The caller holds `accounts_lock`.
pub async fn count_use(homeserver: &Homeserver, batch: &mut Batch, token: &str) -> Result<bool, StoreError> {
    if is_of_settings(homeserver, token) {
        return Ok(true);
    }
    let now_ms = homeserver.environment.clock.now_ms();
    let Some(row) = good_row(homeserver, token).await?.filter(|row| is_good(row, now_ms)) else { return Ok(false) };
    batch.put::<RegistrationTokens>(&token.to_owned(), &RegistrationTokenRow { completed: row.completed + 1, ..row });
    Ok(true)
}

fn is_of_settings(homeserver: &Homeserver, token: &str) -> bool {
    homeserver.options.registration_tokens.iter().any(|known| known == token)
}

async fn good_row(homeserver: &Homeserver, token: &str) -> Result<Option<RegistrationTokenRow>, StoreError> {
    if !is_well_formed(token) {
        return Ok(None);
    }
    homeserver.database.get::<RegistrationTokens>(&token.to_owned()).await
}

fn is_good(row: &RegistrationTokenRow, now_ms: u64) -> bool {
    row.uses_allowed.is_none_or(|allowed| row.completed < allowed)
        && row.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms)
}

/// Whether it has the form that the specification gives registration tokens.
pub fn is_well_formed(token: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    !token.is_empty() && token.len() <= REGISTRATION_TOKEN_MAX_CHARS && token.bytes().all(allowed)
}

/// A token that administrators made.
#[derive(Debug)]
pub struct KnownToken {
    pub token: String,
    pub row: RegistrationTokenRow,
}

/// Makes a token: a given one, or a random one of `length` characters.
pub async fn make(
    homeserver: &Homeserver,
    token: Option<String>,
    length: usize,
    uses_allowed: Option<u64>,
    expires_ms: Option<u64>,
) -> Result<KnownToken, RegistrationTokenError> {
    check_expiry(homeserver, expires_ms)?;
    let _accounts = homeserver.accounts_lock.lock().await;
    if all(homeserver).await?.len() >= REGISTRATION_TOKENS_MAX {
        return Err(RegistrationTokenError::TooMany);
    }
    let random = || sessions::random_token(&*homeserver.environment.entropy).chars().take(length).collect();
    // What is random in base64url has `_`, which these tokens may not.
    let token = token.unwrap_or_else(|| {
        let random: String = random();
        random.replace('_', "~")
    });
    if !is_well_formed(&token) {
        return Err(RegistrationTokenError::Malformed);
    }
    if homeserver.database.get::<RegistrationTokens>(&token).await?.is_some() {
        return Err(RegistrationTokenError::InUse);
    }
    put(homeserver, token, RegistrationTokenRow { uses_allowed, completed: 0, expires_ms }).await
}

/// Changes how long a token is good and for how many accounts.
pub async fn change(
    homeserver: &Homeserver,
    token: String,
    uses_allowed: Option<Option<u64>>,
    expires_ms: Option<Option<u64>>,
) -> Result<KnownToken, RegistrationTokenError> {
    check_expiry(homeserver, expires_ms.flatten())?;
    let _accounts = homeserver.accounts_lock.lock().await;
    let mut row = one(homeserver, token.clone()).await?.row;
    row.uses_allowed = uses_allowed.unwrap_or(row.uses_allowed);
    row.expires_ms = expires_ms.unwrap_or(row.expires_ms);
    put(homeserver, token, row).await
}

async fn put(
    homeserver: &Homeserver,
    token: String,
    row: RegistrationTokenRow,
) -> Result<KnownToken, RegistrationTokenError> {
    let mut batch = Batch::strict();
    batch.put::<RegistrationTokens>(&token, &row);
    homeserver.database.commit(batch).await?;
    Ok(KnownToken { token, row })
}

fn check_expiry(homeserver: &Homeserver, expires_ms: Option<u64>) -> Result<(), RegistrationTokenError> {
    let past = expires_ms.is_some_and(|expires_ms| expires_ms < homeserver.environment.clock.now_ms());
    if past { Err(RegistrationTokenError::ExpiresInThePast) } else { Ok(()) }
}

pub async fn one(homeserver: &Homeserver, token: String) -> Result<KnownToken, RegistrationTokenError> {
    let row = good_row(homeserver, &token).await?.ok_or(RegistrationTokenError::NotFound)?;
    Ok(KnownToken { token, row })
}

pub async fn delete(homeserver: &Homeserver, token: String) -> Result<(), RegistrationTokenError> {
    let _accounts = homeserver.accounts_lock.lock().await;
    let token = one(homeserver, token).await?.token;
    let mut batch = Batch::strict();
    batch.delete::<RegistrationTokens>(&token);
    Ok(homeserver.database.commit(batch).await?)
}

/// Every token that administrators made, good or not.
pub async fn all(homeserver: &Homeserver) -> Result<Vec<KnownToken>, StoreError> {
    let rows = homeserver
        .database
        .scan_prefix::<RegistrationTokens, _>(&(), Direction::Ascending, REGISTRATION_TOKENS_MAX)
        .await?;
    Ok(rows.into_iter().map(|(token, row)| KnownToken { token, row }).collect())
}

/// Whether a token made with these settings would be good now.
pub fn would_be_good(homeserver: &Homeserver, row: &RegistrationTokenRow) -> bool {
    is_good(row, homeserver.environment.clock.now_ms())
}
