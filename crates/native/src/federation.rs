//! HTTPS between homeservers: finding them, reaching them, and being reached. Knows nothing of who speaks: a node does for
//! itself, a gateway for others.
pub mod certificate;
pub mod client;
mod delegation;
mod dialer;
pub mod names;
mod redirects;
pub mod request;
pub mod trust;
mod well_known;

pub use self::{
    client::FederationClient,
    dialer::{Dialer, Reach},
};
