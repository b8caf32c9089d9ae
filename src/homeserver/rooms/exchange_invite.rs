//! `PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}` with all that the specification requires of its body:
//! ruma's request names the room in its path only, and other homeservers refuse what does not name it in both.
use http::{HeaderValue, header::CONTENT_TYPE};
use ruma::{
    OwnedRoomId,
    api::{
        BytesBody, IncomingRequest, Metadata, OutgoingBody, OutgoingRequest,
        error::{DeserializationError, IntoHttpError},
        federation::thirdparty::exchange_invite::v1 as ruma_v1,
        path_builder::{PathBuilder, SinglePath},
    },
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// ruma's request, and the room that its body names.
#[derive(Clone, Debug)]
pub struct Request {
    pub invite: ruma_v1::Request,
    pub named: OwnedRoomId,
}

impl Request {
    pub fn new(invite: ruma_v1::Request) -> Self {
        Self { named: invite.room_id.clone(), invite }
    }
}

impl Metadata for Request {
    const METHOD: http::Method = ruma_v1::Request::METHOD;
    const RATE_LIMITED: bool = ruma_v1::Request::RATE_LIMITED;
    type Authentication = <ruma_v1::Request as Metadata>::Authentication;
    type PathBuilder = SinglePath;
    const PATH_BUILDER: SinglePath = ruma_v1::Request::PATH_BUILDER;
}

impl IncomingRequest for Request {
    type EndpointError = <ruma_v1::Request as IncomingRequest>::EndpointError;
    type OutgoingResponse = ruma_v1::Response;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        #[derive(Deserialize)]
        struct Named {
            room_id: OwnedRoomId,
        }
        let Named { room_id: named } = serde_json::from_slice(request.body())?;
        Ok(Self { invite: ruma_v1::Request::try_from_http_request_inner(request, path_args)?, named })
    }
}

impl OutgoingRequest for Request {
    type Body = BytesBody;
    type EndpointError = <ruma_v1::Request as OutgoingRequest>::EndpointError;
    type IncomingResponse = ruma_v1::Response;

    fn try_into_http_request_inner(
        self,
        base_url: &str,
        path_builder_input: <SinglePath as PathBuilder>::Input<'_>,
    ) -> Result<http::Request<BytesBody>, IntoHttpError> {
        let (mut parts, body) = self.invite.try_into_http_request_inner(base_url, path_builder_input)?.into_parts();
        let body: Vec<u8> = body.try_into_buf().map_err(Into::<IntoHttpError>::into)?;
        let mut body: Map<String, Value> = serde_json::from_slice(&body)?;
        body.insert("room_id".to_owned(), self.named.to_string().into());
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(http::Request::from_parts(parts, BytesBody(serde_json::to_vec(&body)?)))
    }
}
