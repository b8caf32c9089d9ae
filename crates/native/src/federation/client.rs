//! Requests to homeservers by HTTPS: each server on few connections, which are kept for a while, and everything bounded.
mod connector;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::{
    client::legacy::{self, Client},
    rt::{TokioExecutor, TokioTimer},
};
use ruma::{OwnedServerName, ServerName};
use tokio::{sync::Semaphore, time::timeout};
use warren::ports::{Lane, TransportError};

use self::connector::Connector;
use super::{delegation::Delegations, dialer::Dialer, redirects::USER_AGENT};

/// From the first look-up to the head of the answer.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(60);
/// The next part of an answer's body comes within this, and all of it within that.
const STALL_MAX: Duration = Duration::from_secs(20);
const BODY_WAIT_MAX: Duration = Duration::from_secs(180);

/// The body of an answer: the state of a room of some thirty thousand members.
pub const ANSWER_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Bodies of all answers being read, beyond the first bytes of each.
const ANSWERS_MAX_BYTES: usize = 256 * 1024 * 1024;
/// So many bytes of an answer are free, and more are taken out of [`ANSWERS_MAX_BYTES`] in pieces of this size.
const PIECE_BYTES: usize = 64 * 1024;

const ANSWER_HEAD_MAX_BYTES: usize = 64 * 1024;
const ANSWER_HEADERS_MAX: usize = 128;

/// Requests to one server at a time besides the transactions, which come one after the other; further ones wait.
const QUERIES_PER_SERVER_MAX: usize = 8;
/// Requests to all servers at a time.
const REQUESTS_MAX: usize = 512;

/// Connections to one server that are kept while nothing is asked, and for how long.
const IDLE_PER_SERVER_MAX: usize = QUERIES_PER_SERVER_MAX + 1;
const IDLE_MAX: Duration = Duration::from_secs(50);

/// Servers remembered to have places; only those that are asked right now matter.
const PLACES_REMEMBERED: usize = 1_024;

/// Speaks to homeservers; cheap to clone, and whoever does shares connections.
#[derive(Clone)]
pub struct FederationClient(Arc<Shared>);

/// How long answers are waited for.
#[derive(Clone, Copy, Debug)]
struct Patience {
    head: Duration,
    stall: Duration,
    body: Duration,
}

struct Shared {
    patience: Patience,
    dialer: Arc<Dialer>,
    delegations: Delegations,
    connections: Client<Connector, Full<Bytes>>,
    requests: Semaphore,
    pieces: Semaphore,
    places: Mutex<BTreeMap<OwnedServerName, Arc<Places>>>,
}

/// What may be asked of one server at a time.
struct Places {
    transactions: Semaphore,
    queries: Semaphore,
}

impl Places {
    fn of(&self, lane: Lane) -> &Semaphore {
        match lane {
            Lane::Transactions => &self.transactions,
            Lane::Queries => &self.queries,
        }
    }
}

impl FederationClient {
    pub fn new(dialer: Dialer) -> Self {
        Self::with(dialer, Patience { head: HEAD_WAIT_MAX, stall: STALL_MAX, body: BODY_WAIT_MAX })
    }

    fn with(dialer: Dialer, patience: Patience) -> Self {
        let dialer = Arc::new(dialer);
        let connections = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_PER_SERVER_MAX)
            .http1_max_buf_size(ANSWER_HEAD_MAX_BYTES)
            .http1_max_headers(ANSWER_HEADERS_MAX)
            .set_host(false)
            .build(Connector::new(dialer.clone()));
        Self(Arc::new(Shared {
            patience,
            dialer,
            delegations: Delegations::default(),
            connections,
            requests: Semaphore::new(REQUESTS_MAX),
            pieces: Semaphore::new(ANSWERS_MAX_BYTES / PIECE_BYTES),
            places: Mutex::default(),
        }))
    }

    /// Sends `request`, whose URI is path and query only and which is signed already, to `server` and resolves to the
    /// whole answer, a redirect included: those are not followed.
    ///
    /// # Errors
    /// `Unreachable` before anything was sent; else as the port's errors say.
    pub async fn request(
        &self,
        server: &ServerName,
        lane: Lane,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, TransportError> {
        let places = self.places(server);
        let asking = async {
            let _request = self.0.requests.acquire().await.expect("nobody closes the semaphore");
            let place = places.of(lane).acquire().await.expect("nobody closes the semaphore");
            let answer = self.ask(server, request).await?;
            Ok((answer, place))
        };
        let late = |_| TransportError::TimedOut { server: server.to_owned() };
        let (answer, _place) = timeout(self.0.patience.head, asking).await.map_err(late)??;
        let (head, body) = answer.into_parts();
        let body = timeout(self.0.patience.body, self.read(server, body)).await.map_err(late)??;
        Ok(Response::from_parts(head, body))
    }

    async fn ask(&self, server: &ServerName, request: Request<Bytes>) -> Result<Response<Incoming>, TransportError> {
        let name = self.0.delegations.name_of(&self.0.dialer, server).await;
        let request = addressed(server, &name, request)?;
        let again = is_repeatable(request.method()).then(|| request.clone());
        match (self.0.connections.request(request).await, again) {
            // A kept connection that the other end closes just when it is used says nothing of the server.
            (Err(error), Some(request)) if is_stale(&error) => self.0.connections.request(request).await,
            (outcome, _) => outcome,
        }
        .map_err(|error| failure(server, &error))
    }

    async fn read(&self, server: &ServerName, mut body: Incoming) -> Result<Bytes, TransportError> {
        let malformed = |reason: String| TransportError::Malformed { server: server.to_owned(), reason };
        let too_large = || malformed(format!("the answer has more than {ANSWER_MAX_BYTES} bytes"));
        if body.size_hint().lower() > ANSWER_MAX_BYTES as u64 {
            return Err(too_large());
        }
        let (mut whole, mut pieces) = (BytesMut::new(), Vec::new());
        loop {
            let frame = timeout(self.0.patience.stall, body.frame());
            let frame = frame.await.map_err(|_| TransportError::TimedOut { server: server.to_owned() })?;
            let Some(frame) = frame else { return Ok(whole.freeze()) };
            let interrupted = |reason: String| TransportError::Interrupted { server: server.to_owned(), reason };
            let Ok(data) = frame.map_err(|error| interrupted(error.to_string()))?.into_data() else { continue };
            whole.extend_from_slice(&data);
            if whole.len() > ANSWER_MAX_BYTES {
                return Err(too_large());
            }
            while (pieces.len() + 1) * PIECE_BYTES < whole.len() {
                let piece = self.0.pieces.try_acquire();
                pieces.push(piece.map_err(|_| interrupted("too much is being read at once".to_owned()))?);
            }
        }
    }

    fn places(&self, server: &ServerName) -> Arc<Places> {
        let mut all = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= PLACES_REMEMBERED {
            all.retain(|_, places| Arc::strong_count(places) > 1);
        }
        let new = || Places { transactions: Semaphore::new(1), queries: Semaphore::new(QUERIES_PER_SERVER_MAX) };
        all.entry(server.to_owned()).or_insert_with(|| Arc::new(new())).clone()
    }
}

/// The request as it goes to `server` by `name`: the authority decides on the connection.
fn addressed(
    server: &ServerName,
    name: &ServerName,
    request: Request<Bytes>,
) -> Result<Request<Full<Bytes>>, TransportError> {
    let unreachable =
        |reason: &str| TransportError::Unreachable { server: server.to_owned(), reason: reason.to_owned() };
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().cloned().ok_or_else(|| unreachable("the request has no path"))?;
    let uri = Uri::builder().scheme("https").authority(name.as_str()).path_and_query(path).build();
    parts.uri = uri.map_err(|_| unreachable("its name cannot be put into a URL"))?;
    let host = HeaderValue::from_str(name.as_str()).map_err(|_| unreachable("its name cannot be put into a header"))?;
    parts.headers.insert(header::HOST, host);
    parts.headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    Ok(Request::from_parts(parts, Full::new(body)))
}

/// Whether sending it twice is as good as once; transactions have identifiers.
fn is_repeatable(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::PUT)
}

/// Whether a connection ended that had been made, and may have served before.
fn is_stale(error: &legacy::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let http = cause.downcast_ref::<hyper::Error>();
        let ended = http.is_some_and(|http| http.is_incomplete_message() || http.is_canceled() || http.is_closed());
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        if ended || matches!(io, Some(BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)) {
            return !error.is_connect();
        }
        source = cause.source();
    }
    false
}

fn failure(server: &ServerName, error: &legacy::Error) -> TransportError {
    let (mut reason, mut parse) = (error.to_string(), false);
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        parse |= cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
        reason = cause.to_string();
        source = cause.source();
    }
    let server = server.to_owned();
    if error.is_connect() {
        TransportError::Unreachable { server, reason }
    } else if parse {
        TransportError::Malformed { server, reason }
    } else {
        TransportError::Interrupted { server, reason }
    }
}
