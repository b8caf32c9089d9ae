//! Registering an account and asking whose it is.
use std::rc::Rc;

use ruma::api::client::account::{
    get_username_availability,
    register::{self, RegistrationKind},
    whoami,
};

use crate::{
    api::{ApiError, uiaa},
    homeserver::{
        Homeserver, Registration,
        accounts::{self, NewAccount},
        devices::NewDevice,
        sessions::Session,
    },
};

/// `POST /_matrix/client/v3/register` (client-server API, "Account registration")
pub async fn register(
    homeserver: &Rc<Homeserver>,
    _: (),
    request: register::v3::Request,
) -> Result<register::v3::Response, ApiError> {
    match request.kind {
        RegistrationKind::User => {}
        RegistrationKind::Guest => return Err(ApiError::guest_access_forbidden()),
        _ => return Err(ApiError::invalid_param("`kind` is neither `user` nor `guest`.")),
    }
    if homeserver.options.registration == Registration::Closed {
        return Err(ApiError::forbidden(
            "Registration is closed on this homeserver: ask whoever runs it for an account.",
        ));
    }
    if let Some(login_type) = request.login_type {
        return Err(ApiError::unsupported(format!("There is no registration of the type {login_type}.")));
    }
    let device = NewDevice { device_id: request.device_id, display_name: request.initial_device_display_name };
    let device = (!request.inhibit_login).then_some(device);
    let new = NewAccount { username: request.username, password: request.password, device };
    accounts::check_new(homeserver, &new).await?;
    uiaa::dummy(homeserver, request.auth.as_ref())?;
    let (user_id, login) = accounts::register(homeserver, new).await?;
    let mut response = register::v3::Response::new(user_id);
    if let Some(login) = login {
        response.access_token = Some(login.access_token);
        response.device_id = Some(login.device_id);
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

/// `GET /_matrix/client/v3/account/whoami` (client-server API, "Current account information")
pub async fn whoami(
    _homeserver: &Rc<Homeserver>,
    session: Session,
    _request: whoami::v3::Request,
) -> Result<whoami::v3::Response, ApiError> {
    let mut response = whoami::v3::Response::new(session.user_id, false);
    response.device_id = Some(session.device_id);
    Ok(response)
}
