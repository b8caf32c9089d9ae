//! `--expose-tabs`: an HTTP port of this machine behind which the homeservers of open tabs answer, for tools that are no
//! pages. Each tab holds a WebSocket to `/tabs`; requests go to it and its answers come back as binary messages: a length
//! (4 bytes, big-endian), so many bytes of JSON, and the body.
mod frame;

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::Full;
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use ruma::{OwnedServerName, ServerName, api::error::ErrorKind};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, WebSocketConfig},
    },
};
use warren::api::{self, ApiError, CLIENT_BODY_MAX_BYTES};

use crate::request_body;

/// Where a page connects its tab, on the port of the page.
pub const TABS_PATH: &str = "/tabs";

/// Tabs at a time.
const TABS_MAX: usize = 64;

/// Requests that one tab has in hand; further ones wait, and beyond as many again are refused.
const OPEN_MAX: usize = 128;

/// The largest answer of a tab, in bytes.
const ANSWER_MAX_BYTES: usize = 32 * 1024 * 1024;

/// A tab says its name within this, or is dropped.
const HELLO_MAX: Duration = Duration::from_secs(10);

/// So often a tab is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Longer than any `/sync` waits.
const ANSWER_MAX: Duration = Duration::from_secs(150);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A request on its way to a tab, and where its answer goes.
struct Asked {
    request: Request<Bytes>,
    answer: oneshot::Sender<Response<Bytes>>,
}

#[derive(Clone)]
struct Tab {
    /// Tells two connections of the same homeserver apart: a page that reloads meets its former self.
    connection: u64,
    asked: mpsc::Sender<Asked>,
}

/// The tabs that are connected, by the names of their homeservers.
#[derive(Default)]
pub struct ExposedTabs {
    tabs: Mutex<BTreeMap<OwnedServerName, Tab>>,
    connections: AtomicU64,
}

/// Whether `request` comes from a page of the origin it is sent to, on this machine: no other site's page may pass its
/// homeserver off as one of ours.
pub fn is_from_own_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(host), Some(origin)) = (text(header::HOST), text(header::ORIGIN)) else { return false };
    is_this_machine(host) && origin.split_once("://").is_some_and(|(_, authority)| authority == host)
}

/// Names that lead to this machine from everywhere: a page that has another name resolve to it is refused.
fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl ExposedTabs {
    /// Carries requests to the tab at the other end of `upgraded` until it goes away.
    pub async fn carry(self: Arc<Self>, upgraded: Upgraded) {
        let config =
            WebSocketConfig::default().max_message_size(Some(ANSWER_MAX_BYTES)).max_frame_size(Some(ANSWER_MAX_BYTES));
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        let Ok(Some(name)) = tokio::time::timeout(HELLO_MAX, hello(&mut socket)).await else { return };
        let (asked, asks) = mpsc::channel(OPEN_MAX);
        let Some(connection) = self.enter(&name, asked) else { return };
        tracing::info!(%name, "a tab is exposed");
        let reason = converse(socket, asks).await;
        tracing::info!(%name, reason, "a tab is exposed no more");
        self.lock().retain(|_, tab| tab.connection != connection);
    }

    fn enter(&self, name: &ServerName, asked: mpsc::Sender<Asked>) -> Option<u64> {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let mut tabs = self.lock();
        let has_place = tabs.len() < TABS_MAX || tabs.contains_key(name);
        has_place.then(|| {
            tabs.insert(name.to_owned(), Tab { connection, asked });
            connection
        })
    }

    /// Answers a request of a tool, by the tab its path begins with, or by the only one there is.
    pub async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Response<Full<Bytes>> {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(is_this_machine) {
            let error = ApiError::forbidden("This port answers under the names of this machine only.");
            return error.into_response().map(Full::new);
        }
        if request.method() == Method::GET && request.uri().path() == "/" {
            return self.list(host.unwrap_or_default()).map(Full::new);
        }
        self.pass_on(request).await.unwrap_or_else(|error| api::with_cors(error.into_response())).map(Full::new)
    }

    async fn pass_on(&self, request: Request<Incoming>) -> Result<Response<Bytes>, ApiError> {
        let (tab, path) = self.tab_of(request.uri())?;
        let (mut parts, body) = request.into_parts();
        parts.uri = path.into();
        let body = request_body::read(body, CLIENT_BODY_MAX_BYTES).await?;
        let (answer, answered) = oneshot::channel();
        tab.asked
            .try_send(Asked { request: Request::from_parts(parts, body), answer })
            .map_err(|_| gone("The tab does not take any more requests."))?;
        let answer = tokio::time::timeout(ANSWER_MAX, answered).await;
        answer.map_err(|_| gone("The tab did not answer."))?.map_err(|_| gone("The tab went away."))
    }

    /// `/<server name>/_matrix/...` or, while there is only one, `/_matrix/...`; with the path as the tab knows it.
    fn tab_of(&self, uri: &Uri) -> Result<(Tab, PathAndQuery), ApiError> {
        let whole = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let tabs = self.lock();
        let (first, rest) = whole[1..].split_once('/').unwrap_or((&whole[1..], ""));
        let named = <&ServerName>::try_from(first).ok().and_then(|name| tabs.get(name));
        let (tab, path) = match named {
            Some(tab) => (tab, format!("/{rest}")),
            None if tabs.len() == 1 => (tabs.values().next().expect("it is one"), whole.to_owned()),
            None if tabs.is_empty() => return Err(gone("No tab is open. Open the page first.")),
            None => {
                return Err(ApiError::not_found("Several tabs are open. GET / tells under which path each answers."));
            }
        };
        let path = path.parse().map_err(|_| ApiError::not_found("There is no such path."))?;
        Ok((tab.clone(), path))
    }

    fn list(&self, host: &str) -> Response<Bytes> {
        let names: Vec<_> = self.lock().keys().cloned().collect();
        let tabs: Vec<_> = names
            .iter()
            .map(|name| json!({ "server_name": name, "base_url": format!("http://{host}/{name}") }))
            .collect();
        let mut response = Response::new(Bytes::from(json!({ "tabs": tabs }).to_string()));
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        response
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<OwnedServerName, Tab>> {
        self.tabs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a tool is told when the homeserver it wants is not there.
fn gone(message: &'static str) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Unknown, message)
}

/// A tab's first message is the name of its homeserver.
async fn hello(socket: &mut Socket) -> Option<OwnedServerName> {
    loop {
        match socket.next().await?.ok()? {
            Message::Text(name) => return ServerName::parse(name.as_str()).ok(),
            Message::Ping(_) | Message::Pong(_) => {}
            _ => return None,
        }
    }
}

/// Passes requests to the tab and answers back until one of the two ends; says why.
async fn converse(mut socket: Socket, mut asks: mpsc::Receiver<Asked>) -> &'static str {
    let mut open: HashMap<u64, oneshot::Sender<Response<Bytes>>> = HashMap::new();
    let mut next_id = 0;
    let mut pings = tokio::time::interval(PING_INTERVAL);
    let mut is_heard = true;
    loop {
        let sent = tokio::select! {
            asked = asks.recv(), if open.len() < OPEN_MAX => {
                // The registry dropped it: another connection of the same homeserver took its place.
                let Some(Asked { request, answer }) = asked else { return "replaced" };
                next_id += 1;
                open.insert(next_id, answer);
                socket.send(Message::Binary(frame::of_request(next_id, &request))).await
            }
            message = socket.next() => {
                is_heard = true;
                match message {
                    Some(Ok(Message::Binary(bytes))) => {
                        let Some((id, response)) = frame::into_response(&bytes) else { return "it said what is no answer" };
                        if let Some(answer) = open.remove(&id) {
                            // Whoever asked may have gone.
                            let _ = answer.send(response);
                        }
                        Ok(())
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                    _ => return "it went away",
                }
            }
            _ = pings.tick() => {
                if !std::mem::take(&mut is_heard) {
                    return "it is silent";
                }
                open.retain(|_, answer| !answer.is_closed());
                socket.send(Message::Ping(Bytes::new())).await
            }
        };
        if sent.is_err() {
            return "it went away";
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for own in ["localhost", "localhost:8009", "127.0.0.1:8009", "127.9.9.9", "[::1]:8009"] {
            assert!(is_this_machine(own), "{own}");
        }
        for other in
            ["example.org", "192.168.1.5:8009", "localhost.example.org", "127.0.0.1.nip.io", "", "[::2]", "a b"]
        {
            assert!(!is_this_machine(other), "{other}");
        }
    }

    #[test]
    fn only_pages_of_this_origin_bring_tabs() {
        let headers = |host: &'static str, origin: Option<&'static str>| {
            let host = (header::HOST, HeaderValue::from_static(host));
            let origin = origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin)));
            HeaderMap::from_iter([host].into_iter().chain(origin))
        };
        assert!(is_from_own_page(&headers("localhost:8080", Some("http://localhost:8080"))));
        assert!(!is_from_own_page(&headers("localhost:8080", Some("http://localhost:9090"))));
        assert!(!is_from_own_page(&headers("localhost:8080", Some("https://example.org"))));
        assert!(!is_from_own_page(&headers("localhost:8080", Some("null"))));
        assert!(!is_from_own_page(&headers("localhost:8080", None)));
        assert!(!is_from_own_page(&headers("example.org", Some("http://example.org"))));
    }

    #[test]
    fn a_tab_is_found_by_its_name_or_by_being_alone() {
        let exposed = ExposedTabs::default();
        let path = |exposed: &ExposedTabs, path: &'static str| {
            exposed.tab_of(&Uri::from_static(path)).ok().map(|(tab, path)| (tab.connection, path.to_string()))
        };
        assert_eq!(path(&exposed, "/_matrix/client/versions"), None);
        let names = ["a.alt", "b.alt"].map(|name| ServerName::parse(name).unwrap());
        let first = exposed.enter(&names[0], mpsc::channel(1).0).unwrap();
        assert_eq!(path(&exposed, "/_matrix/x?y=/z").unwrap(), (first, "/_matrix/x?y=/z".to_owned()));
        assert_eq!(path(&exposed, "/a.alt/_matrix/x?y").unwrap(), (first, "/_matrix/x?y".to_owned()));
        let second = exposed.enter(&names[1], mpsc::channel(1).0).unwrap();
        assert_eq!(path(&exposed, "/_matrix/x"), None, "it could be either");
        assert_eq!(path(&exposed, "/b.alt/_matrix/x").unwrap().0, second);
        let again = exposed.enter(&names[1], mpsc::channel(1).0).unwrap();
        assert_eq!(path(&exposed, "/b.alt/").unwrap(), (again, "/".to_owned()));
    }
}
