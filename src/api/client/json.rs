//! Bodies that are written as JSON before ruma sees them: where its types cannot say what is to be said.
use bytes::BufMut;
use http::{HeaderValue, Method};
use ruma::api::{
    IncomingRequest, Metadata, OutgoingBody, OutgoingResponse,
    error::{DeserializationError, IntoHttpError},
};
use serde::Serialize;

/// A body that is JSON already.
pub struct Json(pub Vec<u8>);

impl Json {
    pub fn of(value: &impl Serialize) -> Self {
        Self(serde_json::to_vec(value).expect("answers have string keys and finite numbers"))
    }
}

impl OutgoingBody for Json {
    type Error = IntoHttpError;

    fn content_type(&self) -> Option<HeaderValue> {
        Some(HeaderValue::from_static("application/json"))
    }

    fn try_into_buf<T: Default + BufMut + AsRef<[u8]>>(self) -> Result<T, IntoHttpError> {
        let mut buffer = T::default();
        buffer.put_slice(&self.0);
        Ok(buffer)
    }
}

impl OutgoingResponse for Json {
    type Body = Self;

    fn try_into_http_response_inner(self) -> Result<http::Response<Self>, IntoHttpError> {
        Ok(http::Response::new(self))
    }
}

/// A request of ruma's with its query as it came, whose answer is written here.
pub struct JsonAnswered<R> {
    pub request: R,
    pub query: String,
}

impl<R: Metadata> Metadata for JsonAnswered<R> {
    const METHOD: Method = R::METHOD;
    const RATE_LIMITED: bool = R::RATE_LIMITED;
    type Authentication = R::Authentication;
    type PathBuilder = R::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = R::PATH_BUILDER;
}

impl<R: IncomingRequest> IncomingRequest for JsonAnswered<R> {
    type EndpointError = R::EndpointError;
    type OutgoingResponse = Json;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        Ok(Self { request: R::try_from_http_request_inner(request, path_args)?, query })
    }
}
