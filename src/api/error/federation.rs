//! What only other servers ask.
use super::ApiError;
use crate::homeserver::key_ring::notary::NotaryError;

impl From<NotaryError> for ApiError {
    fn from(error: NotaryError) -> Self {
        match error {
            NotaryError::Store(error) => error.into(),
            NotaryError::TooMany => Self::too_large(error.to_string()),
        }
    }
}
