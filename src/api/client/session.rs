//! Logging in and out.
use std::{rc::Rc, time::Duration};

use ruma::api::client::session::{
    get_login_token,
    get_login_types::{
        self,
        v3::{LoginType, PasswordLoginType, TokenLoginType},
    },
    login::{
        self,
        v3::{DiscoveryInfo, HomeserverInfo, LoginInfo, Password},
    },
    logout, logout_all, refresh_token,
};
use serde::de::Error;
use serde_json::{Map, Value};

use super::reshaped::{Reshape, Reshaped};
use crate::{
    api::{ApiError, uiaa},
    homeserver::{
        Homeserver,
        accounts::{self, LOGIN_TOKEN_LIFETIME_MS, LoginError},
        devices::{self, NewDevice},
        sessions::Session,
        tokens::{self, ACCESS_TOKEN_LIFETIME_MS},
    },
};

/// Of access tokens that can be refreshed.
const TOKEN_LIFETIME: Duration = Duration::from_millis(ACCESS_TOKEN_LIFETIME_MS);

/// ruma indexes the body by `type`, and panics if that is not there.
pub struct WithLoginType;

impl Reshape for WithLoginType {
    fn reshape(body: &[u8], _path_args: &[&str]) -> Result<Vec<u8>, serde_json::Error> {
        let fields: Map<String, Value> = serde_json::from_slice(body)?;
        if fields.contains_key("type") { Ok(body.to_vec()) } else { Err(Error::missing_field("type")) }
    }
}

/// `GET /_matrix/client/v3/login` (client-server API, "Login")
pub async fn get_login_types(
    _homeserver: &Rc<Homeserver>,
    _: (),
    _request: get_login_types::v3::Request,
) -> Result<get_login_types::v3::Response, ApiError> {
    let mut token = TokenLoginType::new();
    token.get_login_token = true;
    let flows = vec![LoginType::Password(PasswordLoginType::new()), LoginType::Token(token)];
    Ok(get_login_types::v3::Response::new(flows))
}

/// `POST /_matrix/client/v3/login` (client-server API, "Login")
pub async fn login(
    homeserver: &Rc<Homeserver>,
    _: (),
    request: Reshaped<login::v3::Request, WithLoginType>,
) -> Result<login::v3::Response, ApiError> {
    let request = request.request;
    let device = NewDevice {
        device_id: request.device_id,
        display_name: request.initial_device_display_name,
        refreshable: request.refresh_token,
    };
    let (user_id, login) = match request.login_info {
        LoginInfo::Password(given) => {
            // An unknown user is refused by the same path and at the same cost as a wrong password.
            let user_id = user_of(homeserver, &given)?;
            let login = accounts::log_in_with_password(homeserver, &user_id, given.password, device).await?;
            (user_id, login)
        }
        LoginInfo::Token(given) => accounts::log_in_with_token(homeserver, &given.token, device).await?,
        other => return Err(ApiError::unsupported(format!("There is no login of the type {}.", other.login_type()))),
    };
    let mut response = login::v3::Response::new(user_id, login.tokens.access_token, login.device_id);
    response.expires_in = login.tokens.refresh_token.as_ref().map(|_| TOKEN_LIFETIME);
    response.refresh_token = login.tokens.refresh_token;
    let base_url = homeserver.options.client_base_url.clone();
    response.well_known = base_url.map(|base_url| DiscoveryInfo::new(HomeserverInfo::new(base_url)));
    Ok(response)
}

/// Whom a password login names, in the present form or in the one before r0.4.0.
#[allow(deprecated)]
fn user_of(homeserver: &Homeserver, given: &Password) -> Result<ruma::OwnedUserId, ApiError> {
    let user_id = match (&given.identifier, &given.user) {
        (Some(identifier), _) => uiaa::user_of(homeserver, identifier),
        (None, Some(user)) => uiaa::local_user(homeserver, user),
        (None, None) => return Err(ApiError::missing_param("missing field `identifier`")),
    };
    Ok(user_id.ok_or(LoginError::Refused)?)
}

/// `POST /_matrix/client/v1/login/get_token` (client-server API, "Login")
pub async fn get_login_token(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_login_token::v1::Request,
) -> Result<get_login_token::v1::Response, ApiError> {
    uiaa::confirm(homeserver, &session, "get_login_token", request.auth.as_ref()).await?;
    let token = accounts::issue_login_token(homeserver, &session).await?;
    Ok(get_login_token::v1::Response::new(Duration::from_millis(LOGIN_TOKEN_LIFETIME_MS), token))
}

/// `POST /_matrix/client/v3/refresh` (client-server API, "Refreshing access tokens")
pub async fn refresh_token(
    homeserver: &Rc<Homeserver>,
    _: (),
    request: refresh_token::v3::Request,
) -> Result<refresh_token::v3::Response, ApiError> {
    let issued = tokens::refresh(homeserver, &request.refresh_token).await?;
    let mut response = refresh_token::v3::Response::new(issued.access_token);
    response.refresh_token = issued.refresh_token;
    response.expires_in_ms = Some(TOKEN_LIFETIME);
    Ok(response)
}

/// `POST /_matrix/client/v3/logout` (client-server API, "Login")
pub async fn logout(
    homeserver: &Rc<Homeserver>,
    session: Session,
    _request: logout::v3::Request,
) -> Result<logout::v3::Response, ApiError> {
    devices::log_out(homeserver, &session.user_id, &[session.device_id]).await?;
    Ok(logout::v3::Response::new())
}

/// `POST /_matrix/client/v3/logout/all` (client-server API, "Login")
pub async fn logout_all(
    homeserver: &Rc<Homeserver>,
    session: Session,
    _request: logout_all::v3::Request,
) -> Result<logout_all::v3::Response, ApiError> {
    devices::log_out_all(homeserver, &session.user_id).await?;
    Ok(logout_all::v3::Response::new())
}
