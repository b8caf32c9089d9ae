//! The Client-Server API: one file a module of ruma's, whose handlers parse nothing and decide nothing.
pub mod discovery;

use super::router::{Route, route};

/// One line an endpoint.
pub(super) fn routes() -> Vec<Route> {
    vec![route(discovery::get_supported_versions)]
}
