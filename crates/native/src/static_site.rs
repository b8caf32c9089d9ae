//! The built page: held in memory as one consistent snapshot, read again when the files change.
mod content_type;
mod negotiation;
mod snapshot;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
pub use snapshot::Snapshot;
use snapshot::{Asset, Body};
use tokio::sync::Mutex;

/// The document of the single page application, served at `/`.
const INDEX: &str = "/index.html";

/// The files are looked at again at most this often.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Names of files that hold a hash of their content never change what they mean.
const CACHE_FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Everything else is asked for again each time, and answered 304 when it is the same.
pub const CACHE_CHECKED: HeaderValue = HeaderValue::from_static("no-cache");

#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    #[error("there is no page in {0}: build it with `npm run build`, or name its directory with --site")]
    Missing(PathBuf),
    #[error("cannot read the page in {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the page in {path} is more than {what}; is it the right directory?")]
    TooLarge { path: PathBuf, what: &'static str },
}

/// A directory of files for the browser.
pub struct StaticSite {
    dir: PathBuf,
    state: Mutex<State>,
}

struct State {
    looked: Instant,
    snapshot: Arc<Snapshot>,
}

impl StaticSite {
    /// Reads the directory.
    pub fn open(dir: PathBuf) -> Result<Self, SiteError> {
        let snapshot = Arc::new(Snapshot::read(&dir)?);
        Ok(Self { dir, state: Mutex::new(State { looked: Instant::now(), snapshot }) })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The files as they are now. While they cannot be read (a build is running), as they were.
    pub async fn current(&self) -> Arc<Snapshot> {
        let mut state = self.state.lock().await;
        if state.looked.elapsed() >= LOOK_AGAIN_AFTER {
            let (dir, old) = (self.dir.clone(), state.snapshot.clone());
            match tokio::task::spawn_blocking(move || old.refreshed(&dir)).await {
                Ok(Ok(Some(fresh))) => {
                    tracing::info!(build = fresh.build(), "the page changed");
                    state.snapshot = Arc::new(fresh);
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "still serving the page as it was"),
                Err(error) => tracing::error!(%error, "reading the page failed"),
            }
            state.looked = Instant::now();
        }
        state.snapshot.clone()
    }
}

/// The answer to GET or HEAD of `path`; `None` if there is no such file.
pub fn answer(snapshot: &Snapshot, path: &str, request: &HeaderMap) -> Option<Response<Full<Bytes>>> {
    let asset = snapshot.asset(if path == "/" { INDEX } else { path })?;
    let body = negotiation::choose(asset, request);
    let fresh = negotiation::holds(request, &body.etag);
    let mut response = Response::new(if fresh { Full::default() } else { Full::new(body.bytes.clone()) });
    if fresh {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    describe(response.headers_mut(), asset, body, fresh);
    Some(response)
}

fn describe(headers: &mut HeaderMap, asset: &Asset, body: &Body, fresh: bool) {
    headers.insert(header::ETAG, body.etag.clone());
    headers.insert(header::CACHE_CONTROL, if asset.immutable { CACHE_FOR_EVER } else { CACHE_CHECKED });
    if asset.encoded.iter().any(Option::is_some) {
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    if !fresh {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
        if let Some(encoding) = body.encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
    }
}
