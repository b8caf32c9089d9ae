//! Opens a database and makes its object stores.
use wasm_bindgen::prelude::*;
use web_sys::{IdbDatabase, IdbFactory, IdbOpenDbRequest};

use super::{
    META, ROWS,
    requests::{Requested, fault},
};
use warren::ports::StoreError;

/// How long a browser may take to open a database, in milliseconds. Some never answer when storage is blocked.
const OPEN_MS: u32 = 10_000;

/// IndexedDB's own version. It stays, since raising it would need every other handle closed; `meta` says what is new.
const DATABASE_VERSION: u32 = 1;

pub(super) async fn open(name: &str) -> Result<IdbDatabase, StoreError> {
    let request = factory()?.open_with_u32(name, DATABASE_VERSION).map_err(fault)?;
    let upgrade = {
        let request = request.clone();
        // Failing to make a store fails the request: it aborts the upgrade.
        Closure::once(move || make_stores(&request))
    };
    request.set_onupgradeneeded(Some(upgrade.as_ref().unchecked_ref()));
    let opened = Requested::new(request.clone());
    let timeout = futures_timer::Delay::new(std::time::Duration::from_millis(OPEN_MS.into()));
    let result = match futures::future::select(opened, timeout).await {
        futures::future::Either::Left((result, _)) => result,
        futures::future::Either::Right(((), opened)) => {
            close_when_opened(opened);
            Err(StoreError::Backend("the browser does not open storage".to_owned()))
        }
    };
    request.set_onupgradeneeded(None);
    result.map(JsCast::unchecked_into)
}

/// A handle nobody holds would stand in the way of whoever wants to delete the database.
fn close_when_opened(opened: Requested) {
    wasm_bindgen_futures::spawn_local(async move {
        if let Ok(database) = opened.await {
            database.unchecked_into::<IdbDatabase>().close();
        }
    });
}

fn factory() -> Result<IdbFactory, StoreError> {
    match js_sys::Reflect::get(&js_sys::global(), &"indexedDB".into()) {
        Ok(factory) if factory.is_object() => Ok(factory.unchecked_into()),
        Ok(_) => Err(StoreError::Backend("the browser offers no IndexedDB".to_owned())),
        Err(exception) => Err(fault(exception)),
    }
}

fn make_stores(request: &IdbOpenDbRequest) -> Result<(), JsValue> {
    let database: IdbDatabase = request.result()?.unchecked_into();
    for store in [ROWS, META] {
        database.create_object_store(store)?;
    }
    Ok(())
}
