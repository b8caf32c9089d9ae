//! What this server is.
use std::rc::Rc;

use ruma::api::federation::discovery::get_server_version::v1 as get_server_version_v1;

use crate::{api::ApiError, homeserver::Homeserver};

/// `GET /_matrix/federation/v1/version` (server-server API, "Server implementation")
pub async fn get_server_version(
    _homeserver: &Rc<Homeserver>,
    _: (),
    _request: get_server_version_v1::Request,
) -> Result<get_server_version_v1::Response, ApiError> {
    let mut server = get_server_version_v1::Server::new();
    server.name = Some("Warren".to_owned());
    server.version = Some(env!("CARGO_PKG_VERSION").to_owned());
    let mut response = get_server_version_v1::Response::new();
    response.server = Some(server);
    Ok(response)
}
