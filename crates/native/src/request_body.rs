//! The body of a request, read whole and within limits.
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use ruma::api::error::ErrorKind;
use warren::api::ApiError;

/// The next part of a body must come within this.
const STALL_MAX: Duration = Duration::from_secs(30);

/// All of it comes within this, however it is spread.
const WHOLE_MAX: Duration = Duration::from_secs(300);

/// The whole body, or so much of it that the homeserver sees that it has more than `max_bytes`.
pub async fn read(body: Incoming, max_bytes: usize) -> Result<Bytes, ApiError> {
    tokio::time::timeout(WHOLE_MAX, read_all(body, max_bytes)).await.unwrap_or_else(|_| Err(stalled()))
}

async fn read_all(mut body: Incoming, max_bytes: usize) -> Result<Bytes, ApiError> {
    let mut whole = BytesMut::new();
    while whole.len() <= max_bytes {
        let frame = tokio::time::timeout(STALL_MAX, body.frame()).await.map_err(|_| stalled())?;
        match frame {
            None => break,
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    whole.extend_from_slice(&data);
                }
            }
            Some(Err(error)) => {
                return Err(ApiError::bad_json(format!("The request's body did not arrive: {error}.")));
            }
        }
    }
    Ok(whole.freeze())
}

fn stalled() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, ErrorKind::Unknown, "The rest of the request's body did not come.")
}
