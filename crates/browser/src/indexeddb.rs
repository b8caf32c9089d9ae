//! The `Store` on IndexedDB: one object store of binary keys and values, and one for what guards it.
//!
//! Written on web-sys and not on a wrapper, because a commit is one burst of requests with a single check: puts need no
//! handler of their own, an exceeded quota shows only in how the transaction ends, and a batch of thousands must not
//! make thousands of closures.
mod fencing;
mod open;
mod requests;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures::{channel::oneshot, future::LocalBoxFuture};
use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;
use web_sys::{IdbDatabase, IdbKeyRange, IdbObjectStore, IdbTransaction, IdbTransactionMode};

use self::requests::{EventHandler, Finished, Requested, commit_now, fault, write_transaction};
use warren::ports::{Batch, Durability, Op, Scan, Store, StoreError};

/// The rows: binary keys in byte order, binary values.
const ROWS: &str = "rows";

/// The layout of the database, the schema of the rows, and the fencing epoch.
const META: &str = "meta";

/// Rows fetched by one request of a scan, so that one answer stays small. Values are at most some 100 KiB.
const SCAN_ROWS_PER_REQUEST: u32 = 1000;

type Row = (Vec<u8>, Vec<u8>);

/// One handle on a profile's database. Opening a later one, in any tab, fences this one: it reads but no longer writes.
pub struct IndexedDb(Rc<Inner>);

struct Inner {
    database: IdbDatabase,
    /// What was claimed when this handle was opened. Every write transaction checks that it is still the newest.
    epoch: f64,
    /// Reads of one turn of the event loop share a transaction: four times as many a second.
    reading: RefCell<Option<IdbTransaction>>,
    /// Why nothing works any more.
    closed: RefCell<Option<StoreError>>,
    /// Ranges are read backwards by `getAllRecords` where the browser has it.
    has_get_all_records: Cell<bool>,
    /// The handlers of the database's own events live as long as the handle.
    _handlers: RefCell<Vec<EventHandler>>,
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(extends = IdbObjectStore)]
    type RecordStore;

    #[wasm_bindgen(method, catch, js_name = getAllRecords)]
    fn get_all_records(this: &RecordStore, options: &JsValue) -> Result<web_sys::IdbRequest, JsValue>;

    /// `IDBRecord`, of which web-sys knows nothing.
    type Record;

    #[wasm_bindgen(method, getter)]
    fn key(this: &Record) -> JsValue;

    #[wasm_bindgen(method, getter)]
    fn value(this: &Record) -> JsValue;
}

impl IndexedDb {
    /// Opens the database `name`, makes it if it is not there, and fences every handle opened before. `schema` is the
    /// newest version of the rows this code understands: [`StoreError::NewerSchema`], and nothing fenced, where
    /// newer code has written.
    pub async fn open(name: &str, schema: u32) -> Result<Self, StoreError> {
        let database = open::open(name).await?;
        let epoch = match fencing::claim(&database, schema).await {
            Ok(epoch) => epoch,
            Err(error) => {
                database.close();
                return Err(error);
            }
        };
        let inner = Rc::new(Inner {
            database,
            epoch,
            reading: RefCell::default(),
            closed: RefCell::default(),
            has_get_all_records: Cell::new(has_get_all_records()),
            _handlers: RefCell::default(),
        });
        inner.watch();
        Ok(Self(inner))
    }

    /// Ends the handle once the transactions under way are done; whatever is asked later is refused.
    pub fn close(&self) {
        self.0.close(StoreError::Backend("the database is closed".to_owned()));
    }

    /// Reads backwards as browsers without `getAllRecords` do, for the tests.
    pub fn forget_get_all_records(&self) {
        self.0.has_get_all_records.set(false);
    }
}

fn has_get_all_records() -> bool {
    let class = js_sys::Reflect::get(&js_sys::global(), &"IDBObjectStore".into());
    let prototype = class.and_then(|class| js_sys::Reflect::get(&class, &"prototype".into()));
    prototype.is_ok_and(|prototype| js_sys::Reflect::has(&prototype, &"getAllRecords".into()) == Ok(true))
}

impl Inner {
    /// The browser closes a database when its data is cleared; another context asks for it in order to delete it.
    fn watch(self: &Rc<Self>) {
        let on = |error: StoreError| {
            let inner = Rc::downgrade(self);
            EventHandler::new(move |_| {
                if let Some(inner) = inner.upgrade() {
                    inner.close(error.clone());
                }
            })
        };
        let version_change = on(StoreError::Fenced);
        let close = on(StoreError::Backend("the browser closed the database".to_owned()));
        self.database.set_onversionchange(Some(version_change.as_ref().unchecked_ref()));
        self.database.set_onclose(Some(close.as_ref().unchecked_ref()));
        self._handlers.borrow_mut().extend([version_change, close]);
    }

    fn close(&self, reason: StoreError) {
        self.closed.borrow_mut().get_or_insert(reason);
        self.reading.take();
        self.database.close();
    }

    fn check_open(&self) -> Result<(), StoreError> {
        self.closed.borrow().clone().map_or(Ok(()), Err)
    }

    /// The rows in the read transaction of this turn of the event loop.
    fn rows(self: &Rc<Self>) -> Result<IdbObjectStore, StoreError> {
        self.check_open()?;
        if let Some(rows) = self.reading.borrow().as_ref().and_then(|reading| reading.object_store(ROWS).ok()) {
            return Ok(rows);
        }
        let transaction =
            self.database.transaction_with_str_and_mode(ROWS, IdbTransactionMode::Readonly).map_err(fault)?;
        let rows = transaction.object_store(ROWS).map_err(fault)?;
        self.reading.replace(Some(transaction));
        // Once everything that is ready to run has run, the browser takes no more requests on it.
        let inner = Rc::downgrade(self);
        spawn_local(async move {
            if let Some(inner) = inner.upgrade() {
                inner.reading.take();
            }
        });
        Ok(rows)
    }

    async fn get_many(self: Rc<Self>, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let rows = self.rows()?;
        let mut requests = Vec::with_capacity(keys.len());
        for key in &keys {
            requests.push(rows.get(&Uint8Array::from(&key[..])).map_err(fault)?);
        }
        // Requests of one transaction end in order, and the failure of one fails those after it.
        if let Some(last) = requests.last() {
            Requested::new(last.clone()).await?;
        }
        requests.iter().map(|request| request.result().map_err(fault).map(optional_bytes)).collect()
    }

    async fn scan(self: Rc<Self>, scan: Scan) -> Result<Vec<Row>, StoreError> {
        let mut found: Vec<Row> = Vec::new();
        let Scan { mut start, mut end, reverse, limit } = scan;
        while start < end && found.len() < limit {
            let page = u32::try_from(limit - found.len())
                .map_or(SCAN_ROWS_PER_REQUEST, |left| left.min(SCAN_ROWS_PER_REQUEST));
            let range = IdbKeyRange::bound_with_lower_open_and_upper_open(&bytes(&start), &bytes(&end), false, true)
                .map_err(fault)?;
            let rows = self.rows()?;
            let before = found.len();
            match reverse {
                false => found.extend(forwards(&rows, &range, page).await?),
                true if self.has_get_all_records.get() => found.extend(backwards(&rows, &range, page).await?),
                true => found.extend(backwards_by_cursor(&rows, &range, page).await?),
            }
            if found.len() - before < page as usize {
                break;
            }
            match found.last() {
                Some((last, _)) if reverse => end = last.clone(),
                // The next key in byte order.
                Some((last, _)) => start = [last, &[0][..]].concat(),
                None => break,
            }
        }
        Ok(found)
    }

    async fn commit(self: Rc<Self>, batch: Batch) -> Result<(), StoreError> {
        self.check_open()?;
        let durability = match batch.durability {
            Durability::Strict => "strict",
            Durability::Relaxed => "relaxed",
        };
        let transaction = write_transaction(&self.database, &[ROWS, META], durability)?;
        let finished = Finished::new(&transaction);
        // All requests go out in one burst; the first says whether they may stay.
        let checked = match request_writes(&transaction, &batch) {
            Ok(epoch) => epoch.await,
            Err(error) => Err(error),
        };
        match checked {
            Ok(epoch) if epoch.as_f64() == Some(self.epoch) => {
                commit_now(&transaction);
                finished.await
            }
            other => {
                // Where it has aborted by itself there is nothing left to abort.
                let _ = transaction.abort();
                let ended = finished.await;
                match (other, ended) {
                    (Ok(_), Err(_)) => Err(self.fenced()),
                    (Err(_), Err(StoreError::QuotaExceeded)) => Err(StoreError::QuotaExceeded),
                    (Err(error), Err(_)) => Err(error),
                    (_, Ok(())) => Err(StoreError::Backend("an aborted transaction was committed".to_owned())),
                }
            }
        }
    }

    fn fenced(&self) -> StoreError {
        self.closed.borrow_mut().get_or_insert(StoreError::Fenced);
        StoreError::Fenced
    }
}

/// Makes all requests of `batch`; the one returned reads the epoch.
fn request_writes(transaction: &IdbTransaction, batch: &Batch) -> Result<Requested, StoreError> {
    let meta = transaction.object_store(META).map_err(fault)?;
    let epoch = Requested::new(meta.get(&fencing::EPOCH.into()).map_err(fault)?);
    let rows = transaction.object_store(ROWS).map_err(fault)?;
    for op in &batch.ops {
        match op {
            Op::Put { key, value } => rows.put_with_key(&bytes(value), &bytes(key)),
            Op::Delete { key } => rows.delete(&bytes(key)),
        }
        .map_err(fault)?;
    }
    Ok(epoch)
}

async fn forwards(rows: &IdbObjectStore, range: &IdbKeyRange, limit: u32) -> Result<Vec<Row>, StoreError> {
    let keys = rows.get_all_keys_with_key_and_limit(range, limit).map_err(fault)?;
    let values = Requested::new(rows.get_all_with_key_and_limit(range, limit).map_err(fault)?).await?;
    // Asked for first in the same transaction, so it is there.
    let keys: js_sys::Array = keys.result().map_err(fault)?.unchecked_into();
    let values: js_sys::Array = values.unchecked_into();
    Ok(keys.iter().zip(values.iter()).map(|(key, value)| (vector(key), vector(value))).collect())
}

async fn backwards(rows: &IdbObjectStore, range: &IdbKeyRange, limit: u32) -> Result<Vec<Row>, StoreError> {
    let options = js_sys::Object::new();
    for (name, value) in [("query", range.into()), ("count", limit.into()), ("direction", "prev".into())] {
        js_sys::Reflect::set(&options, &name.into(), &value).map_err(fault)?;
    }
    let request = rows.unchecked_ref::<RecordStore>().get_all_records(&options).map_err(fault)?;
    let records: js_sys::Array = Requested::new(request).await?.unchecked_into();
    let row = |record: JsValue| {
        let record: Record = record.unchecked_into();
        (vector(record.key()), vector(record.value()))
    };
    Ok(records.iter().map(row).collect())
}

async fn backwards_by_cursor(rows: &IdbObjectStore, range: &IdbKeyRange, limit: u32) -> Result<Vec<Row>, StoreError> {
    let direction = web_sys::IdbCursorDirection::Prev;
    let request = rows.open_cursor_with_range_and_direction(range, direction).map_err(fault)?;
    let mut found = Vec::new();
    loop {
        let Ok(cursor) = Requested::new(request.clone()).await?.dyn_into::<web_sys::IdbCursorWithValue>() else {
            return Ok(found);
        };
        found.push((vector(cursor.key().map_err(fault)?), vector(cursor.value().map_err(fault)?)));
        if found.len() == limit as usize {
            return Ok(found);
        }
        cursor.continue_().map_err(fault)?;
    }
}

/// A copy, and never a view: a view would have IndexedDB clone the whole memory of the wasm.
fn bytes(slice: &[u8]) -> Uint8Array {
    Uint8Array::from(slice)
}

/// Of a value that is a Uint8Array, or of a key, which comes back as an ArrayBuffer.
fn vector(value: JsValue) -> Vec<u8> {
    Uint8Array::new(&value).to_vec()
}

fn optional_bytes(value: JsValue) -> Option<Vec<u8>> {
    (!value.is_undefined()).then(|| vector(value))
}

impl Store for IndexedDb {
    fn get(&self, key: Vec<u8>) -> LocalBoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        let inner = self.0.clone();
        Box::pin(async move { Ok(inner.get_many(vec![key]).await?.pop().flatten()) })
    }

    fn get_many(&self, keys: Vec<Vec<u8>>) -> LocalBoxFuture<'_, Result<Vec<Option<Vec<u8>>>, StoreError>> {
        Box::pin(self.0.clone().get_many(keys))
    }

    fn scan(&self, scan: Scan) -> LocalBoxFuture<'_, Result<Vec<Row>, StoreError>> {
        Box::pin(self.0.clone().scan(scan))
    }

    fn commit(&self, batch: Batch) -> LocalBoxFuture<'_, Result<(), StoreError>> {
        // A task of its own, because a caller that stops waiting must not take the check of the epoch with it.
        let (sender, receiver) = oneshot::channel();
        let committing = self.0.clone().commit(batch);
        spawn_local(async move {
            let _ = sender.send(committing.await);
        });
        Box::pin(async move {
            receiver.await.unwrap_or_else(|_| Err(StoreError::Backend("the commit was forgotten".to_owned())))
        })
    }
}
