//! Who asks, of a client's request: the access token in the header, or in the query as older clients send it.
use std::rc::Rc;

use http::header;
use ruma::api::auth_scheme::{
    AccessToken, AccessTokenOptional, AppserviceTokenOptional, AuthScheme, ExtractTokenError, NoAccessToken,
    NoAuthentication,
};

use super::{ApiError, ClientAddress, Origin, Request, router::Authenticate, standing::Access};
use crate::homeserver::{
    Homeserver,
    sessions::{self, Caller, Session},
};

const REQUEST_ID_HEADER: &str = "warren-request-id";
const REQUEST_ID_MAX_BYTES: usize = 64;

impl Authenticate for NoAuthentication {
    type Principal = ();

    async fn authenticate(
        _homeserver: &Rc<Homeserver>,
        _request: &Request,
        _origin: Origin,
        _access: Access,
    ) -> Result<(), ApiError> {
        Ok(())
    }
}

impl Authenticate for NoAccessToken {
    type Principal = ();

    async fn authenticate(
        _homeserver: &Rc<Homeserver>,
        _request: &Request,
        _origin: Origin,
        _access: Access,
    ) -> Result<(), ApiError> {
        Ok(())
    }
}

/// Application services have no tokens here yet, and clients send none where only those do.
impl Authenticate for AppserviceTokenOptional {
    type Principal = ();

    async fn authenticate(
        _homeserver: &Rc<Homeserver>,
        _request: &Request,
        _origin: Origin,
        _access: Access,
    ) -> Result<(), ApiError> {
        Ok(())
    }
}

impl Authenticate for AccessToken {
    type Principal = Session;

    async fn authenticate(
        homeserver: &Rc<Homeserver>,
        request: &Request,
        _origin: Origin,
        access: Access,
    ) -> Result<Session, ApiError> {
        let token = Self::extract_authentication(request).map_err(unreadable)?;
        let session = session_of(homeserver, request, &token, access).await?;
        Ok(Session { request_id: request_id(request), ..session })
    }

    fn session(session: &Session) -> Option<&Session> {
        Some(session)
    }
}

impl Authenticate for AccessTokenOptional {
    type Principal = Option<Session>;

    async fn authenticate(
        homeserver: &Rc<Homeserver>,
        request: &Request,
        _origin: Origin,
        access: Access,
    ) -> Result<Option<Session>, ApiError> {
        match Self::extract_authentication(request).map_err(unreadable)? {
            Some(token) => session_of(homeserver, request, &token, access).await.map(Some),
            None => Ok(None),
        }
    }

    fn session(session: &Option<Session>) -> Option<&Session> {
        session.as_ref()
    }
}

async fn session_of(
    homeserver: &Rc<Homeserver>,
    request: &Request,
    token: &str,
    access: Access,
) -> Result<Session, ApiError> {
    let user_agent = request.headers().get(header::USER_AGENT).and_then(|name| name.to_str().ok());
    let address = request.extensions().get::<ClientAddress>().map(|address| address.0);
    let session = sessions::session_of_token(homeserver, token, Caller { user_agent, address }).await?;
    access.check(session.standing)?;
    Ok(session)
}

fn unreadable(error: ExtractTokenError) -> ApiError {
    match error {
        ExtractTokenError::FromHeader(_) => ApiError::unknown_token(),
        // No token, or something in its place that is not one; the enum is ruma's and open.
        _ => ApiError::missing_token(),
    }
}

/// The header by which the page names one deliberate request (docs/protocol.md). What does not look like such a name is
/// none.
fn request_id(request: &Request) -> Option<String> {
    let id = request.headers().get(REQUEST_ID_HEADER)?.to_str().ok()?;
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!id.is_empty() && id.len() <= REQUEST_ID_MAX_BYTES && id.bytes().all(valid)).then(|| id.to_owned())
}
