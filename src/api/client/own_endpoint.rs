//! Endpoints that ruma has no request type for.
use std::marker::PhantomData;

use http::Method;
use ruma::api::{
    IncomingRequest, Metadata,
    auth_scheme::AccessToken,
    error::{DeserializationError, Error},
    path_builder::SinglePath,
};
use serde::de::DeserializeOwned;

use super::json_answer::JsonAnswer;

/// What ruma's macros would say of it. All take an access token.
pub trait Endpoint {
    const METHOD: Method;
    const PATH: &'static str;
    type Body: DeserializeOwned;
}

/// A request of an endpoint.
pub struct OwnRequest<E: Endpoint> {
    /// What the variables of the path stand for.
    pub path_args: Vec<String>,
    /// As it stands, "" if there is none.
    pub query: String,
    pub body: E::Body,
    endpoint: PhantomData<E>,
}

impl<E: Endpoint> Metadata for OwnRequest<E> {
    const METHOD: Method = E::METHOD;
    const RATE_LIMITED: bool = false;
    type Authentication = AccessToken;
    type PathBuilder = SinglePath;
    const PATH_BUILDER: SinglePath = SinglePath::new(E::PATH);
}

impl<E: Endpoint> IncomingRequest for OwnRequest<E> {
    type EndpointError = Error;
    type OutgoingResponse = JsonAnswer;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = request.into_body();
        let body = serde_json::from_slice(if body.is_empty() { b"{}" } else { body })?;
        let path_args = path_args.iter().map(|arg| (*arg).to_owned()).collect();
        Ok(Self { path_args, query, body, endpoint: PhantomData })
    }
}
