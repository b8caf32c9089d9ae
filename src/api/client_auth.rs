//! Who asks, of a client's request: the access token in the header, or in the query as older clients send it.
use std::rc::Rc;

use ruma::api::auth_scheme::{
    AccessToken, AccessTokenOptional, AppserviceTokenOptional, AuthScheme, ExtractTokenError, NoAccessToken,
    NoAuthentication,
};

use super::{ApiError, Origin, Request, router::Authenticate};
use crate::homeserver::{
    Homeserver,
    sessions::{self, Session},
};

impl Authenticate for NoAuthentication {
    type Principal = ();

    async fn authenticate(_homeserver: &Rc<Homeserver>, _request: &Request, _origin: Origin) -> Result<(), ApiError> {
        Ok(())
    }
}

impl Authenticate for NoAccessToken {
    type Principal = ();

    async fn authenticate(_homeserver: &Rc<Homeserver>, _request: &Request, _origin: Origin) -> Result<(), ApiError> {
        Ok(())
    }
}

/// Application services have no tokens here yet, and clients send none where only those do.
impl Authenticate for AppserviceTokenOptional {
    type Principal = ();

    async fn authenticate(_homeserver: &Rc<Homeserver>, _request: &Request, _origin: Origin) -> Result<(), ApiError> {
        Ok(())
    }
}

impl Authenticate for AccessToken {
    type Principal = Session;

    async fn authenticate(
        homeserver: &Rc<Homeserver>,
        request: &Request,
        _origin: Origin,
    ) -> Result<Session, ApiError> {
        session_of(homeserver, &Self::extract_authentication(request).map_err(unreadable)?).await
    }
}

impl Authenticate for AccessTokenOptional {
    type Principal = Option<Session>;

    async fn authenticate(
        homeserver: &Rc<Homeserver>,
        request: &Request,
        _origin: Origin,
    ) -> Result<Option<Session>, ApiError> {
        match Self::extract_authentication(request).map_err(unreadable)? {
            Some(token) => session_of(homeserver, &token).await.map(Some),
            None => Ok(None),
        }
    }
}

async fn session_of(homeserver: &Rc<Homeserver>, token: &str) -> Result<Session, ApiError> {
    sessions::session_of_token(homeserver, token).await?.ok_or_else(ApiError::unknown_token)
}

fn unreadable(error: ExtractTokenError) -> ApiError {
    match error {
        ExtractTokenError::FromHeader(_) => ApiError::unknown_token(),
        // No token, or something in its place that is not one; the enum is ruma's and open.
        _ => ApiError::missing_token(),
    }
}
