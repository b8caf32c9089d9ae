//! Who an access token stands for. Tokens are kept as their SHA-256 only; a small cache spares the store.
use core::net::IpAddr;
use std::{cell::RefCell, num::NonZeroUsize, rc::Rc};

use lru::LruCache;
use multibase::Base;
use ruma::{OwnedDeviceId, OwnedUserId};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{Homeserver, tokens};
use crate::{
    ports::{Batch, Entropy, StoreError},
    storage::tables::{AccessTokens, Devices, Users},
};

/// How many tokens' sessions are kept in memory.
const SESSIONS_CACHED_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// How long it may take until the store knows that a device was used.
const LAST_SEEN_WRITTEN_EVERY_MS: u64 = 10 * 60 * 1000;

/// What access tokens begin with, so that a leaked one is recognised for what it is.
const ACCESS_TOKEN_PREFIX: &str = "warren_";

/// The most characters kept of what a client calls itself.
const USER_AGENT_MAX_CHARS: usize = 200;

/// What an account may do, if not all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// May take part in rooms that let guests in (client-server API, "Guest Access").
    pub guest: bool,
    /// May read, and little else (client-server API, "Account suspension").
    pub suspended: bool,
    /// May log out (client-server API, "Account locking").
    pub locked: bool,
}

#[derive(Debug, Error)]
pub enum TokenError {
    #[error("the access token is not known: it was logged out or never issued")]
    Unknown,
    #[error("the access token has expired: refresh it, or log in again")]
    Expired,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A device that has authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub user_id: OwnedUserId,
    pub device_id: OwnedDeviceId,
    pub standing: Standing,
    /// What the page calls this one deliberate request, so that its repeat after a restart is known for one.
    pub request_id: Option<String>,
}

/// SHA-256 of an access token or login token: what the store knows instead of the token.
pub type TokenHash = [u8; 32];

pub fn token_hash(token: &str) -> TokenHash {
    Sha256::digest(token).into()
}

/// 32 random bytes in base64url behind a prefix.
pub fn new_access_token(entropy: &dyn Entropy) -> String {
    format!("{ACCESS_TOKEN_PREFIX}{}", random_token(entropy))
}

/// 32 random bytes in base64url.
pub fn random_token(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    Base::Base64Url.encode(bytes)
}

struct Cached {
    session: Session,
    expires_ms: Option<u64>,
    /// When the store last heard of the device, and when it was last used.
    written_ms: u64,
    seen_ms: u64,
}

struct Known {
    by_token: LruCache<TokenHash, Cached>,
    /// Counts what was forgotten, so that a look-up under way does not bring it back.
    forgotten: u64,
}

/// The cache of token look-ups.
pub struct Sessions(RefCell<Known>);

impl Default for Sessions {
    fn default() -> Self {
        Self(RefCell::new(Known { by_token: LruCache::new(SESSIONS_CACHED_MAX), forgotten: 0 }))
    }
}

impl Sessions {
    /// Called after the commit that deleted the tokens, or changed what their user may do.
    pub fn forget(&self, tokens: &[TokenHash]) {
        let mut known = self.0.borrow_mut();
        known.forgotten += 1;
        tokens.iter().for_each(|token| drop(known.by_token.pop(token)));
    }

    /// The session of a token that is known, used now, and whether the store should hear that its device was.
    fn use_known(&self, hash: &TokenHash, now_ms: u64) -> Result<Option<(Session, bool)>, TokenError> {
        let mut known = self.0.borrow_mut();
        let Some(cached) = known.by_token.get_mut(hash) else { return Ok(None) };
        if cached.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms) {
            return Err(TokenError::Expired);
        }
        cached.seen_ms = now_ms;
        let due = now_ms.saturating_sub(cached.written_ms) >= LAST_SEEN_WRITTEN_EVERY_MS;
        if due {
            cached.written_ms = now_ms;
        }
        Ok(Some((cached.session.clone(), due)))
    }

    /// How often tokens were forgotten since the start: while it stands still, nobody was logged out.
    pub fn logouts(&self) -> u64 {
        self.0.borrow().forgotten
    }

    /// When a device was last used, if that is known more exactly than the store has it.
    pub fn last_seen_ms(&self, token: &TokenHash) -> Option<u64> {
        self.0.borrow().by_token.peek(token).map(|cached| cached.seen_ms)
    }
}

/// What is known of a client by its request, for whoever asks who is logged in.
#[derive(Default)]
pub struct Caller<'a> {
    /// What it calls itself.
    pub user_agent: Option<&'a str>,
    pub address: Option<IpAddr>,
}

/// The session of `token`.
pub async fn session_of_token(
    homeserver: &Rc<Homeserver>,
    token: &str,
    caller: Caller<'_>,
) -> Result<Session, TokenError> {
    let hash = token_hash(token);
    let now_ms = homeserver.environment.clock.now_ms();
    let (session, due) = match homeserver.sessions.use_known(&hash, now_ms)? {
        Some(known) => known,
        None => (look_up(homeserver, hash, now_ms).await?, true),
    };
    if due {
        write_last_seen(homeserver, session.clone(), hash, now_ms, caller);
    }
    Ok(session)
}

async fn look_up(homeserver: &Homeserver, hash: TokenHash, now_ms: u64) -> Result<Session, TokenError> {
    let forgotten = homeserver.sessions.logouts();
    let row = homeserver.database.get::<AccessTokens>(&hash).await?.ok_or(TokenError::Unknown)?;
    if row.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms) {
        return Err(TokenError::Expired);
    }
    let user = homeserver.database.get::<Users>(&row.user_id).await?.unwrap_or_default();
    if row.supersedes {
        tokens::supersede(homeserver, hash, &row).await?;
    }
    let standing = Standing { guest: user.guest, suspended: user.suspended, locked: user.locked };
    let session = Session { user_id: row.user_id, device_id: row.device_id, standing, request_id: None };
    let mut known = homeserver.sessions.0.borrow_mut();
    if known.forgotten == forgotten {
        let cached =
            Cached { session: session.clone(), expires_ms: row.expires_ms, written_ms: now_ms, seen_ms: now_ms };
        known.by_token.put(hash, cached);
    }
    Ok(session)
}

/// Notes in the background when the device was used. Losing that is no harm, so neither is a failure.
fn write_last_seen(homeserver: &Rc<Homeserver>, session: Session, token: TokenHash, now_ms: u64, caller: Caller<'_>) {
    let last_seen_ip = caller.address;
    let user_agent = caller.user_agent.map(|name| name.chars().take(USER_AGENT_MAX_CHARS).collect());
    let weak = Rc::downgrade(homeserver);
    homeserver.environment.tasks.spawn(Box::pin(async move {
        let Some(homeserver) = weak.upgrade() else { return };
        let _accounts = homeserver.accounts_lock.lock().await;
        let key = (session.user_id, session.device_id);
        let row = homeserver.database.get::<Devices>(&key).await;
        if let Ok(Some(mut row)) = row
            && row.token_hash == token
        {
            row.last_seen_ms = Some(now_ms);
            row.user_agent = user_agent;
            row.last_seen_ip = last_seen_ip;
            let mut batch = Batch::default();
            batch.put::<Devices>(&key, &row);
            if let Err(error) = homeserver.database.commit(batch).await {
                tracing::debug!(%error, "when a device was last seen was not written");
            }
        }
    }));
}
