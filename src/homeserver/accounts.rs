//! Accounts: registering, and the two ways to prove that one is yours.
pub mod deactivation;

use std::rc::Rc;

use ruma::{DeviceId, OwnedUserId, UserId};
use thiserror::Error;

use super::{
    Homeserver, administration,
    devices::{self, DeviceError, Login, NewDevice},
    passwords::{self, PasswordError, TooManyFailures},
    push_rules, registration_tokens,
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
    #[error("the registration token is not good, or not any more")]
    Token,
    #[error("that access token is not of the guest with this username")]
    NotThatGuest,
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
    #[error("the account is locked: ask whoever runs this homeserver")]
    Locked,
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
    /// A registration token that this account is counted against.
    pub registration_token: Option<String>,
    pub kind: AccountKind,
}

/// What kind of account is made.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum AccountKind {
    /// Of the first user of a tab of one's own, an administrator.
    #[default]
    User,
    Admin,
    Guest,
    /// The account of a guest, who becomes an ordinary user.
    Upgrade(OwnedUserId),
}

/// What must be right before anybody is asked to authenticate: username, password and device of a new account.
pub async fn check_new(homeserver: &Homeserver, new: &NewAccount) -> Result<(), RegisterError> {
    match (&new.username, &new.kind) {
        (username, AccountKind::Upgrade(guest)) => {
            check_guest(homeserver, guest, username.as_deref()).await?;
        }
        (Some(username), _) => drop(check_username(homeserver, username).await?),
        (None, _) => {}
    }
    if let Some(password) = &new.password {
        passwords::check(password)?;
    }
    if let Some(device) = &new.device {
        devices::check_new(device)?;
    }
    Ok(())
}

/// The row of a guest who is to become a user under the same name.
async fn check_guest(
    homeserver: &Homeserver,
    guest: &OwnedUserId,
    username: Option<&str>,
) -> Result<UserRow, RegisterError> {
    let row = homeserver.database.get::<Users>(guest).await?;
    let row = row.filter(|row| row.guest && !row.deactivated && username == Some(guest.localpart()));
    row.ok_or(RegisterError::NotThatGuest)
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
pub async fn register(
    homeserver: &Homeserver,
    mut new: NewAccount,
) -> Result<(OwnedUserId, Option<Login>), RegisterError> {
    check_new(homeserver, &new).await?;
    let password_hash = match new.password.take() {
        Some(password) => Some(passwords::hash(&homeserver.environment, password).await),
        None => None,
    };
    let _accounts = homeserver.accounts_lock.lock().await;
    let mut batch = Batch::strict();
    if let Some(token) = &new.registration_token
        && !registration_tokens::count_use(homeserver, &mut batch, token).await?
    {
        return Err(RegisterError::Token);
    }
    let (user_id, row) = row_for(homeserver, &new).await?;
    let displayname = row.profile.get("displayname").and_then(|name| name.as_str()).map(str::to_owned);
    let position = homeserver.positions.next().await?;
    batch.put::<Users>(&user_id, &UserRow { password_hash, ..row });
    if !matches!(new.kind, AccountKind::Upgrade(_)) {
        push_rules::put_defaults(&mut batch, &user_id, position.value());
    }
    if new.kind != AccountKind::Guest {
        user_directory::put_account(&mut batch, &user_id, displayname.as_deref());
    }
    let mut login = match new.device {
        Some(device) => Some(devices::log_in(homeserver, &mut batch, &user_id, device).await?),
        None => None,
    };
    homeserver.database.commit(batch).await?;
    drop(position);
    if let Some(login) = &mut login {
        login.tell(homeserver);
    }
    if matches!(new.kind, AccountKind::Upgrade(_)) {
        devices::refresh_standing(homeserver, &user_id).await?;
    }
    homeserver.notifier.notify();
    Ok((user_id, login))
}

/// Whose account it will be, and what it says of the user. Called under `accounts_lock`.
async fn row_for(homeserver: &Homeserver, new: &NewAccount) -> Result<(OwnedUserId, UserRow), RegisterError> {
    if let AccountKind::Upgrade(guest) = &new.kind {
        let row = check_guest(homeserver, guest, new.username.as_deref()).await?;
        return Ok((guest.clone(), UserRow { guest: false, ..row }));
    }
    let user_id = match &new.username {
        Some(username) => check_username(homeserver, username).await?,
        None => free_user_id(homeserver).await?,
    };
    let admin = new.kind == AccountKind::Admin
        || (new.kind == AccountKind::User && administration::makes_first_user_admin(homeserver).await?);
    let created_ms = homeserver.environment.clock.now_ms();
    let guest = new.kind == AccountKind::Guest;
    Ok((user_id, UserRow { created_ms, guest, admin, ..UserRow::default() }))
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
/// Those of `users` who are of this server and have not ended their account.
pub async fn present(homeserver: &Homeserver, users: Vec<OwnedUserId>) -> Result<Vec<OwnedUserId>, StoreError> {
    let own: Vec<_> = users.into_iter().filter(|user| user.server_name() == homeserver.server_name()).collect();
    let rows = homeserver.database.get_many::<Users>(&own).await?;
    let present = own.into_iter().zip(rows).filter(|(_, row)| row.as_ref().is_some_and(|row| !row.deactivated));
    Ok(present.map(|(user, _)| user).collect())
}

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

/// Sets a password. With `log_out` every device but `kept` is logged out (client-server API, "Changing password").
pub async fn change_password(
    homeserver: &Rc<Homeserver>,
    user_id: &UserId,
    new_password: String,
    kept: Option<&DeviceId>,
    log_out: bool,
) -> Result<(), StoreError> {
    let hash = passwords::hash(&homeserver.environment, new_password).await;
    let key = user_id.to_owned();
    let _accounts = homeserver.accounts_lock.lock().await;
    let Some(row) = homeserver.database.get::<Users>(&key).await?.filter(|row| !row.deactivated) else {
        return Ok(());
    };
    let mut batch = Batch::strict();
    batch.put::<Users>(&key, &UserRow { password_hash: Some(hash), ..row });
    let mut ended = None;
    if log_out {
        end_login_tokens(homeserver, &mut batch, user_id).await?;
        ended = Some(devices::end_all_but(homeserver, &mut batch, user_id, kept).await?);
    }
    homeserver.database.commit(batch).await?;
    if let Some(ended) = ended {
        ended.tell(homeserver);
    }
    Ok(())
}

/// Puts into `batch` that the user's login tokens are no longer good.
async fn end_login_tokens(homeserver: &Homeserver, batch: &mut Batch, user_id: &UserId) -> Result<(), StoreError> {
    let tokens = homeserver.database.scan_all::<LoginTokens, _>(&()).await?;
    let own = tokens.iter().filter(|(_, row)| row.user_id == user_id);
    own.for_each(|(hash, _)| batch.delete::<LoginTokens>(hash));
    Ok(())
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
    if user.locked {
        return Err(LoginError::Locked);
    }
    let mut login = devices::log_in(homeserver, &mut batch, user_id, device).await?;
    homeserver.database.commit(batch).await?;
    login.tell(homeserver);
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
