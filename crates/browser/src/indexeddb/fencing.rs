//! Claims a database for one handle: one leader writes, and older code never writes over newer data.
use wasm_bindgen::prelude::*;
use web_sys::{IdbDatabase, IdbObjectStore};

use super::{
    META,
    requests::{Finished, Requested, commit_now, fault, write_transaction},
};
use warren::ports::StoreError;

/// Key in `meta`: grows by one with every handle opened.
pub(super) const EPOCH: &str = "epoch";

/// Key in `meta`: the newest version of the rows that code which opened this database understands.
const SCHEMA: &str = "schema";

/// Takes the next epoch, on disk before anything is written in its name.
pub(super) async fn claim(database: &IdbDatabase, schema: u32) -> Result<f64, StoreError> {
    let transaction = write_transaction(database, &[META], "strict")?;
    let finished = Finished::new(&transaction);
    let meta = transaction.object_store(META).map_err(fault)?;
    match take(&meta, schema).await {
        Ok(epoch) => {
            commit_now(&transaction);
            finished.await.map(|()| epoch)
        }
        Err(error) => {
            // What ended by itself need not be aborted.
            let _ = transaction.abort();
            Err(error)
        }
    }
}

async fn take(meta: &IdbObjectStore, schema: u32) -> Result<f64, StoreError> {
    if number(meta, SCHEMA).await? > f64::from(schema) {
        return Err(StoreError::NewerSchema);
    }
    let epoch = number(meta, EPOCH).await? + 1.0;
    for (key, value) in [(EPOCH, epoch), (SCHEMA, f64::from(schema))] {
        meta.put_with_key(&value.into(), &key.into()).map_err(fault)?;
    }
    Ok(epoch)
}

/// The number at `key`, or 0.
async fn number(meta: &IdbObjectStore, key: &str) -> Result<f64, StoreError> {
    let value: JsValue = Requested::new(meta.get(&key.into()).map_err(fault)?).await?;
    Ok(value.as_f64().unwrap_or(0.0))
}
