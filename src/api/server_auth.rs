//! Who asks, of a federation request: the X-Matrix signature, by the key that the connection was authenticated with.
use std::rc::Rc;

use ruma::{
    OwnedServerName,
    api::{
        auth_scheme::AuthScheme,
        federation::authentication::{ServerSignatures, XMatrixExtractError},
    },
};

use super::{ApiError, Origin, Request, router::Authenticate, standing::Access};
use crate::{
    domain::{identity::PublicKey, signed_request},
    homeserver::Homeserver,
};

impl Authenticate for ServerSignatures {
    type Principal = OwnedServerName;

    /// The origin must be a name that the peer's own key certifies, and the request must be signed with it for us.
    async fn authenticate(
        homeserver: &Rc<Homeserver>,
        request: &Request,
        origin: Origin,
        _access: Access,
    ) -> Result<OwnedServerName, ApiError> {
        let Origin::Peer(peer) = origin else {
            return Err(ApiError::unauthorized("Only other homeservers may ask this."));
        };
        let x_matrix = Self::extract_authentication(request).map_err(|error| match error {
            XMatrixExtractError::MissingAuthorizationHeader => ApiError::unauthorized("The request is not signed."),
            error => ApiError::unauthorized(format!("The X-Matrix header cannot be read: {error}.")),
        })?;
        if PublicKey::of_server_name(&x_matrix.origin) != Some(peer) {
            return Err(ApiError::unauthorized(format!("You are not {}.", x_matrix.origin)));
        }
        if x_matrix.destination.is_none() {
            return Err(ApiError::unauthorized("The X-Matrix header names no destination."));
        }
        signed_request::verify(&x_matrix, request, homeserver.server_name(), &peer.public_key_map(&x_matrix.origin))
            .map_err(|error| ApiError::unauthorized(format!("The signature does not hold: {error}.")))?;
        Ok(x_matrix.origin)
    }
}
