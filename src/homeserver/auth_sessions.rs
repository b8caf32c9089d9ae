//! User-interactive authentication under way: which stages a client has completed for which request. In memory only: a
//! client that comes back after a restart is asked again.
use std::{cell::RefCell, num::NonZeroUsize};

use lru::LruCache;
use ruma::{OwnedUserId, api::client::uiaa::AuthType};

use super::{Homeserver, sessions};

/// How many authentications may be under way; a further one ends that which was used longest ago.
const AUTH_SESSIONS_MAX: NonZeroUsize = NonZeroUsize::new(1000).expect("not zero");

/// How long one may take.
pub const AUTH_SESSION_LIFETIME_MS: u64 = 15 * 60 * 1000;

/// What somebody authenticates for: a session is good for nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// The handler's name.
    pub operation: &'static str,
    /// Whose access token the request came with, if any.
    pub user_id: Option<OwnedUserId>,
}

/// What is completed.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub completed: Vec<AuthType>,
    /// The registration token that was shown.
    pub registration_token: Option<String>,
    /// Whose password was right.
    pub user_id: Option<OwnedUserId>,
}

struct AuthSession {
    purpose: Purpose,
    /// The stages that are asked for.
    flow: Vec<AuthType>,
    progress: Progress,
    begun_ms: u64,
}

pub struct AuthSessions(RefCell<LruCache<String, AuthSession>>);

impl Default for AuthSessions {
    fn default() -> Self {
        Self(RefCell::new(LruCache::new(AUTH_SESSIONS_MAX)))
    }
}

/// What a session id that a client sends turns out to be.
pub enum Found {
    /// Never begun here, over, or forgotten.
    None,
    /// Of another request.
    Other,
    Ours(Progress),
}

impl AuthSessions {
    pub fn find(&self, id: &str, purpose: &Purpose, now_ms: u64) -> Found {
        let mut sessions = self.0.borrow_mut();
        match sessions.get(id) {
            Some(session) if now_ms.saturating_sub(session.begun_ms) >= AUTH_SESSION_LIFETIME_MS => {
                sessions.pop(id);
                Found::None
            }
            Some(session) if session.purpose != *purpose => Found::Other,
            Some(session) => Found::Ours(session.progress.clone()),
            None => Found::None,
        }
    }

    /// A session by its id alone, for the page where somebody completes a stage whose client cannot.
    pub fn open(&self, id: &str, now_ms: u64) -> Option<(Purpose, Vec<AuthType>, Progress)> {
        let mut sessions = self.0.borrow_mut();
        let session = sessions.get(id)?;
        let over = now_ms.saturating_sub(session.begun_ms) >= AUTH_SESSION_LIFETIME_MS;
        (!over).then(|| (session.purpose.clone(), session.flow.clone(), session.progress.clone()))
    }

    /// Keeps what is completed, under a session that was begun before or a new one; answers its id.
    pub fn keep(
        &self,
        homeserver: &Homeserver,
        id: Option<&str>,
        purpose: Purpose,
        flow: Vec<AuthType>,
        progress: Progress,
    ) -> String {
        let mut sessions = self.0.borrow_mut();
        if let Some(id) = id
            && let Some(session) = sessions.get_mut(id)
        {
            session.progress = progress;
            return id.to_owned();
        }
        let id = sessions::random_token(&*homeserver.environment.entropy);
        let begun_ms = homeserver.environment.clock.now_ms();
        sessions.put(id.clone(), AuthSession { purpose, flow, progress, begun_ms });
        id
    }

    /// Ends a session that has done its work.
    pub fn end(&self, id: &str) {
        self.0.borrow_mut().pop(id);
    }
}
