//! One small document of the web by HTTPS, through redirects, all of it bounded.
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use url::Url;

use super::dialer::{DialError, Dialer, Target};

/// Steps from one place to the next; a loop ends here, too.
const REDIRECTS_MAX: usize = 10;
const HEAD_MAX_BYTES: usize = 16 * 1024;
const HEADERS_MAX: usize = 128;
const HTTPS_PORT: u16 = 443;

pub const USER_AGENT: &str = concat!("Warren/", env!("CARGO_PKG_VERSION"));

/// A document, or what was there instead of it.
#[derive(Debug)]
pub struct Document {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum GetError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the answer did not come whole: {0}")]
    Lost(String),
    #[error("it leads from one place to the next without end")]
    TooManyRedirects,
    #[error("it leads to {0:?}, which is no address of HTTPS")]
    Nowhere(String),
    #[error("it is larger than it may be")]
    TooLarge,
}

/// Gets what `url` leads to. Redirects go by HTTPS alone, and each is dialed as `dialer` allows.
pub async fn get(dialer: &Dialer, mut url: Url, max_bytes: usize) -> Result<Document, GetError> {
    for _ in 0..=REDIRECTS_MAX {
        let step = tokio::time::timeout(dialer.step_max, get_once(dialer, &url, max_bytes)).await;
        let document = step.map_err(|_| GetError::Lost(format!("not within {} s", dialer.step_max.as_secs())))??;
        if !is_redirect(document.status) {
            return Ok(document);
        }
        url = next(&url, &document.headers)?;
    }
    Err(GetError::TooManyRedirects)
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn next(url: &Url, headers: &HeaderMap) -> Result<Url, GetError> {
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let nowhere = || GetError::Nowhere(location.chars().take(200).collect());
    let next = url.join(location).map_err(|_| nowhere())?;
    if location.is_empty() || next.scheme() != "https" || !next.has_host() { Err(nowhere()) } else { Ok(next) }
}

async fn get_once(dialer: &Dialer, url: &Url, max_bytes: usize) -> Result<Document, GetError> {
    let lost = |error: &dyn ToString| GetError::Lost(error.to_string());
    let bracketed = url.host_str().unwrap_or_default();
    let host = bracketed.trim_start_matches('[').trim_end_matches(']').to_owned();
    let target = Target { port: url.port().unwrap_or(HTTPS_PORT), host };
    let stream = dialer.dial(&target, &target.host).await?;
    let mut builder = http1::Builder::new();
    builder.max_headers(HEADERS_MAX).max_buf_size(HEAD_MAX_BYTES);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| lost(&error))?;
    let authority = match url.port() {
        Some(port) => format!("{bracketed}:{port}"),
        None => bracketed.to_owned(),
    };
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| lost(&error))?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await.map_err(|error| lost(&error))?.into_parts();
        let body = if is_redirect(head.status) {
            // Where it leads is in the head.
            Bytes::new()
        } else {
            let collected = Limited::new(body, max_bytes).collect().await;
            collected.map_err(|error| too_large_or_lost(error.as_ref()))?.to_bytes()
        };
        Ok(Document { status: head.status, headers: head.headers, body })
    };
    // The connection is driven here and dropped with the answer, whatever else it would still bring.
    tokio::pin!(exchange, connection);
    tokio::select! {
        outcome = &mut exchange => outcome,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(lost(&error)),
        }
    }
}

fn too_large_or_lost(error: &(dyn std::error::Error + Send + Sync + 'static)) -> GetError {
    match error.is::<http_body_util::LengthLimitError>() {
        true => GetError::TooLarge,
        false => GetError::Lost(error.to_string()),
    }
}
