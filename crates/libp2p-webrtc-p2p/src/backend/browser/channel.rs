//! An `RTCDataChannel`, in a page or transferred to a worker, as a [`Pipe`].
use std::{cell::OnceCell, rc::Rc, sync::Arc};

use send_wrapper::SendWrapper;
use wasm_bindgen::prelude::*;
use web_sys::{Event, MessageEvent, RtcDataChannel, RtcDataChannelState, RtcDataChannelType};

use crate::stream::{Budget, Channel, ChannelError, Pipe, SEND_LOW_WATER_BYTES, WeakPipe};

/// To be called in the turn in which the channel is created or arrives: later, messages could be missed.
pub(super) fn pipe(channel: RtcDataChannel, budget: Arc<Budget>) -> Pipe {
    channel.set_binary_type(RtcDataChannelType::Arraybuffer);
    channel.set_buffered_amount_low_threshold(SEND_LOW_WATER_BYTES as u32);
    let open = channel.ready_state() == RtcDataChannelState::Open;
    let slot = Rc::new(OnceCell::new());
    let heard = Heard::new(&channel, &slot);
    let channel = BrowserChannel(SendWrapper::new(Inner { channel, _heard: heard }));
    let pipe = Pipe::new(Box::new(channel), open, budget);
    // It was empty.
    let _ = slot.set(pipe.downgrade());
    pipe
}

struct BrowserChannel(SendWrapper<Inner>);

struct Inner {
    channel: RtcDataChannel,
    _heard: Heard,
}

/// What the browser calls. The pipe owns it, so it must not own the pipe.
struct Heard {
    _message: Closure<dyn Fn(MessageEvent)>,
    _event: Closure<dyn Fn(Event)>,
}

impl Heard {
    fn new(channel: &RtcDataChannel, slot: &Rc<OnceCell<WeakPipe>>) -> Self {
        let of = |slot: &Rc<OnceCell<WeakPipe>>| {
            let slot = slot.clone();
            move || slot.get().and_then(WeakPipe::upgrade)
        };
        let pipe = of(slot);
        let message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
            let Some(pipe) = pipe() else { return };
            match event.data().dyn_ref::<js_sys::ArrayBuffer>() {
                Some(buffer) => pipe.received(&js_sys::Uint8Array::new(buffer).to_vec()),
                // Text is no libp2p.
                None => pipe.reset(),
            }
        });
        let pipe = of(slot);
        let event = Closure::<dyn Fn(Event)>::new(move |event: Event| {
            let Some(pipe) = pipe() else { return };
            match event.type_().as_str() {
                "open" => pipe.opened(),
                "bufferedamountlow" => pipe.drained(),
                "close" => pipe.closed(),
                _ => {}
            }
        });
        channel.set_onmessage(Some(message.as_ref().unchecked_ref()));
        let handler = Some(event.as_ref().unchecked_ref());
        channel.set_onopen(handler);
        channel.set_onbufferedamountlow(handler);
        channel.set_onclose(handler);
        Self { _message: message, _event: event }
    }
}

impl Channel for BrowserChannel {
    fn send(&mut self, message: &[u8]) -> Result<(), ChannelError> {
        self.0.channel.send_with_u8_array(message).map_err(|error| ChannelError(format!("{error:?}")))
    }

    fn buffered_bytes(&self) -> usize {
        self.0.channel.buffered_amount() as usize
    }

    fn close(&mut self) {
        self.0.channel.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The closures go: the browser must not call them any more.
        self.channel.set_onmessage(None);
        self.channel.set_onopen(None);
        self.channel.set_onbufferedamountlow(None);
        self.channel.set_onclose(None);
    }
}
