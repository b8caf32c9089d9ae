//! Servers that help calls through firewalls.
use std::rc::Rc;

use http::Method;
use ruma::api::{
    IncomingRequest, Metadata,
    client::{session::logout, voip::get_turn_server_info},
    error::{DeserializationError, Error},
};

use crate::{
    api::ApiError,
    homeserver::{Homeserver, sessions::Session},
};

/// ruma's request with an answer that may say that there is no such server.
pub struct GetTurnServerInfo;

type Inner = get_turn_server_info::v3::Request;

/// `{}`
type Empty = logout::v3::Response;

impl Metadata for GetTurnServerInfo {
    const METHOD: Method = Inner::METHOD;
    const RATE_LIMITED: bool = Inner::RATE_LIMITED;
    type Authentication = <Inner as Metadata>::Authentication;
    type PathBuilder = <Inner as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = Inner::PATH_BUILDER;
}

impl IncomingRequest for GetTurnServerInfo {
    type EndpointError = Error;
    type OutgoingResponse = Empty;

    fn try_from_http_request_inner(_: http::Request<&[u8]>, _: &[&str]) -> Result<Self, DeserializationError> {
        Ok(Self)
    }
}

/// `GET /_matrix/client/v3/voip/turnServer` (client-server API, "Voice over IP")
///
/// NOTSPEC: the specification has no word for a homeserver without a TURN server. Others answer `{}`, which clients
/// take quietly; an error they report and repeat.
pub async fn get_turn_server_info(
    _homeserver: &Rc<Homeserver>,
    _session: Session,
    _request: GetTurnServerInfo,
) -> Result<Empty, ApiError> {
    Ok(Empty::new())
}
