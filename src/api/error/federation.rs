//! What only other servers ask.
use super::ApiError;
use crate::homeserver::{key_ring::notary::NotaryError, rooms::third_party_invites::ThirdPartyInviteError};

impl From<NotaryError> for ApiError {
    fn from(error: NotaryError) -> Self {
        match error {
            NotaryError::Store(error) => error.into(),
            NotaryError::TooMany => Self::too_large(error.to_string()),
        }
    }
}

impl From<ThirdPartyInviteError> for ApiError {
    fn from(error: ThirdPartyInviteError) -> Self {
        let message = error.to_string();
        match error {
            ThirdPartyInviteError::Store(error) => error.into(),
            ThirdPartyInviteError::Invite(error) => error.into(),
            ThirdPartyInviteError::Peer(error) => error.into(),
            ThirdPartyInviteError::NotInRoom | ThirdPartyInviteError::NoSuchUser(_) => Self::not_found(message),
            ThirdPartyInviteError::Forbidden(_) => Self::forbidden(message),
            ThirdPartyInviteError::Invalid(_) => Self::invalid_param(message),
            ThirdPartyInviteError::TooMany => Self::too_large(message),
        }
    }
}
