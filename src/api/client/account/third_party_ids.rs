//! E-mail addresses and telephone numbers of users: nobody has any here, as this homeserver sends neither mail nor
//! messages and knows no identity server. What asks for them is told so.
use std::rc::Rc;

use http::{Method, StatusCode};
use ruma::{
    OwnedClientSecret, OwnedSessionId,
    api::{
        IncomingRequest, Metadata,
        auth_scheme::AccessToken,
        client::account::{
            ThirdPartyIdRemovalStatus, add_3pid, bind_3pid, delete_3pid, get_3pids,
            request_3pid_management_token_via_email, request_3pid_management_token_via_msisdn,
            request_password_change_token_via_email, request_password_change_token_via_msisdn,
            request_registration_token_via_email, request_registration_token_via_msisdn, unbind_3pid,
        },
        error::{DeserializationError, Error, ErrorKind},
    },
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    api::{
        ApiError,
        client::json_answer::{AnsweredByJson, JsonAnswer},
    },
    homeserver::{Homeserver, sessions::Session},
};

/// `GET /_matrix/client/v3/account/3pid` (client-server API, "Account administrative contact")
pub async fn get_3pids(
    _homeserver: &Rc<Homeserver>,
    _session: Session,
    _request: AnsweredByJson<get_3pids::v3::Request>,
) -> Result<JsonAnswer, ApiError> {
    Ok(JsonAnswer(json!({ "threepids": [] })))
}

/// The body of the older way to add an identifier.
#[derive(Deserialize)]
pub struct Post3Pids {
    #[serde(rename = "three_pid_creds", alias = "threePidCreds")]
    _credentials: Credentials,
}

#[derive(Deserialize)]
struct Credentials {
    #[serde(rename = "client_secret")]
    _client_secret: OwnedClientSecret,
    #[serde(rename = "sid")]
    _sid: OwnedSessionId,
}

impl Metadata for Post3Pids {
    const METHOD: Method = Method::POST;
    const RATE_LIMITED: bool = false;
    type Authentication = AccessToken;
    type PathBuilder = <get_3pids::v3::Request as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = get_3pids::v3::Request::PATH_BUILDER;
}

impl IncomingRequest for Post3Pids {
    type EndpointError = Error;
    type OutgoingResponse = JsonAnswer;

    fn try_from_http_request_inner(request: http::Request<&[u8]>, _: &[&str]) -> Result<Self, DeserializationError> {
        let body = request.into_body();
        Ok(serde_json::from_slice(if body.is_empty() { b"{}" } else { body })?)
    }
}

/// `POST /_matrix/client/v3/account/3pid` (client-server API, "Account administrative contact"; deprecated)
pub async fn post_3pids(
    _homeserver: &Rc<Homeserver>,
    _session: Session,
    _request: Post3Pids,
) -> Result<JsonAnswer, ApiError> {
    Err(not_validated())
}

/// `POST /_matrix/client/v3/account/3pid/add` (client-server API, "Account administrative contact")
pub async fn add_3pid(
    _homeserver: &Rc<Homeserver>,
    _session: Session,
    _request: add_3pid::v3::Request,
) -> Result<add_3pid::v3::Response, ApiError> {
    Err(not_validated())
}

/// `POST /_matrix/client/v3/account/3pid/bind` (client-server API, "Account administrative contact")
pub async fn bind_3pid(
    _homeserver: &Rc<Homeserver>,
    _session: Session,
    _request: bind_3pid::v3::Request,
) -> Result<bind_3pid::v3::Response, ApiError> {
    let message = "This homeserver trusts no identity server.";
    Err(ApiError::new(StatusCode::FORBIDDEN, ErrorKind::ServerNotTrusted, message))
}

/// `POST /_matrix/client/v3/account/3pid/delete` (client-server API, "Account administrative contact")
pub async fn delete_3pid(
    _homeserver: &Rc<Homeserver>,
    _session: Session,
    _request: delete_3pid::v3::Request,
) -> Result<delete_3pid::v3::Response, ApiError> {
    // It is not associated with the account: it never was.
    Ok(delete_3pid::v3::Response::new(ThirdPartyIdRemovalStatus::NoSupport))
}

/// `POST /_matrix/client/v3/account/3pid/unbind` (client-server API, "Account administrative contact")
pub async fn unbind_3pid(
    _homeserver: &Rc<Homeserver>,
    _session: Session,
    _request: unbind_3pid::v3::Request,
) -> Result<unbind_3pid::v3::Response, ApiError> {
    Ok(unbind_3pid::v3::Response::new(ThirdPartyIdRemovalStatus::NoSupport))
}

/// `POST /_matrix/client/v3/account/3pid/email/requestToken` (client-server API, "Account administrative contact")
pub async fn request_3pid_management_token_via_email(
    _homeserver: &Rc<Homeserver>,
    _: (),
    _request: request_3pid_management_token_via_email::v3::Request,
) -> Result<request_3pid_management_token_via_email::v3::Response, ApiError> {
    Err(medium_not_supported())
}

/// `POST /_matrix/client/v3/account/3pid/msisdn/requestToken` (client-server API, "Account administrative contact")
pub async fn request_3pid_management_token_via_msisdn(
    _homeserver: &Rc<Homeserver>,
    _: (),
    _request: request_3pid_management_token_via_msisdn::v3::Request,
) -> Result<request_3pid_management_token_via_msisdn::v3::Response, ApiError> {
    Err(medium_not_supported())
}

/// `POST /_matrix/client/v3/register/email/requestToken` (client-server API, "Account registration")
pub async fn request_registration_token_via_email(
    _homeserver: &Rc<Homeserver>,
    _: (),
    _request: request_registration_token_via_email::v3::Request,
) -> Result<request_registration_token_via_email::v3::Response, ApiError> {
    Err(denied())
}

/// `POST /_matrix/client/v3/register/msisdn/requestToken` (client-server API, "Account registration")
pub async fn request_registration_token_via_msisdn(
    _homeserver: &Rc<Homeserver>,
    _: (),
    _request: request_registration_token_via_msisdn::v3::Request,
) -> Result<request_registration_token_via_msisdn::v3::Response, ApiError> {
    Err(denied())
}

/// `POST /_matrix/client/v3/account/password/email/requestToken` (client-server API, "Changing password")
pub async fn request_password_change_token_via_email(
    _homeserver: &Rc<Homeserver>,
    _: (),
    _request: request_password_change_token_via_email::v3::Request,
) -> Result<request_password_change_token_via_email::v3::Response, ApiError> {
    Err(of_nobody())
}

/// `POST /_matrix/client/v3/account/password/msisdn/requestToken` (client-server API, "Changing password")
pub async fn request_password_change_token_via_msisdn(
    _homeserver: &Rc<Homeserver>,
    _: (),
    _request: request_password_change_token_via_msisdn::v3::Request,
) -> Result<request_password_change_token_via_msisdn::v3::Response, ApiError> {
    Err(of_nobody())
}

fn medium_not_supported() -> ApiError {
    let message = "This homeserver keeps no e-mail addresses or telephone numbers.";
    ApiError::new(StatusCode::BAD_REQUEST, ErrorKind::ThreepidMediumNotSupported, message)
}

fn denied() -> ApiError {
    let message = "Nobody registers here by e-mail or telephone.";
    ApiError::new(StatusCode::FORBIDDEN, ErrorKind::ThreepidDenied, message)
}

fn of_nobody() -> ApiError {
    let message = "No account here has an e-mail address or a telephone number.";
    ApiError::new(StatusCode::BAD_REQUEST, ErrorKind::ThreepidNotFound, message)
}

fn not_validated() -> ApiError {
    let message = "Nothing was validated: this homeserver keeps no e-mail addresses or telephone numbers.";
    ApiError::new(StatusCode::FORBIDDEN, ErrorKind::ThreepidAuthFailed, message)
}
