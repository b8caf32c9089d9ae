//! What the host says of itself to the page, pushed when it changes.
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use serde::Serialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;

/// Changes within this many milliseconds are told together.
const COALESCE_MS: u64 = 50;

/// `HostStatus` of `www/protocol/messages.ts`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostStatus {
    pub server_name: String,
    pub peer_id: String,
    pub storage: StorageStatus,
    pub relay: RelayStatus,
    pub addresses: Vec<String>,
    pub peers: Vec<PeerStatus>,
    pub outbox: Vec<OutboxStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StorageStatus {
    pub kind: StorageKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<StorageFault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageKind {
    IndexedDb,
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageFault {
    /// Full; whatever was not written was refused.
    Quota,
    /// Another tab leads this profile.
    Fenced,
    Failed,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RelayStatus {
    pub state: RelayState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayState {
    /// The page's configuration names none.
    #[default]
    None,
    Connecting,
    /// Others can reach us through it.
    Connected,
    Offline,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    pub server_name: String,
    pub peer_id: String,
    pub state: PeerState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreached: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct: Option<DirectAttempt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    Connected,
    Connecting,
    Away,
}

/// A cause that the page has words for, and the words of what failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failure {
    pub cause: &'static str,
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectAttempt {
    pub at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Numbers of addresses by kind.
    pub ours: BTreeMap<String, usize>,
    pub theirs: BTreeMap<String, usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PathKind {
    /// Through a relay, within its limits.
    Relay,
    /// From browser to browser.
    Direct,
    /// To another profile of this browser.
    Browser,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxStatus {
    pub destination: String,
    pub waiting: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Holds the status and pushes it. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct StatusReporter(Rc<Inner>);

struct Inner {
    current: RefCell<HostStatus>,
    on_status: js_sys::Function,
    push_is_due: Cell<bool>,
    stopped: Cell<bool>,
}

impl StatusReporter {
    /// Calls `on_status` with the first status soon, and with each later one.
    pub fn new(first: HostStatus, on_status: js_sys::Function) -> Self {
        let inner =
            Inner { current: RefCell::new(first), on_status, push_is_due: Cell::default(), stopped: Cell::default() };
        let reporter = Self(Rc::new(inner));
        reporter.push_soon();
        reporter
    }

    pub fn update(&self, change: impl FnOnce(&mut HostStatus)) {
        let mut after = self.0.current.borrow().clone();
        change(&mut after);
        if *self.0.current.borrow() != after {
            self.0.current.replace(after);
            self.push_soon();
        }
    }

    /// Says nothing more.
    pub fn stop(&self) {
        self.0.stopped.set(true);
    }

    fn push_soon(&self) {
        if self.0.push_is_due.replace(true) {
            return;
        }
        let reporter = self.clone();
        spawn_local(async move {
            futures_timer::Delay::new(Duration::from_millis(COALESCE_MS)).await;
            reporter.0.push_is_due.set(false);
            if !reporter.0.stopped.get() {
                reporter.push();
            }
        });
    }

    fn push(&self) {
        let json = serde_json::to_string(&*self.0.current.borrow()).expect("a status is plain data");
        let told = js_sys::JSON::parse(&json).and_then(|status| self.0.on_status.call1(&JsValue::UNDEFINED, &status));
        if let Err(exception) = told {
            tracing::warn!(?exception, "the page did not take the status");
        }
    }
}
