//! User-interactive authentication: asking again, in the same request, for proof that the user is there.
//!
//! Every flow offered here has one stage, so the request that completes a stage completes the authentication and the
//! session id binds nothing: none is remembered, and a restart between challenge and answer harms nobody.
use ruma::{
    OwnedUserId, UserId,
    api::{
        client::uiaa::{AuthData, AuthFlow, AuthType, Password, UiaaInfo, UserIdentifier},
        error::{ErrorKind, StandardErrorBody},
    },
};

use serde_json::value::RawValue;

use super::ApiError;
use crate::homeserver::{
    Homeserver,
    accounts::{self, LoginError},
    sessions::{self, Session},
};

/// Lets anybody pass who says that they mean it: for registration, and for accounts that have no password.
pub fn dummy(homeserver: &Homeserver, auth: Option<&AuthData>) -> Result<(), ApiError> {
    match auth {
        Some(AuthData::Dummy(_)) => Ok(()),
        auth => Err(challenge(homeserver, AuthType::Dummy, auth)),
    }
}

/// Lets pass who is logged in and knows the account's password, if it has one.
pub async fn confirm(homeserver: &Homeserver, session: &Session, auth: Option<&AuthData>) -> Result<(), ApiError> {
    if accounts::has_password(homeserver, &session.user_id).await? != Some(true) {
        return dummy(homeserver, auth);
    }
    match auth {
        Some(AuthData::Password(given)) => password(homeserver, session, given).await,
        auth => Err(challenge(homeserver, AuthType::Password, auth)),
    }
}

async fn password(homeserver: &Homeserver, session: &Session, given: &Password) -> Result<(), ApiError> {
    let refusal = if user_of(homeserver, &given.identifier).as_ref() != Some(&session.user_id) {
        "That is not the user who is logged in."
    } else {
        match accounts::check_password(homeserver, &session.user_id, given.password.clone()).await {
            Ok(()) => return Ok(()),
            Err(LoginError::Refused) => "The password is wrong.",
            Err(error) => return Err(error.into()),
        }
    };
    let mut info = info(homeserver, AuthType::Password, given.session.as_deref());
    info.auth_error = Some(Box::new(StandardErrorBody::new(ErrorKind::Forbidden, refusal.to_owned())));
    Err(ApiError::interactive(info))
}

/// The user whom an identifier names, if it is one of this server (by full id or localpart). Nobody here has any other
/// kind of identifier.
pub fn user_of(homeserver: &Homeserver, identifier: &UserIdentifier) -> Option<OwnedUserId> {
    match identifier {
        UserIdentifier::Matrix(matrix) => local_user(homeserver, &matrix.user),
        // Mail addresses and telephone numbers; the enum is ruma's and open.
        _ => None,
    }
}

/// The user of this server with this id or localpart.
pub fn local_user(homeserver: &Homeserver, user: &str) -> Option<OwnedUserId> {
    let user_id = UserId::parse_with_server_name(user, homeserver.server_name()).ok()?;
    (user_id.server_name() == homeserver.server_name()).then_some(user_id)
}

/// 401: says what the one stage is, and why what came instead will not do.
fn challenge(homeserver: &Homeserver, stage: AuthType, auth: Option<&AuthData>) -> ApiError {
    let mut info = info(homeserver, stage, auth.and_then(AuthData::session));
    if let Some(other) = auth.and_then(AuthData::auth_type) {
        let message = format!("{other} is not offered here.");
        info.auth_error = Some(Box::new(StandardErrorBody::new(ErrorKind::Forbidden, message)));
    }
    ApiError::interactive(info)
}

fn info(homeserver: &Homeserver, stage: AuthType, session: Option<&str>) -> UiaaInfo {
    let mut info = UiaaInfo::new(vec![AuthFlow::new(vec![stage])]);
    let made = || sessions::random_token(&*homeserver.environment.entropy);
    info.session = Some(session.map_or_else(made, str::to_owned));
    // Optional by the specification, and read by matrix-nio.
    info.params = RawValue::from_string("{}".to_owned()).ok();
    info
}
