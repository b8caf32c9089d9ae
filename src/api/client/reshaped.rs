//! Requests whose body must be looked at before ruma parses it.
use std::{collections::BTreeMap, marker::PhantomData};

use http::Method;
use ruma::api::{IncomingRequest, Metadata, error::DeserializationError};
use serde::de::IgnoredAny;

/// What is done to a body first.
pub trait Reshape {
    /// The body ruma shall parse; where there is none, `body` is `{}`. Fails as the parser would.
    fn reshape(body: &[u8], path_args: &[&str]) -> Result<Vec<u8>, serde_json::Error>;
}

/// A request `R` whose body went through `S`; in all else it is the route that `R` is.
pub struct Reshaped<R, S> {
    pub request: R,
    shape: PhantomData<S>,
}

impl<R: Metadata, S> Metadata for Reshaped<R, S> {
    const METHOD: Method = R::METHOD;
    const RATE_LIMITED: bool = R::RATE_LIMITED;
    type Authentication = R::Authentication;
    type PathBuilder = R::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = R::PATH_BUILDER;
}

impl<R: IncomingRequest, S: Reshape> IncomingRequest for Reshaped<R, S> {
    type EndpointError = R::EndpointError;
    type OutgoingResponse = R::OutgoingResponse;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let (parts, body) = request.into_parts();
        let body = S::reshape(if body.is_empty() { b"{}" } else { body }, path_args)?;
        let request = R::try_from_http_request_inner(http::Request::from_parts(parts, &body), path_args)?;
        Ok(Self { request, shape: PhantomData })
    }
}

/// For a request of which only the path says something: ruma does not look at its body at all.
pub struct AnyObject;

impl Reshape for AnyObject {
    fn reshape(body: &[u8], _: &[&str]) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(body)?;
        Ok(b"{}".to_vec())
    }
}
