//! Hears from the browser that the device is online again.
use wasm_bindgen::prelude::*;
use web_sys::EventTarget;

/// Calls back until it is dropped.
pub struct OnlineListener {
    target: EventTarget,
    handler: Closure<dyn FnMut()>,
}

impl OnlineListener {
    pub fn new(online: impl FnMut() + 'static) -> Self {
        let target: EventTarget = js_sys::global().unchecked_into();
        let handler = Closure::<dyn FnMut()>::new(online);
        // Without it reconnecting only waits for its timer.
        let _ = target.add_event_listener_with_callback("online", handler.as_ref().unchecked_ref());
        Self { target, handler }
    }
}

impl Drop for OnlineListener {
    fn drop(&mut self) {
        let _ = self.target.remove_event_listener_with_callback("online", self.handler.as_ref().unchecked_ref());
    }
}
