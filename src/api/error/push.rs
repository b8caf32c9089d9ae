//! Notifications, pushers and presence.
use super::ApiError;
use crate::homeserver::{edus::presence::PresenceError, notifications::NotificationsError, pushers::PusherError};

impl From<NotificationsError> for ApiError {
    fn from(error: NotificationsError) -> Self {
        let message = error.to_string();
        match error {
            NotificationsError::BadToken | NotificationsError::BadFilter | NotificationsError::BadLimit => {
                Self::invalid_param(message)
            }
            NotificationsError::Store(error) => error.into(),
        }
    }
}

impl From<PusherError> for ApiError {
    fn from(error: PusherError) -> Self {
        let message = error.to_string();
        match error {
            PusherError::NotOffered(_) | PusherError::NoGateways | PusherError::BadText(_) | PusherError::BadUrl => {
                Self::invalid_param(message)
            }
            PusherError::DataTooLarge | PusherError::TooMany => Self::too_large(message),
            PusherError::Store(error) => error.into(),
        }
    }
}

impl From<PresenceError> for ApiError {
    fn from(error: PresenceError) -> Self {
        let message = error.to_string();
        match error {
            PresenceError::TurnedOff | PresenceError::NothingShared => Self::forbidden(message),
            PresenceError::MessageTooLong => Self::too_large(message),
            PresenceError::Store(error) => error.into(),
        }
    }
}
