//! What carries the calls of many (MSC4143, "MatrixRTC").
use std::rc::Rc;

use http::Method;
use ruma::api::{
    IncomingRequest, Metadata,
    auth_scheme::AccessToken,
    error::{DeserializationError, Error},
    path_builder::SinglePath,
};
use serde_json::json;

use super::json::Json;
use crate::{
    api::ApiError,
    homeserver::{Homeserver, sessions::Session},
};

/// The request, which says nothing.
pub struct GetTransports;

impl Metadata for GetTransports {
    const METHOD: Method = Method::GET;
    const RATE_LIMITED: bool = false;
    type Authentication = AccessToken;
    type PathBuilder = SinglePath;
    const PATH_BUILDER: SinglePath = SinglePath::new("/_matrix/client/unstable/org.matrix.msc4143/rtc/transports");
}

impl IncomingRequest for GetTransports {
    type EndpointError = Error;
    type OutgoingResponse = Json;

    fn try_from_http_request_inner(_: http::Request<&[u8]>, _: &[&str]) -> Result<Self, DeserializationError> {
        Ok(Self)
    }
}

/// `GET /_matrix/client/unstable/org.matrix.msc4143/rtc/transports` (MSC4143): those the shell was told of.
pub async fn get_transports(
    homeserver: &Rc<Homeserver>,
    _session: Session,
    _request: GetTransports,
) -> Result<Json, ApiError> {
    Ok(Json::of(&json!({ "rtc_transports": homeserver.options.rtc_transports })))
}
