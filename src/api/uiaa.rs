//! User-interactive authentication: asking again, in the same request, for proof that the user is there
//! (client-server API, "User-Interactive Authentication API").
use std::collections::BTreeMap;

use http::StatusCode;
use ruma::{
    OwnedUserId, UserId,
    api::{
        client::uiaa::{
            AuthData, AuthFlow, AuthType, LoginTermsParams, Password, PolicyDefinition, PolicyTranslation, UiaaInfo,
            UserIdentifier,
        },
        error::{ErrorKind, StandardErrorBody},
    },
};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

use super::ApiError;
use crate::homeserver::{
    Homeserver, Registration, Terms,
    accounts::{self, LoginError},
    auth_sessions::{Found, Progress, Purpose},
    registration_tokens,
    sessions::Session,
};

/// The name under which terms are listed; there is one document.
const TERMS_ID: &str = "terms_of_service";

/// Lets pass who may make an account; answers the registration token that it is to be counted against.
pub async fn registration(homeserver: &Homeserver, auth: Option<&AuthData>) -> Result<Option<String>, ApiError> {
    let mut flow = match homeserver.options.registration {
        Registration::Open => vec![AuthType::Dummy],
        Registration::ByToken => vec![AuthType::RegistrationToken],
        Registration::Closed => return Err(ApiError::registration_closed()),
    };
    if homeserver.options.terms.is_some() {
        // Without terms to read, agreeing to nothing is what the dummy stage is for.
        flow.retain(|stage| *stage != AuthType::Dummy);
        flow.push(AuthType::Terms);
    }
    let authentication = Authentication { homeserver, purpose: Purpose { operation: "register", user_id: None }, flow };
    Ok(authentication.check(auth).await?.registration_token)
}

/// Lets pass who is logged in and knows the account's password, if it has one.
pub async fn confirm(
    homeserver: &Homeserver,
    session: &Session,
    operation: &'static str,
    auth: Option<&AuthData>,
) -> Result<(), ApiError> {
    let has_password = accounts::has_password(homeserver, &session.user_id).await? == Some(true);
    let stage = if has_password { AuthType::Password } else { AuthType::Dummy };
    let purpose = Purpose { operation, user_id: Some(session.user_id.clone()) };
    let authentication = Authentication { homeserver, purpose, flow: vec![stage] };
    authentication.check(auth).await.map(drop)
}

/// Lets pass who knows the password of an account, logged in or not; answers whose account it is.
pub async fn confirm_owner(
    homeserver: &Homeserver,
    session: Option<&Session>,
    operation: &'static str,
    auth: Option<&AuthData>,
) -> Result<OwnedUserId, ApiError> {
    if let Some(session) = session {
        confirm(homeserver, session, operation, auth).await?;
        return Ok(session.user_id.clone());
    }
    let purpose = Purpose { operation, user_id: None };
    let authentication = Authentication { homeserver, purpose, flow: vec![AuthType::Password] };
    let progress = authentication.check(auth).await?;
    progress.user_id.ok_or_else(|| ApiError::internal("a password was right, but whose it is is not known"))
}

/// Completes a stage of a session on behalf of a client that cannot: `auth` names both (client-server API, "Fallback").
pub async fn complete_elsewhere(homeserver: &Homeserver, auth: &AuthData) -> Result<(), ApiError> {
    let now_ms = homeserver.environment.clock.now_ms();
    let over = || ApiError::not_found("This authentication is over: go back to where you came from and begin again.");
    let id = auth.session().ok_or_else(over)?;
    let (purpose, flow, mut progress) = homeserver.auth_sessions.open(id, now_ms).ok_or_else(over)?;
    let authentication = Authentication { homeserver, purpose, flow };
    if let Err(Refusal { kind, message }) = authentication.complete(auth, &mut progress).await? {
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, kind, message));
    }
    let Authentication { purpose, flow, .. } = authentication;
    homeserver.auth_sessions.keep(homeserver, Some(id), purpose, flow, progress);
    Ok(())
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

/// One request that must be authenticated, by all stages of the one flow that is offered.
struct Authentication<'a> {
    homeserver: &'a Homeserver,
    purpose: Purpose,
    flow: Vec<AuthType>,
}

/// Why a stage is not completed.
struct Refusal {
    kind: ErrorKind,
    message: String,
}

impl Refusal {
    fn forbidden(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Forbidden, message: message.into() }
    }
}

impl Authentication<'_> {
    /// What was shown, once every stage is completed; until then 401 with what is left.
    async fn check(self, auth: Option<&AuthData>) -> Result<Progress, ApiError> {
        let now_ms = self.homeserver.environment.clock.now_ms();
        let sessions = &self.homeserver.auth_sessions;
        let mut id = auth.and_then(AuthData::session);
        let mut progress = match id.map_or(Found::None, |id| sessions.find(id, &self.purpose, now_ms)) {
            Found::Ours(progress) => progress,
            Found::Other => {
                return Err(ApiError::forbidden("This authentication session was begun for another request."));
            }
            // One that is over is begun anew: most clients can do nothing with an error here.
            Found::None => {
                id = None;
                Progress::default()
            }
        };
        let refusal = match auth {
            Some(auth) => self.complete(auth, &mut progress).await?.err(),
            None => None,
        };
        if self.flow.iter().all(|stage| progress.completed.contains(stage)) {
            if let Some(id) = id {
                sessions.end(id);
            }
            return Ok(progress);
        }
        let mut info = UiaaInfo::new(vec![AuthFlow::new(self.flow.clone())]);
        info.completed.clone_from(&progress.completed);
        info.params = Some(self.params()?);
        info.auth_error = refusal.map(|refusal| Box::new(StandardErrorBody::new(refusal.kind, refusal.message)));
        info.session = Some(sessions.keep(self.homeserver, id, self.purpose, self.flow, progress));
        Err(ApiError::interactive(info))
    }

    /// Looks at one stage. The outer error ends the request.
    async fn complete(&self, auth: &AuthData, progress: &mut Progress) -> Result<Result<(), Refusal>, ApiError> {
        // Without a type the client asks how far it has come.
        let Some(stage) = auth.auth_type() else { return Ok(Ok(())) };
        if !self.flow.contains(&stage) {
            return Ok(Err(Refusal::forbidden(format!("{stage} is not offered here."))));
        }
        let outcome = match auth {
            AuthData::Password(given) => self.password(given).await?.map(|user_id| progress.user_id = Some(user_id)),
            AuthData::RegistrationToken(given) => {
                let valid = registration_tokens::is_valid(self.homeserver, &given.token).await?;
                let refusal = || Refusal {
                    kind: ErrorKind::Unauthorized,
                    message: "The registration token is not good, or not any more.".to_owned(),
                };
                valid.then(|| progress.registration_token = Some(given.token.clone())).ok_or_else(refusal)
            }
            // Whoever sends these has completed them.
            _ => Ok(()),
        };
        if outcome.is_ok() && !progress.completed.contains(&stage) {
            progress.completed.push(stage);
        }
        Ok(outcome)
    }

    /// Whose password it is.
    async fn password(&self, given: &Password) -> Result<Result<OwnedUserId, Refusal>, ApiError> {
        let user_id = user_of(self.homeserver, &given.identifier);
        let other = |user_id: &OwnedUserId| self.purpose.user_id.as_ref().is_some_and(|asking| asking != user_id);
        let user_id = match user_id {
            Some(user_id) if !other(&user_id) => user_id,
            _ if self.purpose.user_id.is_some() => {
                return Ok(Err(Refusal::forbidden("That is not the user who is logged in.")));
            }
            _ => return Ok(Err(Refusal::forbidden("Wrong username or password."))),
        };
        match accounts::check_password(self.homeserver, &user_id, given.password.clone()).await {
            Ok(()) => Ok(Ok(user_id)),
            Err(LoginError::Refused) if self.purpose.user_id.is_none() => {
                Ok(Err(Refusal::forbidden("Wrong username or password.")))
            }
            Err(LoginError::Refused) => Ok(Err(Refusal::forbidden("The password is wrong."))),
            Err(error) => Err(error.into()),
        }
    }

    /// What clients need to know of stages: optional by the specification, and read by matrix-nio.
    fn params(&self) -> Result<Box<RawValue>, ApiError> {
        let terms = self.homeserver.options.terms.as_ref().filter(|_| self.flow.contains(&AuthType::Terms));
        let params = terms.map_or_else(|| json!({}), |terms| json!({ "m.login.terms": terms_params(terms) }));
        to_raw_value(&params).map_err(|error| ApiError::internal(&format!("terms: {error}")))
    }
}

fn terms_params(terms: &Terms) -> LoginTermsParams {
    let text = PolicyTranslation::new("Terms of Service".to_owned(), terms.url.clone());
    let policy = PolicyDefinition::new(terms.version.clone(), BTreeMap::from([("en".to_owned(), text)]));
    LoginTermsParams::new(BTreeMap::from([(TERMS_ID.to_owned(), policy)]))
}
