//! Accounts, devices and passwords.
use std::time::Duration;

use http::StatusCode;
use ruma::api::error::{ErrorKind, LimitExceededErrorData, RetryAfter};

use super::ApiError;
use crate::homeserver::{
    accounts::{LoginError, RegisterError, UsernameError},
    devices::DeviceError,
    passwords::{PasswordError, TooManyFailures},
};

impl From<UsernameError> for ApiError {
    fn from(error: UsernameError) -> Self {
        let message = error.to_string();
        match error {
            UsernameError::Invalid => Self::new(StatusCode::BAD_REQUEST, ErrorKind::InvalidUsername, message),
            UsernameError::InUse => Self::new(StatusCode::BAD_REQUEST, ErrorKind::UserInUse, message),
            UsernameError::Store(error) => error.into(),
        }
    }
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        let message = error.to_string();
        match error {
            PasswordError::Empty => Self::new(StatusCode::BAD_REQUEST, ErrorKind::WeakPassword, message),
            PasswordError::TooLong => Self::too_large(message),
        }
    }
}

impl From<TooManyFailures> for ApiError {
    fn from(error: TooManyFailures) -> Self {
        let mut data = LimitExceededErrorData::new();
        data.retry_after = Some(RetryAfter::Delay(Duration::from_secs(error.retry_after_ms.div_ceil(1000))));
        Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorKind::LimitExceeded(data), error.to_string())
    }
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Username(error) => error.into(),
            RegisterError::Password(error) => error.into(),
            RegisterError::Device(error) => error.into(),
            RegisterError::Store(error) => error.into(),
        }
    }
}

impl From<LoginError> for ApiError {
    fn from(error: LoginError) -> Self {
        let message = error.to_string();
        match error {
            LoginError::Refused => Self::forbidden(message),
            LoginError::Deactivated => Self::new(StatusCode::FORBIDDEN, ErrorKind::UserDeactivated, message),
            LoginError::TooManyFailures(error) => error.into(),
            LoginError::Device(error) => error.into(),
            LoginError::Store(error) => error.into(),
        }
    }
}

impl From<DeviceError> for ApiError {
    fn from(error: DeviceError) -> Self {
        let message = error.to_string();
        match error {
            DeviceError::BadId => Self::invalid_param(message),
            DeviceError::DisplayNameTooLong => Self::too_large(message),
            DeviceError::TooMany => Self::forbidden(message),
            DeviceError::NotFound => Self::not_found(message),
            DeviceError::Store(error) => error.into(),
        }
    }
}
