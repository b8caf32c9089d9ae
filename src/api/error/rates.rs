//! Asking too often.
use std::time::Duration;

use http::{StatusCode, header::RETRY_AFTER};
use ruma::api::error::{ErrorKind, LimitExceededErrorData, RetryAfter};
use serde_json::json;

use super::ApiError;
use crate::{domain::rate_limit::Exhausted, homeserver::peers::Busy};

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

impl ApiError {
    /// 429 `M_LIMIT_EXCEEDED` of a server that has no time now: with who may do the same, in a field that others ignore
    /// (docs/protocol.md).
    pub fn busy(busy: &Busy, message: String) -> Self {
        let seconds = busy.retry_after_ms.div_ceil(1000);
        let mut body = json!({ "errcode": "M_LIMIT_EXCEEDED", "error": message, "retry_after_ms": seconds * 1000 });
        if !busy.others.is_empty() {
            body["org.warren.others"] = json!(busy.others);
        }
        Self::json(StatusCode::TOO_MANY_REQUESTS, body).with_header(RETRY_AFTER, seconds.into())
    }
}
