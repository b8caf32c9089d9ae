//! The endpoints that are Warren's own (docs/protocol.md).
use std::{collections::BTreeMap, rc::Rc};

use http::Method;
use libp2p::Multiaddr;
use ruma::{
    OwnedServerName,
    api::{
        IncomingRequest, Metadata,
        auth_scheme::AccessToken,
        client::session::logout,
        error::{DeserializationError, Error},
        path_builder::SinglePath,
    },
};
use serde::Deserialize;

use crate::{
    api::ApiError,
    domain::identity::PublicKey,
    homeserver::{Homeserver, addresses, sessions::Session},
};

/// How many servers one request may give addresses for, how many addresses each, and how long one may be in bytes.
const HINTED_SERVERS_MAX: usize = 32;
const HINTS_PER_SERVER_MAX: usize = 16;
const HINT_MAX_BYTES: usize = 512;

/// Where servers may be reached.
#[derive(Deserialize)]
pub struct AddAddressHints {
    servers: BTreeMap<OwnedServerName, Vec<String>>,
}

/// `{}`
type Empty = logout::v3::Response;

impl Metadata for AddAddressHints {
    const METHOD: Method = Method::POST;
    const RATE_LIMITED: bool = false;
    type Authentication = AccessToken;
    type PathBuilder = SinglePath;
    const PATH_BUILDER: SinglePath = SinglePath::new("/_matrix/client/unstable/warren/address_hints");
}

impl IncomingRequest for AddAddressHints {
    type EndpointError = Error;
    type OutgoingResponse = Empty;

    fn try_from_http_request_inner(request: http::Request<&[u8]>, _: &[&str]) -> Result<Self, DeserializationError> {
        let body = request.into_body();
        Ok(serde_json::from_slice(if body.is_empty() { b"{}" } else { body })?)
    }
}

/// `POST /_matrix/client/unstable/warren/address_hints`: remembers multiaddresses at which servers may be reached, from
/// an invite link say. They are hints: a wrong one costs an attempt, since a server's name certifies its key.
pub async fn add_address_hints(
    homeserver: &Rc<Homeserver>,
    _session: Session,
    request: AddAddressHints,
) -> Result<Empty, ApiError> {
    if request.servers.len() > HINTED_SERVERS_MAX {
        return Err(ApiError::too_large(format!("There are hints for more than {HINTED_SERVERS_MAX} servers.")));
    }
    for (server, addresses) in &request.servers {
        if PublicKey::of_server_name(server).is_none() {
            return Err(ApiError::invalid_param(format!("{server} is not the name of a server of this kind.")));
        }
        if addresses.len() > HINTS_PER_SERVER_MAX {
            return Err(ApiError::too_large(format!("{server} has more than {HINTS_PER_SERVER_MAX} addresses.")));
        }
        if !addresses.iter().all(|address| address.len() <= HINT_MAX_BYTES && address.parse::<Multiaddr>().is_ok()) {
            return Err(ApiError::invalid_param(format!("An address of {server} is not a multiaddress.")));
        }
    }
    for (server, addresses) in request.servers {
        addresses::hinted(homeserver, &server, addresses).await?;
    }
    Ok(Empty::new())
}
