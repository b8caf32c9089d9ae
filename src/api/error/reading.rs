//! Syncing, reading rooms, and what is told in passing: typing and receipts.
use super::ApiError;
use crate::{
    domain::sync_token::TokenError,
    homeserver::{
        edus::{receipt::ReceiptError, typing::TypingError},
        room_view::ReadError,
        snapshots::FollowError,
        sync::SyncError,
    },
};

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        Self::invalid_param(error.to_string())
    }
}

impl From<SyncError> for ApiError {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Store(error) => error.into(),
            SyncError::LoggedOut => Self::unknown_token(),
            SyncError::UnknownSince => Self::invalid_param(error.to_string()),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        match error {
            ReadError::Store(error) => error.into(),
            ReadError::NotInRoom => Self::forbidden(message),
            ReadError::NoSuchEvent | ReadError::NoSuchState => Self::not_found(message),
        }
    }
}

impl From<FollowError> for ApiError {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Read(error) => error.into(),
            FollowError::LoggedOut => Self::unknown_token(),
            FollowError::UnknownFrom => Self::invalid_param(error.to_string()),
        }
    }
}

impl From<TypingError> for ApiError {
    fn from(error: TypingError) -> Self {
        match error {
            TypingError::Store(error) => error.into(),
            TypingError::NotInRoom => Self::forbidden(error.to_string()),
        }
    }
}

impl From<ReceiptError> for ApiError {
    fn from(error: ReceiptError) -> Self {
        let message = error.to_string();
        match error {
            ReceiptError::Store(error) => error.into(),
            ReceiptError::NotInRoom => Self::forbidden(message),
            ReceiptError::NoSuchEvent | ReceiptError::BadThread | ReceiptError::NotInThread => {
                Self::invalid_param(message)
            }
        }
    }
}
