//! What this server is, and the keys of servers: its own and those of others.
use std::{collections::BTreeMap, rc::Rc};

use http::Method;
use ruma::{
    CanonicalJsonObject, OwnedServerName, ServerName,
    api::{
        IncomingRequest, Metadata,
        auth_scheme::NoAuthentication,
        error::{DeserializationError, Error},
        federation::discovery::{
            ServerSigningKeys, discover_homeserver as discover, get_remote_server_keys::v2 as keys_v2,
            get_remote_server_keys_batch::v2 as keys_batch_v2, get_server_keys::v2 as own_keys_v2,
            get_server_version::v1 as get_server_version_v1,
        },
    },
    serde::Raw,
};

use crate::{
    api::ApiError,
    homeserver::{
        Homeserver,
        key_ring::{
            notary::{self, Wanted},
            publish::own_keys,
        },
    },
};

/// `GET /.well-known/matrix/server` (server-server API, "Resolving server names")
pub async fn discover_homeserver(
    homeserver: &Rc<Homeserver>,
    _: (),
    _request: discover::Request,
) -> Result<discover::Response, ApiError> {
    match &homeserver.options.reached_by {
        Some(name) => Ok(discover::Response::new(name.clone())),
        None => Err(ApiError::not_found("This homeserver is reached by its own name.")),
    }
}

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

/// `GET /_matrix/key/v2/server` (server-server API, "Publishing keys")
pub async fn get_server_keys(
    homeserver: &Rc<Homeserver>,
    _: (),
    _request: own_keys_v2::Request,
) -> Result<own_keys_v2::Response, ApiError> {
    Ok(own_keys_v2::Response::new(raw(&own_keys(homeserver))))
}

/// `GET /_matrix/key/v2/query/{serverName}` (server-server API, "Querying keys through another server")
pub async fn get_remote_server_keys(
    homeserver: &Rc<Homeserver>,
    _: (),
    request: KeysRequest,
) -> Result<keys_v2::Response, ApiError> {
    let valid_until_ms = match request.minimum_valid_until_ts {
        Some(text) => Some(text.parse().map_err(|_| {
            ApiError::invalid_param("`minimum_valid_until_ts` is no number of milliseconds since the Unix epoch.")
        })?),
        None => None,
    };
    let wanted = Wanted { key_ids: Vec::new(), valid_until_ms };
    let keys = notary::query(homeserver, BTreeMap::from([(request.server_name, wanted)])).await?;
    Ok(keys_v2::Response::new(keys.iter().map(raw).collect()))
}

/// `POST /_matrix/key/v2/query` (server-server API, "Querying keys through another server")
pub async fn get_remote_server_keys_batch(
    homeserver: &Rc<Homeserver>,
    _: (),
    request: keys_batch_v2::Request,
) -> Result<keys_batch_v2::Response, ApiError> {
    let wanted = request.server_keys.into_iter().map(|(server, keys)| {
        let valid_until_ms = keys.values().filter_map(|criteria| criteria.minimum_valid_until_ts).max();
        let valid_until_ms = valid_until_ms.map(|time| u64::from(time.0));
        (server, Wanted { key_ids: keys.into_keys().map(|id| id.to_string()).collect(), valid_until_ms })
    });
    let keys = notary::query(homeserver, wanted.collect()).await?;
    Ok(keys_batch_v2::Response::new(keys.iter().map(raw).collect()))
}

fn raw(keys: &CanonicalJsonObject) -> Raw<ServerSigningKeys> {
    Raw::new(keys).expect("canonical JSON can be written").cast_unchecked()
}

/// ruma's request takes the time of the operating system where none is asked for, which a tab does not have.
pub struct KeysRequest {
    server_name: OwnedServerName,
    /// As it stands.
    minimum_valid_until_ts: Option<String>,
}

impl Metadata for KeysRequest {
    const METHOD: Method = keys_v2::Request::METHOD;
    const RATE_LIMITED: bool = false;
    type Authentication = NoAuthentication;
    type PathBuilder = <keys_v2::Request as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = keys_v2::Request::PATH_BUILDER;
}

impl IncomingRequest for KeysRequest {
    type EndpointError = Error;
    type OutgoingResponse = keys_v2::Response;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let server_name = ServerName::parse(path_args.first().copied().unwrap_or_default())?;
        let query = request.uri().query().unwrap_or_default();
        let minimum = query.split('&').find_map(|part| part.strip_prefix("minimum_valid_until_ts="));
        Ok(Self { server_name, minimum_valid_until_ts: minimum.map(ToOwned::to_owned) })
    }
}
