//! The suite every `Store` passes: memory, IndexedDB, disk. Panics with the reason on the first difference.
use std::rc::Rc;

use futures::future::LocalBoxFuture;

use crate::ports::{Batch, Durability, Op, Scan, Store, StoreError, store::Pair};

/// `open(name)` opens the store of that name, empty the first time; opening it again fences the handle before.
pub async fn run(open: impl Fn(&str) -> LocalBoxFuture<'static, Result<Rc<dyn Store>, StoreError>>) {
    let store = open("conformance-basics").await.expect("opens");
    reads_see_writes(&*store).await;
    scans_are_ordered_and_bounded(&*store).await;
    later_operations_win(&*store).await;
    binary_keys_and_values(&*store).await;
    large_batches_are_whole(&*store).await;
    let again = open("conformance-basics").await.expect("opens again");
    contents_survive_reopening(&*again).await;
    an_older_handle_is_fenced(&*store, &*again).await;
}

fn put(key: &[u8], value: &[u8]) -> Op {
    Op::Put { key: key.to_vec(), value: value.to_vec() }
}

async fn commit(store: &dyn Store, ops: Vec<Op>) {
    store.commit(Batch { ops, durability: Durability::Relaxed }).await.expect("commits");
}

fn scan(start: &[u8], end: &[u8], reverse: bool, limit: usize) -> Scan {
    Scan { start: start.to_vec(), end: end.to_vec(), reverse, limit }
}

async fn reads_see_writes(store: &dyn Store) {
    assert_eq!(store.get(b"absent".to_vec()).await, Ok(None));
    store
        .commit(Batch { ops: vec![put(b"a", b"1"), put(b"b", b"2"), put(b"c", b"")], durability: Durability::Strict })
        .await
        .expect("a strict commit succeeds");
    assert_eq!(store.get(b"a".to_vec()).await, Ok(Some(b"1".to_vec())));
    assert_eq!(store.get(b"c".to_vec()).await, Ok(Some(Vec::new())), "an empty value is not an absent one");
    let many = store.get_many(vec![b"b".to_vec(), b"absent".to_vec(), b"a".to_vec(), b"b".to_vec()]).await;
    assert_eq!(many, Ok(vec![Some(b"2".to_vec()), None, Some(b"1".to_vec()), Some(b"2".to_vec())]));
    assert_eq!(store.get_many(Vec::new()).await, Ok(Vec::new()));
    commit(store, vec![Op::Delete { key: b"b".to_vec() }, Op::Delete { key: b"never".to_vec() }]).await;
    assert_eq!(store.get(b"b".to_vec()).await, Ok(None));
    commit(store, Vec::new()).await;
}

async fn scans_are_ordered_and_bounded(store: &dyn Store) {
    let keys: Vec<Vec<u8>> = (0..50u8).map(|n| vec![b's', n]).collect();
    commit(store, keys.iter().rev().map(|key| put(key, key)).collect()).await;
    let found = |rows: Result<Vec<Pair>, StoreError>| -> Vec<u8> {
        let rows = rows.expect("scans");
        assert!(rows.iter().all(|(key, value)| key == value), "each key has its own value");
        rows.into_iter().map(|(key, _)| key[1]).collect()
    };
    let all: Vec<u8> = (0..50).collect();
    assert_eq!(found(store.scan(scan(b"s", b"t", false, 100)).await), all);
    let middle = |reverse, limit| scan(&[b's', 10], &[b's', 13], reverse, limit);
    assert_eq!(found(store.scan(middle(false, 100)).await), [10, 11, 12], "the end is exclusive");
    assert_eq!(found(store.scan(middle(true, 2)).await), [12, 11], "limit counts from the end");
    assert_eq!(found(store.scan(scan(b"s", b"t", false, 3)).await), [0, 1, 2]);
    assert!(found(store.scan(scan(b"t", b"s", false, 3)).await).is_empty(), "an inverted range is empty");
    assert!(found(store.scan(scan(b"s", b"s", false, 3)).await).is_empty());
    assert!(found(store.scan(scan(b"s", b"t", false, 0)).await).is_empty());
}

async fn later_operations_win(store: &dyn Store) {
    commit(store, vec![put(b"w", b"1"), Op::Delete { key: b"w".to_vec() }, put(b"w", b"3"), put(b"w", b"4")]).await;
    assert_eq!(store.get(b"w".to_vec()).await, Ok(Some(b"4".to_vec())));
    commit(store, vec![put(b"w", b"5"), Op::Delete { key: b"w".to_vec() }]).await;
    assert_eq!(store.get(b"w".to_vec()).await, Ok(None));
}

async fn binary_keys_and_values(store: &dyn Store) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let tails: [&[u8]; 8] = [&[], &[0], &[0, 0], &[0, 255], &[1], &[127], &[128], &[255, 255]];
    let keys: Vec<Vec<u8>> = tails.iter().map(|tail| [b"y", *tail].concat()).collect();
    commit(store, keys.iter().map(|key| put(key, &every_byte)).collect()).await;
    let rows = store.scan(scan(b"y", b"z", false, 100)).await.expect("scans");
    assert_eq!(rows.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), keys, "keys order as bytes");
    assert!(rows.iter().all(|(_, value)| *value == every_byte));
}

async fn large_batches_are_whole(store: &dyn Store) {
    let value = vec![7u8; 1000];
    commit(store, (0..3000u32).map(|n| put(&[&b"big"[..], &n.to_be_bytes()].concat(), &value)).collect()).await;
    assert_eq!(store.scan(scan(b"big", b"bih", false, 5000)).await.expect("scans").len(), 3000);
    let megabytes = vec![9u8; 4 << 20];
    commit(store, vec![put(b"huge", &megabytes)]).await;
    assert_eq!(store.get(b"huge".to_vec()).await, Ok(Some(megabytes)));
}

async fn contents_survive_reopening(store: &dyn Store) {
    assert_eq!(store.get(b"a".to_vec()).await, Ok(Some(b"1".to_vec())));
    assert_eq!(store.scan(scan(b"s", b"t", false, 100)).await.expect("scans").len(), 50);
}

async fn an_older_handle_is_fenced(old: &dyn Store, new: &dyn Store) {
    let write = || Batch { ops: vec![put(b"fence", b"old")], durability: Durability::Relaxed };
    assert_eq!(old.commit(write()).await, Err(StoreError::Fenced), "a thawed old leader cannot write");
    assert_eq!(new.get(b"fence".to_vec()).await, Ok(None));
    new.commit(write()).await.expect("the new handle writes");
}
