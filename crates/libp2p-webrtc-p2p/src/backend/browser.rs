//! Peer connections of a browser: made here, in a page ([`WindowBackend`]), or by a page for a worker
//! ([`BrokeredBackend`]), where they cannot be made but their channels can be used.
mod brokered;
mod channel;
mod events;
mod window;

use wasm_bindgen::JsValue;

pub use self::{brokered::BrokeredBackend, window::WindowBackend};
use super::RtcError;
use crate::signaling::candidate::{Candidate, Told};

/// The channel that is there so that an offer has something to offer.
const INIT: &str = "init";

fn refused(error: &JsValue) -> RtcError {
    RtcError(format!("{error:?}"))
}

/// A candidate from an `RTCIceCandidate`, or from what its `toJSON` gave; `None` for the end of them.
fn candidate_of(value: &JsValue) -> Option<Candidate> {
    let json = js_sys::JSON::stringify(value).ok()?.as_string()?;
    match Told::parse(&json) {
        Told::Candidate(candidate) => Some(candidate),
        Told::End | Told::Unusable => None,
    }
}
