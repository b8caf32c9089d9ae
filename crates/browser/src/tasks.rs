//! Background work on the worker's event loop, which ends when the host stops.
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use futures::future::{AbortHandle, Abortable, LocalBoxFuture};
use wasm_bindgen_futures::spawn_local;

use warren::ports::Tasks;

/// Cheap to clone; clones share the tasks.
#[derive(Clone, Default)]
pub struct BrowserTasks(Rc<Running>);

#[derive(Default)]
struct Running {
    stopped: Cell<bool>,
    next_id: Cell<u64>,
    handles: RefCell<BTreeMap<u64, AbortHandle>>,
}

impl BrowserTasks {
    /// Drops every task where it stands; later ones are never begun.
    pub fn stop(&self) {
        self.0.stopped.set(true);
        self.0.handles.take().into_values().for_each(|handle| handle.abort());
    }
}

impl Tasks for BrowserTasks {
    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        if self.0.stopped.get() {
            return;
        }
        let id = self.0.next_id.replace(self.0.next_id.get() + 1);
        let (handle, registration) = AbortHandle::new_pair();
        self.0.handles.borrow_mut().insert(id, handle);
        let running = self.0.clone();
        spawn_local(async move {
            // Aborted or done, it is over.
            let _ = Abortable::new(task, registration).await;
            running.handles.borrow_mut().remove(&id);
        });
    }
}
