//! IndexedDB requests and transactions as futures, and its exceptions as errors.
use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures::{FutureExt, channel::oneshot};
use wasm_bindgen::prelude::*;
use web_sys::{DomException, Event, IdbRequest, IdbTransaction};

use warren::ports::StoreError;

#[wasm_bindgen]
extern "C" {
    /// What web-sys lacks of `IDBDatabase`: transactions with options.
    #[wasm_bindgen(extends = web_sys::IdbDatabase)]
    type Database;

    #[wasm_bindgen(method, catch, js_name = transaction)]
    fn transaction_with_options(
        this: &Database,
        stores: &JsValue,
        mode: &str,
        options: &JsValue,
    ) -> Result<IdbTransaction, JsValue>;

    /// What web-sys lacks of `IDBTransaction`: ending it early.
    #[wasm_bindgen(extends = IdbTransaction)]
    type Transaction;

    #[wasm_bindgen(method, catch)]
    fn commit(this: &Transaction) -> Result<(), JsValue>;
}

/// A read-write transaction over `stores`; `durability` is "strict" or "relaxed".
pub(super) fn write_transaction(
    database: &web_sys::IdbDatabase,
    stores: &[&str],
    durability: &str,
) -> Result<IdbTransaction, StoreError> {
    let names: js_sys::Array = stores.iter().map(|name| JsValue::from_str(name)).collect();
    let options = js_sys::Object::new();
    js_sys::Reflect::set(&options, &"durability".into(), &durability.into()).map_err(fault)?;
    database.unchecked_ref::<Database>().transaction_with_options(&names, "readwrite", &options).map_err(fault)
}

/// Ends `transaction` as soon as the requests made on it are done, without asking us again after the last of them.
pub(super) fn commit_now(transaction: &IdbTransaction) {
    // A failed commit shows in the transaction's own end.
    let _ = transaction.unchecked_ref::<Transaction>().commit();
}

/// The error an exception of IndexedDB stands for.
pub(super) fn fault(exception: JsValue) -> StoreError {
    let Some(exception) = exception.dyn_ref::<DomException>() else {
        return StoreError::Backend(format!("{exception:?}"));
    };
    match exception.name().as_str() {
        "QuotaExceededError" => StoreError::QuotaExceeded,
        "VersionError" => StoreError::NewerSchema,
        name => StoreError::Backend(format!("{name}: {}", exception.message())),
    }
}

/// A one-shot answer that one of several event handlers gives.
type Answer<T> = Rc<RefCell<Option<oneshot::Sender<T>>>>;
pub(super) type EventHandler = Closure<dyn FnMut(Event)>;

fn answering<T: 'static>(answer: &Answer<T>, value: impl Fn() -> T + 'static) -> EventHandler {
    let answer = answer.clone();
    Closure::new(move |_| {
        if let Some(sender) = answer.borrow_mut().take() {
            // Nobody listening any more is no fault of the request.
            let _ = sender.send(value());
        }
    })
}

/// The end of a request: resolves to its result.
pub(super) struct Requested {
    request: IdbRequest,
    answer: oneshot::Receiver<Result<JsValue, StoreError>>,
    _handlers: [EventHandler; 2],
}

impl Requested {
    pub(super) fn new(request: impl Into<IdbRequest>) -> Self {
        let request = request.into();
        let (sender, receiver) = oneshot::channel();
        let answer: Answer<_> = Rc::new(RefCell::new(Some(sender)));
        let (done, failed) = (request.clone(), request.clone());
        let success = answering(&answer, move || done.result().map_err(fault));
        let error = answering(&answer, move || {
            Err(match failed.error() {
                Ok(Some(exception)) => fault(exception.into()),
                _ => StoreError::Backend("a request failed without saying why".to_owned()),
            })
        });
        request.set_onsuccess(Some(success.as_ref().unchecked_ref()));
        request.set_onerror(Some(error.as_ref().unchecked_ref()));
        Self { request, answer: receiver, _handlers: [success, error] }
    }
}

impl Future for Requested {
    type Output = Result<JsValue, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.answer.poll_unpin(context).map(|answer| answer.unwrap_or_else(|_| Err(dropped())))
    }
}

impl Drop for Requested {
    fn drop(&mut self) {
        self.request.set_onsuccess(None);
        self.request.set_onerror(None);
    }
}

/// The end of a transaction: committed, or aborted and nothing written.
pub(super) struct Finished {
    transaction: IdbTransaction,
    answer: oneshot::Receiver<Result<(), StoreError>>,
    _handlers: [EventHandler; 2],
}

impl Finished {
    pub(super) fn new(transaction: &IdbTransaction) -> Self {
        let (sender, receiver) = oneshot::channel();
        let answer: Answer<_> = Rc::new(RefCell::new(Some(sender)));
        let aborted = transaction.clone();
        let complete = answering(&answer, || Ok(()));
        let abort = answering(&answer, move || {
            Err(match aborted.error() {
                Some(exception) => fault(exception.into()),
                None => StoreError::Backend("the transaction was aborted".to_owned()),
            })
        });
        transaction.set_oncomplete(Some(complete.as_ref().unchecked_ref()));
        transaction.set_onabort(Some(abort.as_ref().unchecked_ref()));
        Self { transaction: transaction.clone(), answer: receiver, _handlers: [complete, abort] }
    }
}

impl Future for Finished {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.answer.poll_unpin(context).map(|answer| answer.unwrap_or_else(|_| Err(dropped())))
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        self.transaction.set_oncomplete(None);
        self.transaction.set_onabort(None);
    }
}

fn dropped() -> StoreError {
    StoreError::Backend("a request was forgotten".to_owned())
}
