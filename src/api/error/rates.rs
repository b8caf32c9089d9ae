//! Asking too often.
use std::time::Duration;

use http::StatusCode;
use ruma::api::error::{ErrorKind, LimitExceededErrorData, RetryAfter};

use super::ApiError;
use crate::domain::rate_limit::Exhausted;

impl From<Exhausted> for ApiError {
    /// Whole seconds, as the header has no others: not earlier than there is room again.
    fn from(Exhausted { retry_after_ms }: Exhausted) -> Self {
        let seconds = retry_after_ms.div_ceil(1000);
        let mut data = LimitExceededErrorData::new();
        data.retry_after = Some(RetryAfter::Delay(Duration::from_secs(seconds)));
        let message = format!("Too many requests: ask again in {seconds} s.");
        Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorKind::LimitExceeded(data), message)
    }
}
