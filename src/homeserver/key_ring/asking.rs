//! How often servers are asked for their keys: once a minute each, and a few times sooner for a key that nobody has asked for
//! yet, as when a server has just changed its own. Anybody can name keys that are none, so those few have a bound.
use std::{cell::RefCell, collections::BTreeSet, num::NonZeroUsize};

use lru::LruCache;
use ruma::{OwnedServerName, ServerName};

/// How long a server is not asked again for its keys, in milliseconds, whether or not it answered.
pub const FETCH_AGAIN_MS: u64 = 60_000;
/// How often it is asked sooner in that time, if it answered: each time for keys it was not asked for before.
pub const SOONER_MAX: usize = 3;
/// Servers of which is remembered when they were asked.
const ASKED_REMEMBERED: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");
/// Keys that one question was for, as far as they are remembered, and the longest of their ids, in bytes.
const KEY_IDS_REMEMBERED: usize = 4;
const KEY_ID_REMEMBERED_BYTES: usize = 128;

/// One question, and the ids of the keys it was for.
struct Question {
    asked_ms: u64,
    key_ids: BTreeSet<String>,
}

#[derive(Default)]
struct Asked {
    /// Those of the last [`FETCH_AGAIN_MS`].
    questions: Vec<Question>,
    /// Whether the last of them was answered.
    answered: bool,
}

/// When which servers were asked, and for what.
pub struct Asking {
    servers: RefCell<LruCache<OwnedServerName, Asked>>,
}

impl Default for Asking {
    fn default() -> Self {
        Self { servers: RefCell::new(LruCache::new(ASKED_REMEMBERED)) }
    }
}

impl Asking {
    /// Whether `server` may be asked now for these keys; for any of them if there are none.
    pub fn may_ask(&self, server: &ServerName, key_ids: &BTreeSet<String>, now_ms: u64) -> bool {
        let mut servers = self.servers.borrow_mut();
        let Some(asked) = servers.get_mut(server) else { return true };
        asked.questions.retain(|question| now_ms < question.asked_ms + FETCH_AGAIN_MS);
        asked.questions.is_empty() || asked.answered && asked.may_be_asked_sooner(&remembered(key_ids))
    }

    /// Notes that it is being asked.
    pub fn ask(&self, server: &ServerName, key_ids: &BTreeSet<String>, now_ms: u64) {
        let mut servers = self.servers.borrow_mut();
        let asked = servers.get_or_insert_mut(server.to_owned(), Asked::default);
        asked.answered = false;
        asked.questions.push(Question { asked_ms: now_ms, key_ids: remembered(key_ids) });
    }

    /// Notes that it told its keys.
    pub fn answered(&self, server: &ServerName) {
        if let Some(asked) = self.servers.borrow_mut().get_mut(server) {
            asked.answered = true;
        }
    }
}

impl Asked {
    fn may_be_asked_sooner(&self, key_ids: &BTreeSet<String>) -> bool {
        let is_new = |id: &String| self.questions.iter().all(|question| !question.key_ids.contains(id));
        self.questions.len() <= SOONER_MAX && key_ids.iter().any(is_new)
    }
}

/// What is remembered of a question: not all that somebody might make up.
fn remembered(key_ids: &BTreeSet<String>) -> BTreeSet<String> {
    key_ids.iter().filter(|id| id.len() <= KEY_ID_REMEMBERED_BYTES).take(KEY_IDS_REMEMBERED).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    /// Asks if that may be, and is answered.
    fn asks(asking: &Asking, server: &str, key_ids: &[&str], now_ms: u64) -> bool {
        let server = <&ServerName>::try_from(server).unwrap();
        let may = asking.may_ask(server, &ids(key_ids), now_ms);
        if may {
            asking.ask(server, &ids(key_ids), now_ms);
            asking.answered(server);
        }
        may
    }

    #[test]
    fn a_key_nobody_asked_for_yet_is_asked_for_at_once_a_few_times_a_minute() {
        let asking = Asking::default();
        assert!(asks(&asking, "a.example", &["ed25519:old"], 0));
        assert!(!asks(&asking, "a.example", &[], 1) && !asks(&asking, "a.example", &["ed25519:old"], 1));
        for round in 0..SOONER_MAX {
            let id = format!("ed25519:new{round}");
            assert!(asks(&asking, "a.example", &[&id], 10 + round as u64), "{id}");
            assert!(!asks(&asking, "a.example", &[&id], 10 + round as u64), "{id} once more");
        }
        assert!(!asks(&asking, "a.example", &["ed25519:made-up"], 20));
        assert!(asks(&asking, "b.example", &["ed25519:made-up"], 20), "others have their own");
        // Each question is forgotten when its time is over.
        assert!(!asks(&asking, "a.example", &["ed25519:made-up"], FETCH_AGAIN_MS - 1));
        assert!(asks(&asking, "a.example", &["ed25519:made-up"], FETCH_AGAIN_MS));
        assert!(!asks(&asking, "a.example", &["ed25519:more"], FETCH_AGAIN_MS));
        assert!(asks(&asking, "a.example", &[], 3 * FETCH_AGAIN_MS));
    }

    #[test]
    fn who_did_not_answer_is_not_asked_sooner() {
        let asking = Asking::default();
        let (server, new) = (<&ServerName>::try_from("a.example").unwrap(), ids(&["ed25519:new"]));
        asking.ask(server, &ids(&[]), 0);
        assert!(!asking.may_ask(server, &new, 1));
        asking.answered(server);
        assert!(asking.may_ask(server, &new, 1));
        asking.ask(server, &new, 1);
        assert!(!asking.may_ask(server, &ids(&["ed25519:newer"]), 2));
        assert!(asking.may_ask(server, &new, FETCH_AGAIN_MS + 1));
    }

    #[test]
    fn ids_without_end_are_not_remembered_and_ask_for_nothing() {
        let asking = Asking::default();
        let long = format!("ed25519:{}", "x".repeat(KEY_ID_REMEMBERED_BYTES));
        assert!(asks(&asking, "a.example", &[&long], 0));
        assert!(!asks(&asking, "a.example", &[&long], 1));
        let many: Vec<String> = (0..1_000).map(|n| format!("ed25519:{n:04}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(asks(&asking, "a.example", &many, 2) && !asks(&asking, "a.example", &many, 3));
        let servers = asking.servers.borrow();
        let asked = servers.peek(<&ServerName>::try_from("a.example").unwrap()).unwrap();
        assert!(asked.questions.iter().all(|question| question.key_ids.len() <= KEY_IDS_REMEMBERED));
    }
}
