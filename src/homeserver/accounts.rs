//! Accounts: registering, and the two ways to prove that one is yours.
use ruma::{OwnedUserId, UserId};
use thiserror::Error;

use super::{
    Homeserver,
    devices::{self, DeviceError, Login, NewDevice},
    passwords::{self, PasswordError, TooManyFailures},
    push_rules,
    sessions::{self, Session},
    user_directory,
};
use crate::{
    ports::{Batch, StoreError},
    storage::tables::{LoginTokenRow, LoginTokens, UserRow, Users},
};

/// The most bytes a user id may have (appendices, "User identifiers").
const USER_ID_MAX_BYTES: usize = 255;

/// How long a login token is good (specification of `m.login.token`: it should be short).
pub const LOGIN_TOKEN_LIFETIME_MS: u64 = 2 * 60 * 1000;

/// How many login tokens may be good at once; a further one ends the oldest.
const LOGIN_TOKENS_MAX: usize = 100;

/// The letters of a localpart made here, and how many it has.
const LOCALPART_LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const LOCALPART_LENGTH: usize = 10;

#[derive(Debug, Error)]
pub enum UsernameError {
    #[error("a username is made of a-z, 0-9 and ._=-/+, does not begin with _ and is not too long")]
    Invalid,
    #[error("the username is taken")]
    InUse,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Error)]
pub enum RegisterError {
    #[error(transparent)]
    Username(#[from] UsernameError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Error)]
pub enum LoginError {
    /// Says no more than that, whether the user exists or not.
    #[error("wrong username, password or token")]
    Refused,
    #[error(transparent)]
    TooManyFailures(#[from] TooManyFailures),
    #[error("the account has been deactivated")]
    Deactivated,
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An account to be made.
#[derive(Debug, Default)]
pub struct NewAccount {
    /// Without one a random one is made.
    pub username: Option<String>,
    /// Without one the account can only be reached by the devices it has and the login tokens they make.
    pub password: Option<String>,
    /// The device to log in with at once, if any.
    pub device: Option<NewDevice>,
}

/// What must be right before anybody is asked to authenticate: username, password and device of a new account.
pub async fn check_new(homeserver: &Homeserver, new: &NewAccount) -> Result<(), RegisterError> {
    if let Some(username) = &new.username {
        check_username(homeserver, username).await?;
    }
    if let Some(password) = &new.password {
        passwords::check(password)?;
    }
    if let Some(device) = &new.device {
        devices::check_new(device)?;
    }
    Ok(())
}

/// The user id that `username` would give, if nobody has it.
pub async fn check_username(homeserver: &Homeserver, username: &str) -> Result<OwnedUserId, UsernameError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._=-/+".contains(&byte);
    if username.is_empty() || username.starts_with('_') || !username.bytes().all(allowed) {
        return Err(UsernameError::Invalid);
    }
    let user_id = format!("@{username}:{}", homeserver.server_name());
    if user_id.len() > USER_ID_MAX_BYTES {
        return Err(UsernameError::Invalid);
    }
    let user_id = UserId::parse(user_id).map_err(|_| UsernameError::Invalid)?;
    match homeserver.database.get::<Users>(&user_id).await? {
        Some(_) => Err(UsernameError::InUse),
        None => Ok(user_id),
    }
}

/// Makes an account, its push rules, and if asked for a device with its token: all in one strict commit.
pub async fn register(homeserver: &Homeserver, new: NewAccount) -> Result<(OwnedUserId, Option<Login>), RegisterError> {
    check_new(homeserver, &new).await?;
    let password_hash = match new.password {
        Some(password) => Some(passwords::hash(&homeserver.environment, password).await),
        None => None,
    };
    let _accounts = homeserver.accounts_lock.lock().await;
    let user_id = match &new.username {
        Some(username) => check_username(homeserver, username).await?,
        None => free_user_id(homeserver).await?,
    };
    let position = homeserver.positions.next().await?;
    let mut batch = Batch::strict();
    let created_ms = homeserver.environment.clock.now_ms();
    batch.put::<Users>(&user_id, &UserRow { created_ms, password_hash, ..UserRow::default() });
    user_directory::put_account(&mut batch, &user_id, None);
    push_rules::put_defaults(&mut batch, &user_id, position.value());
    let login = match new.device {
        Some(device) => Some(devices::log_in(homeserver, &mut batch, &user_id, device).await?),
        None => None,
    };
    homeserver.database.commit(batch).await?;
    drop(position);
    homeserver.notifier.notify();
    Ok((user_id, login))
}

async fn free_user_id(homeserver: &Homeserver) -> Result<OwnedUserId, UsernameError> {
    loop {
        let mut bytes = [0; LOCALPART_LENGTH];
        homeserver.environment.entropy.fill(&mut bytes);
        let letters = bytes.map(|byte| char::from(LOCALPART_LETTERS[usize::from(byte % 32)]));
        match check_username(homeserver, &String::from_iter(letters)).await {
            Err(UsernameError::InUse) => {}
            other => return other,
        }
    }
}

/// Whether the account has a password; `None` if there is no such account or it was deactivated.
pub async fn has_password(homeserver: &Homeserver, user_id: &UserId) -> Result<Option<bool>, StoreError> {
    let row = homeserver.database.get::<Users>(&user_id.to_owned()).await?;
    Ok(row.filter(|row| !row.deactivated).map(|row| row.password_hash.is_some()))
}

/// Checks a password. It costs the same whether it is wrong, the account has none, or there is no account.
pub async fn check_password(homeserver: &Homeserver, user_id: &UserId, password: String) -> Result<(), LoginError> {
    homeserver.password_failures.count(user_id, homeserver.environment.clock.now_ms())?;
    let row = homeserver.database.get::<Users>(&user_id.to_owned()).await?.unwrap_or_default();
    if !passwords::matches(&homeserver.environment, row.password_hash, password).await {
        return Err(LoginError::Refused);
    }
    homeserver.password_failures.forgive(user_id);
    if row.deactivated { Err(LoginError::Deactivated) } else { Ok(()) }
}

/// Logs in with a password.
pub async fn log_in_with_password(
    homeserver: &Homeserver,
    user_id: &UserId,
    password: String,
    device: NewDevice,
) -> Result<Login, LoginError> {
    devices::check_new(&device)?;
    check_password(homeserver, user_id, password).await?;
    let _accounts = homeserver.accounts_lock.lock().await;
    finish_log_in(homeserver, Batch::strict(), user_id, device).await
}

/// Logs in with a login token, which is used up in the same commit.
pub async fn log_in_with_token(
    homeserver: &Homeserver,
    token: &str,
    device: NewDevice,
) -> Result<(OwnedUserId, Login), LoginError> {
    devices::check_new(&device)?;
    let hash = sessions::token_hash(token);
    let _accounts = homeserver.accounts_lock.lock().await;
    let row = homeserver.database.get::<LoginTokens>(&hash).await?.ok_or(LoginError::Refused)?;
    let mut batch = Batch::strict();
    batch.delete::<LoginTokens>(&hash);
    if row.expires_ms <= homeserver.environment.clock.now_ms() {
        homeserver.database.commit(batch).await?;
        return Err(LoginError::Refused);
    }
    let login = finish_log_in(homeserver, batch, &row.user_id, device).await?;
    Ok((row.user_id, login))
}

async fn finish_log_in(
    homeserver: &Homeserver,
    mut batch: Batch,
    user_id: &UserId,
    device: NewDevice,
) -> Result<Login, LoginError> {
    let user = homeserver.database.get::<Users>(&user_id.to_owned()).await?.ok_or(LoginError::Refused)?;
    if user.deactivated {
        return Err(LoginError::Deactivated);
    }
    let login = devices::log_in(homeserver, &mut batch, user_id, device).await?;
    homeserver.database.commit(batch).await?;
    homeserver.sessions.forget(login.replaced.as_slice());
    Ok(login)
}

/// Makes a token with which one more device of the same user can log in, once and soon. Expired ones go.
pub async fn issue_login_token(homeserver: &Homeserver, session: &Session) -> Result<String, StoreError> {
    let now_ms = homeserver.environment.clock.now_ms();
    let token = sessions::random_token(&*homeserver.environment.entropy);
    let mut batch = Batch::strict();
    let mut others = homeserver.database.scan_all::<LoginTokens, _>(&()).await?;
    others.sort_by_key(|(_, row)| std::cmp::Reverse(row.expires_ms));
    for (index, (hash, row)) in others.iter().enumerate() {
        if index + 1 >= LOGIN_TOKENS_MAX || row.expires_ms <= now_ms {
            batch.delete::<LoginTokens>(hash);
        }
    }
    let row = LoginTokenRow { user_id: session.user_id.clone(), expires_ms: now_ms + LOGIN_TOKEN_LIFETIME_MS };
    batch.put::<LoginTokens>(&sessions::token_hash(&token), &row);
    homeserver.database.commit(batch).await?;
    Ok(token)
}
