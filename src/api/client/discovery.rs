//! What this server speaks and allows.
use std::rc::Rc;

use ruma::api::client::discovery::get_supported_versions;

use crate::{
    api::ApiError,
    homeserver::{Homeserver, sessions::Session},
};

/// Versions of the specification whose rules hold for everything that is served here. What is not served answers
/// `M_UNRECOGNIZED`, as the specification has clients expect.
const SPEC_VERSIONS: [&str; 16] = [
    "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10", "v1.11", "v1.12", "v1.13",
    "v1.14", "v1.15", "v1.16",
];

/// `GET /_matrix/client/versions` (client-server API, "API Versions")
pub async fn get_supported_versions(
    _homeserver: &Rc<Homeserver>,
    _session: Option<Session>,
    _request: get_supported_versions::Request,
) -> Result<get_supported_versions::Response, ApiError> {
    Ok(get_supported_versions::Response::new(SPEC_VERSIONS.map(str::to_owned).into()))
}
