//! Passwords: hashed with argon2id away from the thread that serves requests, checked at the same cost for everybody.
use std::{cell::RefCell, num::NonZeroUsize};

use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version,
    password_hash::{Salt, SaltString},
};
use lru::LruCache;
use ruma::{OwnedUserId, UserId};
use thiserror::Error;

use crate::ports::Environment;

/// The most bytes a password may have: hashing reads them all.
pub const PASSWORD_MAX_BYTES: usize = 512;

/// argon2id with 7 MiB in 5 passes: the setting of OWASP's list that needs the least memory, because a wasm memory never
/// gives any back.
const ARGON2_MEMORY_KIB: u32 = 7 * 1024;
const ARGON2_PASSES: u32 = 5;
const ARGON2_LANES: u32 = 1;

/// How many passwords of a user may be wrong within the window before further ones are not looked at.
const FAILURES_MAX: u32 = 10;
const FAILURES_WINDOW_MS: u64 = 5 * 60 * 1000;

/// How many users' failures are remembered.
const FAILURES_REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PasswordError {
    #[error("the password is empty")]
    Empty,
    #[error("the password is longer than {PASSWORD_MAX_BYTES} bytes")]
    TooLong,
}

/// Too many wrong passwords for one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too many wrong passwords")]
pub struct TooManyFailures {
    pub retry_after_ms: u64,
}

struct Failures {
    count: u32,
    since_ms: u64,
}

/// Who got passwords wrong lately. Not stored: a restart forgives.
pub struct PasswordFailures(RefCell<LruCache<OwnedUserId, Failures>>);

impl Default for PasswordFailures {
    fn default() -> Self {
        Self(RefCell::new(LruCache::new(FAILURES_REMEMBERED_MAX)))
    }
}

impl PasswordFailures {
    /// Counts an attempt as failed until `forgive` says otherwise, so that attempts at the same time are counted too.
    pub fn count(&self, user_id: &UserId, now_ms: u64) -> Result<(), TooManyFailures> {
        let mut users = self.0.borrow_mut();
        let failures = users.get_or_insert_mut(user_id.to_owned(), || Failures { count: 0, since_ms: now_ms });
        if now_ms.saturating_sub(failures.since_ms) >= FAILURES_WINDOW_MS {
            *failures = Failures { count: 0, since_ms: now_ms };
        }
        if failures.count >= FAILURES_MAX {
            return Err(TooManyFailures { retry_after_ms: failures.since_ms + FAILURES_WINDOW_MS - now_ms });
        }
        failures.count += 1;
        Ok(())
    }

    pub fn forgive(&self, user_id: &UserId) {
        self.0.borrow_mut().pop(user_id);
    }
}

pub fn check(password: &str) -> Result<(), PasswordError> {
    match password.len() {
        0 => Err(PasswordError::Empty),
        1..=PASSWORD_MAX_BYTES => Ok(()),
        _ => Err(PasswordError::TooLong),
    }
}

/// The PHC string of a password that passed `check`.
pub async fn hash(environment: &Environment, password: String) -> String {
    let mut salt = [0; Salt::RECOMMENDED_LENGTH];
    environment.entropy.fill(&mut salt);
    let work = move || {
        let salt = SaltString::encode_b64(&salt).expect("16 bytes are a salt");
        let hash = argon2id().hash_password(password.as_bytes(), &salt);
        hash.expect("the parameters are constants").to_string().into_bytes()
    };
    String::from_utf8(environment.offload.run(Box::new(work)).await).expect("a PHC string is ASCII")
}

/// Whether `password` is the one that `stored` is the PHC string of. Without `stored` it takes as long to say no.
pub async fn matches(environment: &Environment, stored: Option<String>, password: String) -> bool {
    if check(&password).is_err() {
        return false;
    }
    let Some(stored) = stored else {
        hash(environment, password).await;
        return false;
    };
    let work = move || {
        let parsed = PasswordHash::new(&stored);
        let right = parsed.is_ok_and(|hash| argon2id().verify_password(password.as_bytes(), &hash).is_ok());
        vec![u8::from(right)]
    };
    environment.offload.run(Box::new(work)).await == [1]
}

fn argon2id() -> Argon2<'static> {
    let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, None);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.expect("the parameters are constants"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenth_failure_is_the_last_until_the_window_ends() {
        let failures = PasswordFailures::default();
        let user = ruma::user_id!("@a:example.org");
        (0..FAILURES_MAX).for_each(|n| failures.count(user, 1000 + u64::from(n)).unwrap());
        assert_eq!(failures.count(user, 2000), Err(TooManyFailures { retry_after_ms: FAILURES_WINDOW_MS - 1000 }));
        assert_eq!(failures.count(ruma::user_id!("@b:example.org"), 2000), Ok(()), "others are not held back");
        assert_eq!(failures.count(user, 1000 + FAILURES_WINDOW_MS), Ok(()));
        (1..FAILURES_MAX).for_each(|_| failures.count(user, 1000 + FAILURES_WINDOW_MS).unwrap());
        failures.forgive(user);
        assert_eq!(failures.count(user, 1000 + FAILURES_WINDOW_MS), Ok(()));
    }
}
