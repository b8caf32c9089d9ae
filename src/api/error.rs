//! What goes wrong, as HTTP says it: the only place that knows status and `errcode` of an error.
//!
//! Each workflow has a small enum of its own; `error/` holds one file a workflow that turns it into an [`ApiError`].
mod account_data;
mod accounts;
mod delayed_events;
mod directory;
mod federation;
mod push;
mod rates;
mod reading;
mod rooms;
mod to_device;

use std::fmt;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode, header};
use ruma::api::{
    OutgoingResponseExt,
    client::uiaa::{UiaaInfo, UiaaResponse},
    error::{DeserializationError, Error, ErrorBody, ErrorKind, StandardErrorBody, UnknownTokenErrorData},
};
use serde::de::IgnoredAny;
use serde_json::json;

use super::Response;
use crate::{domain::zone::APART, ports::StoreError};

/// An answer that is not a success: a Matrix error, or the demand to authenticate interactively.
pub struct ApiError {
    response: Box<UiaaResponse>,
    /// What ruma does not write: of a 405 the methods that the path does have, say.
    header: Option<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub fn new(status: StatusCode, kind: ErrorKind, message: impl Into<String>) -> Self {
        let body = ErrorBody::Standard(StandardErrorBody::new(kind, message.into()));
        Self { response: Box::new(UiaaResponse::MatrixError(Error::new(status, body))), header: None }
    }

    /// An error whose body has more than the usual fields.
    fn json(status: StatusCode, body: serde_json::Value) -> Self {
        let error = Error::new(status, ErrorBody::Json(body));
        Self { response: Box::new(UiaaResponse::MatrixError(error)), header: None }
    }

    fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// 401 with the flows a client may authenticate by (client-server API, "User-Interactive Authentication API").
    pub fn interactive(info: UiaaInfo) -> Self {
        Self { response: Box::new(UiaaResponse::AuthResponse(info)), header: None }
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorKind::Forbidden, message)
    }

    /// 403 `M_FORBIDDEN` that no permission will change: two servers have no way to each other. The mark tells it from others.
    pub fn apart(message: impl Into<String>) -> Self {
        let body = json!({ "errcode": "M_FORBIDDEN", "error": message.into(), (APART): true });
        Self::json(StatusCode::FORBIDDEN, body)
    }

    /// 403 `M_INVITE_BLOCKED`: the invited user wants no invites.
    pub fn invite_blocked(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorKind::InviteBlocked, message)
    }

    /// 401 `M_UNAUTHORIZED`: a federation request whose signature or origin is not what it should be.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorKind::Unauthorized, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, message)
    }

    pub fn invalid_param(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::InvalidParam, message)
    }

    pub fn missing_param(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::MissingParam, message)
    }

    pub fn bad_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::BadJson, message)
    }

    /// 400 `M_UNKNOWN`: well-formed, but nothing this server does.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::Unknown, message)
    }

    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::TooLarge, message)
    }

    pub fn guest_access_forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorKind::GuestAccessForbidden, message)
    }

    pub fn cannot_leave_server_notices() -> Self {
        let message = "This is where whoever runs the homeserver tells you what you should know: join to read it.";
        Self::new(StatusCode::FORBIDDEN, ErrorKind::CannotLeaveServerNoticeRoom, message)
    }

    pub fn registration_closed() -> Self {
        Self::forbidden("Registration is closed on this homeserver: ask whoever runs it for an account.")
    }

    pub fn suspended() -> Self {
        let message = "The account is suspended: it may read, and little else. Ask whoever runs this homeserver.";
        Self::new(StatusCode::FORBIDDEN, ErrorKind::UserSuspended, message)
    }

    /// Clients keep what they have stored (client-server API, "Account locking").
    pub fn locked() -> Self {
        let message = "The account is locked. Ask whoever runs this homeserver.";
        Self::new(StatusCode::UNAUTHORIZED, ErrorKind::UserLocked, message)
    }

    pub fn missing_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorKind::MissingToken, "An access token is required.")
    }

    pub fn unknown_token() -> Self {
        let kind = ErrorKind::UnknownToken(UnknownTokenErrorData::new());
        Self::new(StatusCode::UNAUTHORIZED, kind, "The access token is not known: it was logged out or never issued.")
    }

    /// The token was good and can be renewed: clients keep what they have stored (client-server API, "Soft logout").
    pub fn soft_logged_out() -> Self {
        let mut data = UnknownTokenErrorData::new();
        data.soft_logout = true;
        let message = "The access token has expired: refresh it, or log in again.";
        Self::new(StatusCode::UNAUTHORIZED, ErrorKind::UnknownToken(data), message)
    }

    /// A broken invariant or a corrupt store: `detail` is for the log, not for the client.
    pub fn internal(detail: &str) -> Self {
        tracing::error!(detail, "internal error");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Unknown, "Something broke inside the homeserver.")
    }

    pub(super) fn unrecognized_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::Unrecognized, "This server has no such endpoint.")
    }

    pub(super) fn unrecognized_method(allowed: &[&str]) -> Self {
        let message = "This endpoint exists, but not with this method.";
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Unrecognized, message);
        match HeaderValue::try_from(allowed.join(", ")) {
            Ok(allow) => error.with_header(header::ALLOW, allow),
            Err(_) => error,
        }
    }

    pub(super) fn body_too_large(max_bytes: usize) -> Self {
        Self::too_large(format!("The request body is larger than {max_bytes} bytes."))
    }

    /// For a body that is there but does not begin like a JSON object.
    pub(super) fn body_not_object(body: &[u8]) -> Self {
        if is_json(body) { Self::bad_json("The request body is not a JSON object.") } else { Self::not_json() }
    }

    /// For a body that is not JSON at all; `None` for any other, and for none.
    pub(super) fn not_json_if(body: &[u8]) -> Option<Self> {
        (!body.is_empty() && !is_json(body)).then(Self::not_json)
    }

    fn not_json() -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::NotJson, "The request body is not valid JSON.")
    }

    /// For a request that ruma could not parse.
    pub(super) fn malformed(error: &DeserializationError, body: &[u8]) -> Self {
        let message = error.to_string();
        match error {
            DeserializationError::Json(_) if !is_json(body) => Self::not_json(),
            // serde has no other way to say so.
            _ if message.starts_with("missing field") => Self::missing_param(message),
            DeserializationError::Json(_) => Self::bad_json(message),
            // Path, query, headers; the enum is ruma's and open.
            _ => Self::invalid_param(message),
        }
    }

    pub fn into_response(self) -> Response {
        let mut response = match self.response.try_into_http_response::<BytesMut>() {
            Ok(response) => response.map(BytesMut::freeze),
            Err(error) => {
                tracing::error!(%error, "an error cannot be written");
                let body = br#"{"errcode":"M_UNKNOWN","error":"Something broke inside the homeserver."}"#;
                let mut response = Response::new(Bytes::from_static(body));
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
        };
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.response.fmt(f)
    }
}

fn is_json(body: &[u8]) -> bool {
    // An absent body stands for an empty object. Skipping a string does not look at its bytes, hence `from_utf8`.
    body.is_empty() || std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

impl From<StoreError> for ApiError {
    /// Full storage is 507 `M_UNKNOWN`, not `M_RESOURCE_LIMIT_EXCEEDED`: clients show that one as "ask your
    /// administrator", and here the reader is the one who can make room.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::QuotaExceeded => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                ErrorKind::Unknown,
                "Storage is full: nothing of this request was kept, all that was stored before is safe. Make room and try again.",
            ),
            StoreError::Fenced => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorKind::Unknown,
                "Another tab has taken over this profile: nothing of this request was kept. Try again there.",
            ),
            StoreError::NewerSchema => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorKind::Unknown,
                "Storage was written by a newer version: nothing of this request was kept. Reload and try again.",
            ),
            StoreError::Backend(detail) => Self::internal(&detail),
        }
    }
}
