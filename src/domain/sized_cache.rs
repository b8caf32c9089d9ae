//! A cache bounded by what its values take in memory, as a few large ones may take more than many small ones.
use std::{borrow::Borrow, hash::Hash};

use lru::LruCache;

/// What the cache itself takes for a value, its key included, in bytes: about what a map and a list need.
const ENTRY_BYTES: usize = 128;

/// Keeps what was used last. A value larger than the whole cache is not kept.
pub struct SizedCache<K: Hash + Eq, V> {
    /// Each value with its size.
    values: LruCache<K, (V, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl<K: Hash + Eq, V: Clone> SizedCache<K, V> {
    pub fn new(bytes_max: usize) -> Self {
        Self { values: LruCache::unbounded(), bytes: 0, bytes_max }
    }

    pub fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.values.get(key).map(|(value, _)| value.clone())
    }

    /// Keeps `value`, which takes about `bytes`, and forgets what was used longest ago if there is no room for it.
    pub fn put(&mut self, key: K, value: V, bytes: usize) {
        let bytes = bytes + ENTRY_BYTES;
        self.bytes += bytes;
        if let Some((_, replaced)) = self.values.put(key, (value, bytes)) {
            self.bytes -= replaced;
        }
        while self.bytes > self.bytes_max
            && let Some((_, (_, forgotten))) = self.values.pop_lru()
        {
            self.bytes -= forgotten;
        }
    }

    pub fn forget<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some((_, bytes)) = self.values.pop(key) {
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = 2_000;

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, usize),
        Get(u8),
        Forget(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u8..12, 0usize..700).prop_map(|(key, bytes)| Step::Put(key, bytes)),
            (0u8..12).prop_map(Step::Get),
            (0u8..12).prop_map(Step::Forget),
        ]
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bytes_and_keeps_what_was_used_last(steps in prop::collection::vec(step(), 0..60)) {
            let mut cache = SizedCache::new(BYTES_MAX);
            // By key: when it was used last, its value and its size.
            let mut known: BTreeMap<u8, (usize, usize, usize)> = BTreeMap::new();
            for (now, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Put(key, bytes) => {
                        cache.put(key, now, bytes);
                        known.insert(key, (now, now, bytes + ENTRY_BYTES));
                        while known.values().map(|(.., bytes)| bytes).sum::<usize>() > BYTES_MAX {
                            let oldest = *known.iter().min_by_key(|(_, (used, ..))| used).unwrap().0;
                            known.remove(&oldest);
                        }
                    }
                    Step::Get(key) => {
                        prop_assert_eq!(cache.get(&key), known.get(&key).map(|(_, value, _)| *value));
                        known.entry(key).and_modify(|(used, ..)| *used = now);
                    }
                    Step::Forget(key) => {
                        cache.forget(&key);
                        known.remove(&key);
                    }
                }
                prop_assert_eq!(cache.bytes, known.values().map(|(.., bytes)| bytes).sum::<usize>());
                prop_assert_eq!(cache.values.len(), known.len());
            }
        }

        #[test]
        fn what_is_larger_than_the_cache_is_not_kept(bytes in BYTES_MAX..BYTES_MAX * 2) {
            let mut cache = SizedCache::new(BYTES_MAX);
            cache.put(1, (), bytes);
            prop_assert_eq!((cache.get(&1), cache.bytes), (None, 0));
        }
    }
}
