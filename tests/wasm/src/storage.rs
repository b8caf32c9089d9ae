//! IndexedDB as a `Store`.
use std::rc::Rc;

use futures::future::join_all;
use warren::{
    ports::{Batch, Durability, Op, Scan, Store, StoreError},
    storage::conformance,
};
use warren_browser::indexeddb::IndexedDb;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

const SCHEMA: u32 = 1;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = indexedDB, js_name = deleteDatabase)]
    fn delete_database(name: &str) -> web_request::Request;
}

mod web_request {
    use wasm_bindgen::prelude::*;

    #[wasm_bindgen]
    extern "C" {
        pub type Request;

        #[wasm_bindgen(method, setter, js_name = onsuccess)]
        pub fn set_onsuccess(this: &Request, handler: &js_sys::Function);
    }
}

fn put(key: &[u8], value: &[u8]) -> Op {
    Op::Put { key: key.to_vec(), value: value.to_vec() }
}

fn relaxed(ops: Vec<Op>) -> Batch {
    Batch { ops, durability: Durability::Relaxed }
}

pub async fn conforms() {
    conformance::run(|name| {
        let name = format!("with-{name}");
        Box::pin(async move { Ok(Rc::new(IndexedDb::open(&name, SCHEMA).await?) as Rc<dyn Store>) })
    })
    .await;
}

pub async fn conforms_without_get_all_records() {
    conformance::run(|name| {
        let name = format!("without-{name}");
        Box::pin(async move {
            let store = IndexedDb::open(&name, SCHEMA).await?;
            store.forget_get_all_records();
            Ok(Rc::new(store) as Rc<dyn Store>)
        })
    })
    .await;
}

pub async fn a_commit_nobody_waits_for_is_fenced_all_the_same() {
    let old = IndexedDb::open("abandoned", SCHEMA).await.unwrap();
    let new = IndexedDb::open("abandoned", SCHEMA).await.unwrap();
    let batch = || relaxed((0..100).map(|n| put(&[b'k', n], b"old")).collect());
    // Dropped before it has begun, and after it has.
    drop(old.commit(batch()));
    let mut begun = old.commit(batch());
    assert!(futures::poll!(&mut begun).is_pending());
    drop(begun);
    new.commit(relaxed(vec![put(b"n", b"new")])).await.unwrap();
    // Transactions run in the order they were made, so the old handle's are over.
    assert_eq!(new.get(vec![b'k', 0]).await, Ok(None));
    assert_eq!(old.commit(relaxed(vec![put(b"n", b"old")])).await, Err(StoreError::Fenced));
    assert_eq!(new.get(b"n".to_vec()).await, Ok(Some(b"new".to_vec())));
}

pub async fn older_code_does_not_touch_newer_data() {
    let newer = IndexedDb::open("schema", SCHEMA + 1).await.unwrap();
    newer.commit(relaxed(vec![put(b"a", b"1")])).await.unwrap();
    assert_eq!(IndexedDb::open("schema", SCHEMA).await.err(), Some(StoreError::NewerSchema));
    newer.commit(relaxed(vec![put(b"a", b"2")])).await.expect("older code must not fence newer code");
    let newest = IndexedDb::open("schema", SCHEMA + 2).await.unwrap();
    assert_eq!(newest.get(b"a".to_vec()).await, Ok(Some(b"2".to_vec())));
    assert_eq!(newer.commit(relaxed(vec![put(b"a", b"3")])).await, Err(StoreError::Fenced));
}

pub async fn a_deleted_database_ends_its_handle() {
    let store = IndexedDb::open("deleted", SCHEMA).await.unwrap();
    store.commit(relaxed(vec![put(b"a", b"1")])).await.unwrap();
    let deleted = js_sys::Promise::new(&mut |resolve, _| delete_database("deleted").set_onsuccess(&resolve));
    JsFuture::from(deleted).await.expect("the handle does not stand in the way");
    assert_eq!(store.get(b"a".to_vec()).await, Err(StoreError::Fenced));
    assert_eq!(store.commit(relaxed(vec![put(b"a", b"1")])).await, Err(StoreError::Fenced));
    let fresh = IndexedDb::open("deleted", SCHEMA).await.unwrap();
    assert_eq!(fresh.get(b"a".to_vec()).await, Ok(None));
}

pub async fn a_closed_database_refuses() {
    let store = IndexedDb::open("closed", SCHEMA).await.unwrap();
    let committing = store.commit(relaxed(vec![put(b"a", b"1")]));
    store.close();
    assert!(matches!(committing.await, Err(StoreError::Backend(_))));
    assert!(matches!(store.get(b"a".to_vec()).await, Err(StoreError::Backend(_))));
    let again = IndexedDb::open("closed", SCHEMA).await.unwrap();
    assert_eq!(again.get(b"a".to_vec()).await, Ok(None));
}

pub async fn many_readers_and_writers_do_not_disturb_each_other() {
    let store = IndexedDb::open("crowd", SCHEMA).await.unwrap();
    let work = (0..100u8).map(|n| {
        let store = &store;
        async move {
            store.commit(relaxed(vec![put(&[b'c', n], &[n])])).await.unwrap();
            assert_eq!(store.get(vec![b'c', n]).await, Ok(Some(vec![n])), "reads started after a commit see it");
            let (before, absent) = (vec![b'c', n], vec![b'd', n]);
            assert_eq!(store.get_many(vec![absent, before]).await, Ok(vec![None, Some(vec![n])]));
            let page = Scan { start: vec![b'c'], end: vec![b'c', n], reverse: n % 2 == 0, limit: 5 };
            store.scan(page).await.unwrap();
        }
    });
    join_all(work).await;
    let all = Scan { start: vec![b'c'], end: vec![b'd'], reverse: true, limit: 1000 };
    assert_eq!(store.scan(all).await.unwrap().len(), 100);
}

pub async fn a_full_disk_refuses_the_whole_batch() {
    // Before anything is opened: Chromium looks at the quota only now and then.
    let quota = JsFuture::from(crate::ask_driver("quota", 10e6)).await.unwrap();
    if quota.is_undefined() {
        // This browser's quota cannot be set from outside.
        return;
    }
    let store = IndexedDb::open("full", SCHEMA).await.unwrap();
    store.commit(relaxed(vec![put(b"kept", b"1")])).await.unwrap();
    // Bytes that do not compress, as quotas count compressed ones.
    let mut seed = 1u32;
    let mut noise = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    let megabyte: Vec<u8> = (0..1 << 20).map(|_| noise()).collect();
    let mut written = 0u8;
    let refused = loop {
        let ops = (0..4).map(|n| put(&[b'm', written, n], &megabyte)).collect();
        match store.commit(relaxed(ops)).await {
            Ok(()) if written < 100 => written += 1,
            Ok(()) => panic!("the quota was never reached"),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, StoreError::QuotaExceeded);
    let rows = |at: u8| Scan { start: vec![b'm', at], end: vec![b'm', at + 1], reverse: false, limit: 10 };
    assert!(store.scan(rows(written)).await.unwrap().is_empty(), "nothing of the refused batch");
    if let Some(last) = written.checked_sub(1) {
        assert_eq!(store.scan(rows(last)).await.unwrap().len(), 4, "all of the one before");
    }
    assert_eq!(store.get(b"kept".to_vec()).await, Ok(Some(b"1".to_vec())));
    JsFuture::from(crate::ask_driver("quota", 0.0)).await.unwrap();
    store.commit(relaxed(vec![Op::Delete { key: b"kept".to_vec() }])).await.expect("with room again it writes again");
}

/// The rows of one generation.
const ROWS: u8 = 50;

/// Every commit replaces all rows; whenever this is ended, they are all of one generation.
pub async fn write_generations_for_ever() {
    let store = IndexedDb::open("generations", SCHEMA).await.unwrap();
    let mut generation = generation_stored(&store).await.unwrap_or(0);
    loop {
        generation += 1;
        let value = [&generation.to_be_bytes()[..], &[7; 2000]].concat();
        let durability = if generation % 2 == 0 { Durability::Strict } else { Durability::Relaxed };
        let ops = (0..ROWS).map(|n| put(&[b'g', n], &value)).collect();
        store.commit(Batch { ops, durability }).await.unwrap();
        crate::report_progress(generation.into());
    }
}

pub async fn the_last_generation_is_whole() {
    let store = IndexedDb::open("generations", SCHEMA).await.unwrap();
    let generation = generation_stored(&store).await.expect("something was written");
    crate::report_progress(generation.into());
}

async fn generation_stored(store: &IndexedDb) -> Option<u32> {
    let all = Scan { start: vec![b'g'], end: vec![b'h'], reverse: false, limit: 1000 };
    let rows = store.scan(all).await.unwrap();
    let generations: Vec<u32> =
        rows.iter().map(|(_, value)| u32::from_be_bytes(value[..4].try_into().unwrap())).collect();
    let first = *generations.first()?;
    assert_eq!(generations, vec![first; ROWS.into()], "half a batch was written");
    Some(first)
}
