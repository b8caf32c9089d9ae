//! Answers that ruma's types cannot give: fields that they leave out, or endpoints they do not know.
use bytes::BufMut;
use http::{HeaderValue, Method};
use ruma::api::{
    IncomingRequest, Metadata, OutgoingBody, OutgoingResponse,
    error::{DeserializationError, IntoHttpError},
};
use serde_json::Value;

/// A JSON object, as it stands.
pub struct JsonAnswer(pub Value);

impl OutgoingResponse for JsonAnswer {
    type Body = JsonBody;

    fn try_into_http_response_inner(self) -> Result<http::Response<JsonBody>, IntoHttpError> {
        Ok(http::Response::new(JsonBody(self.0)))
    }
}

pub struct JsonBody(Value);

impl OutgoingBody for JsonBody {
    type Error = IntoHttpError;

    fn content_type(&self) -> Option<HeaderValue> {
        Some(HeaderValue::from_static("application/json"))
    }

    fn try_into_buf<T: Default + BufMut + AsRef<[u8]>>(self) -> Result<T, IntoHttpError> {
        let mut buffer = T::default();
        buffer.put_slice(self.0.to_string().as_bytes());
        Ok(buffer)
    }
}

/// ruma's request with an answer of our own.
pub struct AnsweredByJson<R>(pub R);

impl<R: Metadata> Metadata for AnsweredByJson<R> {
    const METHOD: Method = R::METHOD;
    const RATE_LIMITED: bool = R::RATE_LIMITED;
    type Authentication = R::Authentication;
    type PathBuilder = R::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = R::PATH_BUILDER;
}

impl<R: IncomingRequest> IncomingRequest for AnsweredByJson<R> {
    type EndpointError = R::EndpointError;
    type OutgoingResponse = JsonAnswer;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        R::try_from_http_request_inner(request, path_args).map(Self)
    }
}
