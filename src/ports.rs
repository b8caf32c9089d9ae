//! The only way out of the core: what a shell (browser, native, simulation) must provide.
//!
//! Ports are object-safe traits whose futures are `!Send`: one thread owns a homeserver, so the core is
//! compiled once, not once per shell. `Environment` bundles them; it is cheap to clone.
pub mod clock;
pub mod entropy;
pub mod offload;
pub mod push_gateways;
pub mod store;
pub mod tasks;
pub mod transport;

use std::rc::Rc;

pub use self::{
    clock::Clock,
    entropy::Entropy,
    offload::Offload,
    push_gateways::{PushGatewayError, PushGateways},
    store::{Batch, Durability, Op, Scan, Store, StoreError},
    tasks::Tasks,
    transport::{Lane, Reach, Transport, TransportError, Wanted},
};

/// Everything the core may ask of the outside world.
#[derive(Clone)]
pub struct Environment {
    pub store: Rc<dyn Store>,
    pub transport: Rc<dyn Transport>,
    pub clock: Rc<dyn Clock>,
    pub entropy: Rc<dyn Entropy>,
    pub tasks: Rc<dyn Tasks>,
    pub offload: Rc<dyn Offload>,
    /// `None` where the web is out of reach, as in a tab: then no pushers are taken.
    pub push_gateways: Option<Rc<dyn PushGateways>>,
}
