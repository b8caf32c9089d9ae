//! Whom to ask next of several servers that can do the same: in order, those that have no time again when they have some.
//! Without clock or I/O.
use std::collections::BTreeSet;

use ruma::OwnedServerName;

/// The most servers that are tried.
pub const SERVERS_TRIED_MAX: usize = 10;
/// How long is waited in all for servers that have no time, in milliseconds: about as long as a person waits.
pub const BUSY_PATIENCE_MS: u64 = 60_000;

/// Time is what was waited here, in milliseconds; what the servers take to answer does not count.
pub struct Turns {
    now_ms: u64,
    /// Who is to be asked, from when on.
    open: Vec<(OwnedServerName, u64)>,
    known: BTreeSet<OwnedServerName>,
}

impl Turns {
    pub fn new(servers: Vec<OwnedServerName>) -> Self {
        let mut turns = Self { now_ms: 0, open: Vec::new(), known: BTreeSet::new() };
        turns.add(servers);
        turns
    }

    /// Who is to be asked next, and how long to wait before.
    pub fn next(&mut self) -> Option<(OwnedServerName, u64)> {
        // Of equal ones the first: whoever could be asked long ago is asked in the order they came.
        let soonest = |(_, (_, from_ms)): &(usize, &(OwnedServerName, u64))| (*from_ms).max(self.now_ms);
        let (index, _) = self.open.iter().enumerate().min_by_key(soonest)?;
        let (server, from_ms) = self.open.remove(index);
        let wait_ms = from_ms.saturating_sub(self.now_ms);
        self.now_ms += wait_ms;
        Some((server, wait_ms))
    }

    /// `server` has no time for `wait_ms`; it is asked again then, unless that is too late.
    pub fn put_off(&mut self, server: OwnedServerName, wait_ms: u64) {
        let from_ms = self.now_ms.saturating_add(wait_ms);
        if from_ms <= BUSY_PATIENCE_MS {
            self.open.push((server, from_ms));
        }
    }

    /// Others that may be asked at once; those that are known already are not asked again, and no more than
    /// [`SERVERS_TRIED_MAX`] in all.
    pub fn add(&mut self, servers: Vec<OwnedServerName>) {
        for server in servers {
            if self.known.len() < SERVERS_TRIED_MAX && self.known.insert(server.clone()) {
                self.open.push((server, self.now_ms));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<OwnedServerName> {
        names.iter().map(|name| (*name).try_into().unwrap()).collect()
    }

    fn next(turns: &mut Turns) -> Option<(String, u64)> {
        turns.next().map(|(server, wait_ms)| (server.to_string(), wait_ms))
    }

    #[test]
    fn who_has_no_time_is_asked_again_after_the_others() {
        let mut turns = Turns::new(names(&["a", "b", "a"]));
        assert_eq!(next(&mut turns), Some(("a".to_owned(), 0)));
        turns.put_off("a".try_into().unwrap(), 3_000);
        turns.add(names(&["c", "a", "b"]));
        assert_eq!(next(&mut turns), Some(("b".to_owned(), 0)));
        turns.put_off("b".try_into().unwrap(), 1_000);
        assert_eq!(next(&mut turns), Some(("c".to_owned(), 0)));
        assert_eq!(next(&mut turns), Some(("b".to_owned(), 1_000)));
        assert_eq!(next(&mut turns), Some(("a".to_owned(), 2_000)));
        assert_eq!(next(&mut turns), None);
    }

    #[test]
    fn patience_and_the_number_of_servers_have_an_end() {
        let mut turns = Turns::new(names(&["a"]));
        let mut waited_ms = 0;
        while let Some((server, wait_ms)) = turns.next() {
            waited_ms += wait_ms;
            turns.put_off(server, 7_000);
        }
        assert_eq!(waited_ms, BUSY_PATIENCE_MS / 7_000 * 7_000);
        turns.put_off("a".try_into().unwrap(), u64::MAX);
        assert_eq!(next(&mut turns), None);
        for number in 0..50 {
            turns.add(names(&[&format!("s{number}")]));
        }
        assert_eq!(turns.open.len(), SERVERS_TRIED_MAX - 1);
    }
}
