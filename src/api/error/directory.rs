//! Published rooms, aliases, spaces and finding users.
use http::StatusCode;
use ruma::api::error::ErrorKind;

use super::ApiError;
use crate::homeserver::{
    aliases::AliasError, directory::DirectoryError, mutual_rooms::MutualRoomsError, spaces::SpaceError,
    summaries::SummaryError,
};

impl From<DirectoryError> for ApiError {
    fn from(error: DirectoryError) -> Self {
        let message = error.to_string();
        match error {
            DirectoryError::Store(error) => error.into(),
            DirectoryError::NoSuchRoom => Self::not_found(message),
            DirectoryError::Forbidden | DirectoryError::Full => Self::forbidden(message),
            DirectoryError::UnknownToken(_) => Self::invalid_param(message),
            DirectoryError::Peer(error) => error.into(),
        }
    }
}

impl From<AliasError> for ApiError {
    fn from(error: AliasError) -> Self {
        let message = error.to_string();
        match error {
            AliasError::Store(error) => error.into(),
            AliasError::Foreign(_) | AliasError::Malformed(_) | AliasError::TooMany => Self::invalid_param(message),
            AliasError::Taken(_) => Self::new(StatusCode::CONFLICT, ErrorKind::Unknown, message),
            AliasError::NotFound => Self::not_found(message),
            AliasError::NotInRoom | AliasError::Forbidden => Self::forbidden(message),
            AliasError::Bad(_) | AliasError::Unverified { .. } => {
                Self::new(StatusCode::BAD_REQUEST, ErrorKind::BadAlias, message)
            }
            AliasError::Peer(error) => error.into(),
        }
    }
}

impl From<SpaceError> for ApiError {
    fn from(error: SpaceError) -> Self {
        let message = error.to_string();
        match error {
            SpaceError::Store(error) => error.into(),
            SpaceError::Forbidden => Self::forbidden(message),
            SpaceError::NoLimit | SpaceError::UnknownToken | SpaceError::Changed => Self::invalid_param(message),
        }
    }
}

impl From<SummaryError> for ApiError {
    fn from(error: SummaryError) -> Self {
        match error {
            SummaryError::Store(error) => error.into(),
            SummaryError::NotFound => Self::not_found(error.to_string()),
        }
    }
}

impl From<MutualRoomsError> for ApiError {
    fn from(error: MutualRoomsError) -> Self {
        let message = error.to_string();
        match error {
            MutualRoomsError::Store(error) => error.into(),
            MutualRoomsError::Oneself | MutualRoomsError::BadUserId | MutualRoomsError::UnknownToken => {
                Self::invalid_param(message)
            }
        }
    }
}
