//! Accounts: made, asked about, given another password, ended.
pub mod third_party_ids;

use std::{rc::Rc, time::Duration};

use http::Method;
use ruma::{
    api::{
        IncomingRequest, Metadata,
        client::account::{
            ThirdPartyIdRemovalStatus, change_password, check_registration_token_validity, deactivate,
            get_username_availability,
            register::{self, RegistrationKind},
            request_openid_token, whoami,
        },
        error::DeserializationError,
    },
    authentication::TokenType,
};
use serde_json::{Map, Value};

use super::{
    config::own,
    reshaped::{AnyObject, Reshaped},
};
use crate::{
    api::{ApiError, uiaa},
    homeserver::{
        Homeserver, Registration,
        accounts::{self, AccountKind, NewAccount, deactivation},
        devices::{Login, NewDevice},
        openid::{self, OPENID_TOKEN_LIFETIME_MS},
        passwords, registration_tokens,
        sessions::{self, Caller, Session},
        tokens::ACCESS_TOKEN_LIFETIME_MS,
    },
};

/// ruma's request, of which the body of a guest counts only with the name of the device (client-server API, "Account
/// registration").
pub struct Register(register::v3::Request);

impl Metadata for Register {
    const METHOD: Method = register::v3::Request::METHOD;
    const RATE_LIMITED: bool = register::v3::Request::RATE_LIMITED;
    type Authentication = <register::v3::Request as Metadata>::Authentication;
    type PathBuilder = <register::v3::Request as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = register::v3::Request::PATH_BUILDER;
}

impl IncomingRequest for Register {
    type EndpointError = <register::v3::Request as IncomingRequest>::EndpointError;
    type OutgoingResponse = register::v3::Response;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let of_guest = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "kind=guest"));
        if !of_guest || request.body().is_empty() {
            return register::v3::Request::try_from_http_request_inner(request, path_args).map(Self);
        }
        let (parts, body) = request.into_parts();
        let mut fields: Map<String, Value> = serde_json::from_slice(body)?;
        fields.retain(|name, _| name == "initial_device_display_name");
        let body = serde_json::to_vec(&fields)?;
        let request = http::Request::from_parts(parts, &*body);
        register::v3::Request::try_from_http_request_inner(request, path_args).map(Self)
    }
}

/// `POST /_matrix/client/v3/register` (client-server API, "Account registration")
pub async fn register(
    homeserver: &Rc<Homeserver>,
    _: (),
    Register(request): Register,
) -> Result<register::v3::Response, ApiError> {
    match request.kind {
        RegistrationKind::User => {}
        RegistrationKind::Guest => return register_guest(homeserver, request).await,
        _ => return Err(ApiError::invalid_param("`kind` is neither `user` nor `guest`.")),
    }
    if homeserver.options.registration == Registration::Closed {
        return Err(ApiError::registration_closed());
    }
    if let Some(login_type) = request.login_type {
        return Err(ApiError::unsupported(format!("There is no registration of the type {login_type}.")));
    }
    let device = NewDevice {
        device_id: request.device_id,
        display_name: request.initial_device_display_name,
        refreshable: request.refresh_token,
    };
    let kind = match &request.guest_access_token {
        Some(token) => upgraded(homeserver, token, request.username.as_deref()).await?,
        None => AccountKind::User,
    };
    let mut new = NewAccount {
        username: request.username,
        password: request.password,
        device: (!request.inhibit_login).then_some(device),
        registration_token: None,
        kind,
    };
    accounts::check_new(homeserver, &new).await?;
    new.registration_token = uiaa::registration(homeserver, request.auth.as_ref()).await?;
    answer(homeserver, new).await
}

async fn register_guest(
    homeserver: &Rc<Homeserver>,
    request: register::v3::Request,
) -> Result<register::v3::Response, ApiError> {
    if !homeserver.options.guests {
        return Err(ApiError::guest_access_forbidden("This server has no guest accounts."));
    }
    let device = NewDevice { display_name: request.initial_device_display_name, ..NewDevice::default() };
    answer(homeserver, NewAccount { device: Some(device), kind: AccountKind::Guest, ..NewAccount::default() }).await
}

/// The guest who becomes a user.
async fn upgraded(homeserver: &Rc<Homeserver>, token: &str, username: Option<&str>) -> Result<AccountKind, ApiError> {
    if username.is_none() {
        return Err(ApiError::missing_param("A guest who makes an account names it as before: `username` is missing."));
    }
    let session = sessions::session_of_token(homeserver, token, Caller::default()).await?;
    Ok(AccountKind::Upgrade(session.user_id))
}

async fn answer(homeserver: &Rc<Homeserver>, new: NewAccount) -> Result<register::v3::Response, ApiError> {
    let (user_id, login) = accounts::register(homeserver, new).await?;
    let mut response = register::v3::Response::new(user_id);
    if let Some(Login { device_id, tokens, .. }) = login {
        response.expires_in = tokens.refresh_token.as_ref().map(|_| Duration::from_millis(ACCESS_TOKEN_LIFETIME_MS));
        response.access_token = Some(tokens.access_token);
        response.refresh_token = tokens.refresh_token;
        response.device_id = Some(device_id);
    }
    Ok(response)
}

/// `GET /_matrix/client/v3/register/available` (client-server API, "Account registration")
pub async fn get_username_availability(
    homeserver: &Rc<Homeserver>,
    _: (),
    request: get_username_availability::v3::Request,
) -> Result<get_username_availability::v3::Response, ApiError> {
    accounts::check_username(homeserver, &request.username).await?;
    Ok(get_username_availability::v3::Response::new(true))
}

/// `GET /_matrix/client/v1/register/m.login.registration_token/validity` (client-server API, "Token-authenticated
/// registration")
pub async fn check_registration_token_validity(
    homeserver: &Rc<Homeserver>,
    _: (),
    request: check_registration_token_validity::v1::Request,
) -> Result<check_registration_token_validity::v1::Response, ApiError> {
    if homeserver.options.registration == Registration::Closed {
        return Err(ApiError::registration_closed());
    }
    let valid = registration_tokens::is_valid(homeserver, &request.token).await?;
    Ok(check_registration_token_validity::v1::Response::new(valid))
}

/// `GET /_matrix/client/v3/account/whoami` (client-server API, "Current account information")
pub async fn whoami(
    _homeserver: &Rc<Homeserver>,
    session: Session,
    _request: whoami::v3::Request,
) -> Result<whoami::v3::Response, ApiError> {
    let mut response = whoami::v3::Response::new(session.user_id, session.standing.guest);
    response.device_id = Some(session.device_id);
    Ok(response)
}

/// `POST /_matrix/client/v3/account/password` (client-server API, "Changing password")
pub async fn change_password(
    homeserver: &Rc<Homeserver>,
    session: Option<Session>,
    request: change_password::v3::Request,
) -> Result<change_password::v3::Response, ApiError> {
    passwords::check(&request.new_password)?;
    let auth = request.auth.as_ref();
    let user_id = uiaa::confirm_owner(homeserver, session.as_ref(), "change_password", auth).await?;
    let kept = session.as_ref().map(|session| &*session.device_id);
    accounts::change_password(homeserver, &user_id, request.new_password, kept, request.logout_devices).await?;
    Ok(change_password::v3::Response::new())
}

/// `POST /_matrix/client/v3/account/deactivate` (client-server API, "Account deactivation")
pub async fn deactivate(
    homeserver: &Rc<Homeserver>,
    session: Option<Session>,
    request: deactivate::v3::Request,
) -> Result<deactivate::v3::Response, ApiError> {
    let auth = request.auth.as_ref();
    let user_id = uiaa::confirm_owner(homeserver, session.as_ref(), "deactivate", auth).await?;
    deactivation::deactivate(homeserver, &user_id, request.erase).await?;
    // Nobody here has an identifier that could be unbound.
    Ok(deactivate::v3::Response::new(ThirdPartyIdRemovalStatus::Success))
}

/// `POST /_matrix/client/v3/user/{userId}/openid/request_token` (client-server API, "OpenID")
pub async fn request_openid_token(
    homeserver: &Rc<Homeserver>,
    session: Session,
    Reshaped { request, .. }: Reshaped<request_openid_token::v3::Request, AnyObject>,
) -> Result<request_openid_token::v3::Response, ApiError> {
    own(&session, &request.user_id)?;
    let token = openid::issue(homeserver, &session).await?;
    let lifetime = Duration::from_millis(OPENID_TOKEN_LIFETIME_MS);
    let server_name = homeserver.server_name().to_owned();
    Ok(request_openid_token::v3::Response::new(token, TokenType::Bearer, server_name, lifetime))
}
