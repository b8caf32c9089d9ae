//! How many bytes of unfinished request bodies may be held at once, per peer and over all peers.
use std::{cell::Cell, rc::Rc};

/// A count of bytes with a ceiling, optionally inside a wider one. Cheap to clone; clones share the count.
#[derive(Clone)]
pub struct Budget(Rc<Inner>);

struct Inner {
    limit: usize,
    used: Cell<usize>,
    wider: Option<Budget>,
}

impl Budget {
    /// At most `limit_bytes` at once.
    pub fn new(limit_bytes: usize) -> Self {
        Self(Rc::new(Inner { limit: limit_bytes, used: Cell::new(0), wider: None }))
    }

    /// At most `limit_bytes` at once that also count in `self`.
    pub fn narrower(&self, limit_bytes: usize) -> Self {
        Self(Rc::new(Inner { limit: limit_bytes, used: Cell::new(0), wider: Some(self.clone()) }))
    }

    /// Bytes counted right now.
    pub fn used(&self) -> usize {
        self.0.used.get()
    }

    /// A share that starts empty and gives back what it took when dropped.
    pub(super) fn share(&self) -> Share {
        Share { budget: self.clone(), taken: 0 }
    }

    fn take(&self, bytes: usize) -> bool {
        let used = self.0.used.get();
        let fits = bytes <= self.0.limit - used && self.0.wider.as_ref().is_none_or(|wider| wider.take(bytes));
        if fits {
            self.0.used.set(used + bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.0.used.set(self.0.used.get() - bytes);
        if let Some(wider) = &self.0.wider {
            wider.give_back(bytes);
        }
    }
}

/// What one request holds of a [`Budget`].
pub(super) struct Share {
    budget: Budget,
    taken: usize,
}

impl Share {
    /// Takes `bytes` more; false, and nothing taken, where that would exceed a ceiling.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let fits = self.budget.take(bytes);
        if fits {
            self.taken += bytes;
        }
        fits
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_counts_in_both_ceilings_and_is_given_back() {
        let all = Budget::new(10);
        let (one, other) = (all.narrower(8), all.narrower(8));
        let mut first = one.share();
        assert!(first.grow(6) && !first.grow(3), "the peer's own ceiling holds");
        let mut second = other.share();
        assert!(!second.grow(5), "the ceiling over all peers holds");
        assert_eq!((one.used(), other.used(), all.used()), (6, 0, 6));
        drop(first);
        assert!(second.grow(8));
        assert_eq!((one.used(), other.used(), all.used()), (0, 8, 8));
    }
}
