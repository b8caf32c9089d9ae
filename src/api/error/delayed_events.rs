//! Errors of delayed events (MSC4140).
use std::time::Duration;

use http::StatusCode;
use ruma::api::error::{ErrorKind, LimitExceededErrorData, RetryAfter};
use serde_json::json;

use super::ApiError;
use crate::homeserver::delayed_events::{CarryOutError, DELAY_MAX_MS, DelayedError};

impl From<DelayedError> for ApiError {
    fn from(error: DelayedError) -> Self {
        let message = error.to_string();
        match error {
            DelayedError::Store(error) => error.into(),
            DelayedError::BadDelay | DelayedError::BadRedaction => Self::invalid_param(message),
            DelayedError::DelayTooLong => {
                // Under the names the proposal has while it is one, and those it will have.
                let kind = serde_json::from_value::<ErrorKind>(json!({
                    "errcode": "ORG.MATRIX.MSC4140_MAX_DELAY_EXCEEDED",
                    "org.matrix.msc4140.max_delay": DELAY_MAX_MS,
                    "max_delay": DELAY_MAX_MS,
                }));
                Self::new(StatusCode::BAD_REQUEST, kind.unwrap_or(ErrorKind::InvalidParam), message)
            }
            DelayedError::TooMany { retry_after_ms } => {
                let mut data = LimitExceededErrorData::default();
                data.retry_after = Some(RetryAfter::Delay(Duration::from_secs(retry_after_ms.div_ceil(1_000))));
                Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorKind::LimitExceeded(data), message)
            }
            DelayedError::TooLarge => Self::too_large(message),
            DelayedError::NotFound => Self::not_found(message),
            DelayedError::AlreadySent | DelayedError::AlreadyCancelled => {
                Self::new(StatusCode::CONFLICT, ErrorKind::Unknown, message)
            }
            DelayedError::Failed(error) => error.into(),
        }
    }
}

impl From<CarryOutError> for ApiError {
    fn from(error: CarryOutError) -> Self {
        let message = error.to_string();
        match error {
            CarryOutError::Store(error) => error.into(),
            CarryOutError::Send(error) => error.into(),
            CarryOutError::Alias(error) => error.into(),
            CarryOutError::Invite(error) => error.into(),
            CarryOutError::BadRedaction | CarryOutError::BadUser => Self::invalid_param(message),
        }
    }
}
