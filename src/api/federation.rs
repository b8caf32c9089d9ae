//! The Server-Server API: what other homeservers may ask, one file a module of ruma's.
use super::router::Route;

pub fn routes() -> Vec<Route> {
    Vec::new()
}
