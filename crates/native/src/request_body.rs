//! The body of a client's request, read whole and within limits.
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use ruma::api::error::ErrorKind;
use warren::api::{ApiError, CLIENT_BODY_MAX_BYTES};

/// The next part of a body must come within this.
const STALL_MAX: Duration = Duration::from_secs(30);

/// The whole body, or so much of it that the homeserver sees that it is too large.
pub async fn read(mut body: Incoming) -> Result<Bytes, ApiError> {
    let mut whole = BytesMut::new();
    while whole.len() <= CLIENT_BODY_MAX_BYTES {
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
