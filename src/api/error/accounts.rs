//! Accounts, devices and passwords.
use std::time::Duration;

use http::StatusCode;
use ruma::api::error::{ErrorKind, LimitExceededErrorData, RetryAfter};

use super::ApiError;
use crate::homeserver::{
    accounts::{LoginError, RegisterError, UsernameError},
    administration::AdministrationError,
    devices::DeviceError,
    guests::GuestError,
    openid::OpenIdError,
    passwords::{PasswordError, TooManyFailures},
    registration_tokens::{RegistrationTokenError, ValidityError},
    server_notices::NoticeError,
    sessions::TokenError,
    tokens::RefreshError,
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
        too_many(error.retry_after_ms, error.to_string())
    }
}

impl From<ValidityError> for ApiError {
    fn from(error: ValidityError) -> Self {
        let message = error.to_string();
        match error {
            ValidityError::TooManyGuesses { retry_after_ms } => too_many(retry_after_ms, message),
            ValidityError::Store(error) => error.into(),
        }
    }
}

fn too_many(retry_after_ms: u64, message: String) -> ApiError {
    let mut data = LimitExceededErrorData::new();
    data.retry_after = Some(RetryAfter::Delay(Duration::from_secs(retry_after_ms.div_ceil(1000))));
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, ErrorKind::LimitExceeded(data), message)
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Unknown => Self::unknown_token(),
            TokenError::Expired => Self::soft_logged_out(),
            TokenError::Store(error) => error.into(),
        }
    }
}

impl From<RefreshError> for ApiError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Unknown => Self::unknown_token(),
            RefreshError::Locked => Self::locked(),
            RefreshError::Store(error) => error.into(),
        }
    }
}

impl From<OpenIdError> for ApiError {
    fn from(error: OpenIdError) -> Self {
        match error {
            OpenIdError::Unknown => Self::unknown_token(),
            OpenIdError::Store(error) => error.into(),
        }
    }
}

impl From<AdministrationError> for ApiError {
    fn from(error: AdministrationError) -> Self {
        let message = error.to_string();
        match error {
            AdministrationError::NotAdmin | AdministrationError::Untouchable => Self::forbidden(message),
            AdministrationError::NotLocal => Self::invalid_param(message),
            AdministrationError::NoUser => Self::not_found(message),
            AdministrationError::Store(error) => error.into(),
        }
    }
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        let message = error.to_string();
        match error {
            RegisterError::Username(error) => error.into(),
            RegisterError::Password(error) => error.into(),
            RegisterError::Device(error) => error.into(),
            RegisterError::Token => Self::unauthorized(message),
            RegisterError::NotThatGuest => Self::forbidden(message),
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
            LoginError::Locked => Self::locked(),
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

impl From<GuestError> for ApiError {
    fn from(error: GuestError) -> Self {
        match error {
            GuestError::Forbidden => Self::guest_access_forbidden(error.to_string()),
            GuestError::Store(error) => error.into(),
        }
    }
}

impl From<RegistrationTokenError> for ApiError {
    fn from(error: RegistrationTokenError) -> Self {
        let message = error.to_string();
        match error {
            RegistrationTokenError::Malformed
            | RegistrationTokenError::ExpiresInThePast
            | RegistrationTokenError::InUse => Self::invalid_param(message),
            RegistrationTokenError::TooMany => Self::forbidden(message),
            RegistrationTokenError::NotFound => Self::not_found(message),
            RegistrationTokenError::Store(error) => error.into(),
        }
    }
}

impl From<NoticeError> for ApiError {
    fn from(error: NoticeError) -> Self {
        match error {
            NoticeError::Administration(error) => error.into(),
            NoticeError::Create(error) => error.into(),
            NoticeError::Invite(error) => error.into(),
            NoticeError::Send(error) => error.into(),
            NoticeError::Tag(error) => error.into(),
            NoticeError::Store(error) => error.into(),
        }
    }
}
