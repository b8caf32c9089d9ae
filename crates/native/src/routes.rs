//! Which answer belongs to which request.
use std::{net::SocketAddr, sync::Arc, sync::atomic::Ordering, time::Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Body, Incoming};

use crate::{
    circuit_relay::{RelayCounts, RelayDoor},
    exposed_tabs::{self, ExposedTabs, TABS_PATH},
    page_config::PageConfig,
    security_headers::SecurityHeaders,
    static_site::{self, CACHE_CHECKED, StaticSite},
    websocket_upgrade::{self, RelaySocket},
};

/// A path in the log is cut here, in characters.
const LOGGED_PATH_MAX_CHARS: usize = 100;

const SERVICE_WORKER_ALLOWED: HeaderName = HeaderName::from_static("service-worker-allowed");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A Matrix client that bypassed the service worker learns why nobody is here.
const MATRIX_LIVES_IN_THE_TAB: &str = r#"{"errcode":"M_UNRECOGNIZED","error":"The homeserver of this origin lives in a browser tab: open the page first. This request reached the web server, which has no homeserver."}"#;

/// Everything an answer may need.
pub struct Routes {
    pub site: StaticSite,
    pub config: PageConfig,
    pub security: SecurityHeaders,
    pub relay: Arc<RelayDoor<RelaySocket>>,
    pub relay_peer_id: String,
    /// With `--expose-tabs`, where tabs connect.
    pub exposed_tabs: Option<Arc<ExposedTabs>>,
}

impl Routes {
    /// The answer to `request`, logged without query, headers or contents.
    pub async fn answer(&self, request: Request<Incoming>, remote: SocketAddr) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let (method, path) = (request.method().clone(), loggable(request.uri().path()));
        let mut response = match &self.exposed_tabs {
            Some(tabs) if path == TABS_PATH && websocket_upgrade::is_wanted(&request) => expose(request, remote, tabs),
            _ if websocket_upgrade::is_for_relay(&request) => websocket_upgrade::accept(request, remote, &self.relay),
            _ => self.resource(&request).await,
        };
        self.security.apply(response.headers_mut());
        let (status, bytes) = (response.status().as_u16(), response.body().size_hint().exact());
        tracing::info!(%method, path, status, bytes, micros = started.elapsed().as_micros() as u64, "served");
        response
    }

    async fn resource<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if is_matrix(path) {
            return matrix_lives_in_the_tab(request.method());
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are answered here.\n");
            refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        match path {
            "/config.json" => json(self.config.to_json(self.site.current().await.build())),
            "/health" => json(self.health()),
            _ => self.file(path, request.headers()).await,
        }
    }

    async fn file(&self, path: &str, request: &HeaderMap) -> Response<Full<Bytes>> {
        let Some(mut response) = static_site::answer(&*self.site.current().await, path, request) else {
            return text(StatusCode::NOT_FOUND, "There is no such file here.\n");
        };
        response.headers_mut().insert(SERVICE_WORKER_ALLOWED, HeaderValue::from_static("/"));
        response
    }

    fn health(&self) -> Bytes {
        let RelayCounts { connections, reservations, circuits } = &self.relay.counts;
        let health = serde_json::json!({
            "status": "ok",
            "version": env!("CARGO_PKG_VERSION"),
            "peerId": self.relay_peer_id,
            "connections": connections.load(Ordering::Relaxed),
            "reservations": reservations.load(Ordering::Relaxed),
            "circuits": circuits.load(Ordering::Relaxed),
        });
        health.to_string().into()
    }
}

fn expose(request: Request<Incoming>, remote: SocketAddr, tabs: &Arc<ExposedTabs>) -> Response<Full<Bytes>> {
    if !exposed_tabs::is_from_own_page(request.headers()) {
        return text(StatusCode::FORBIDDEN, "Only pages from here are exposed here.\n");
    }
    let tabs = tabs.clone();
    websocket_upgrade::switch(request, remote, async move |upgraded| tabs.carry(upgraded).await)
}

/// The answer of a request whose handling panicked.
pub fn broken() -> Response<Full<Bytes>> {
    text(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong here; the log has the details.\n")
}

/// `/_matrix/*`, `/.well-known/matrix/*`, and the former below `/p/<profile>`: what the service worker answers.
fn is_matrix(path: &str) -> bool {
    let of_profile = path.strip_prefix("/p/").and_then(|rest| rest.split_once('/')).map(|(_, rest)| rest);
    let below =
        |path: &str| path == "_matrix" || path.starts_with("_matrix/") || path.starts_with(".well-known/matrix/");
    path.strip_prefix('/').is_some_and(below) || of_profile.is_some_and(below)
}

fn matrix_lives_in_the_tab(method: &Method) -> Response<Full<Bytes>> {
    let mut response = if *method == Method::OPTIONS {
        let mut preflight = Response::new(Full::default());
        *preflight.status_mut() = StatusCode::NO_CONTENT;
        preflight
    } else {
        let mut missing = json(Bytes::from_static(MATRIX_LIVES_IN_THE_TAB.as_bytes()));
        *missing.status_mut() = StatusCode::NOT_FOUND;
        missing
    };
    // Client-Server API, "Web browser clients".
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let methods = HeaderValue::from_static("GET, POST, PUT, DELETE, OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    let allowed = HeaderValue::from_static("X-Requested-With, Content-Type, Authorization");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    response
}

fn json(body: Bytes) -> Response<Full<Bytes>> {
    with_type(body, JSON)
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = with_type(Bytes::from_static(body.as_bytes()), TEXT);
    *response.status_mut() = status;
    response
}

fn with_type(body: Bytes, content_type: HeaderValue) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, CACHE_CHECKED);
    response
}

/// Matrix paths name rooms and people, so only their beginning is logged.
fn loggable(path: &str) -> String {
    if is_matrix(path) { "(matrix)".to_owned() } else { path.chars().take(LOGGED_PATH_MAX_CHARS).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrix_paths_are_told_from_files() {
        for matrix in
            ["/_matrix/client/versions", "/_matrix", "/p/work/_matrix/client/v3/sync", "/.well-known/matrix/client"]
        {
            assert!(is_matrix(matrix), "{matrix}");
        }
        for other in ["/", "/p/_matrix", "/a/_matrix/client", "/p/a/b/_matrix/x", "/_matrixx", "/.well-known/other"] {
            assert!(!is_matrix(other), "{other}");
        }
    }

    #[test]
    fn the_log_tells_neither_rooms_nor_long_paths() {
        assert_eq!(loggable("/_matrix/client/v3/rooms/!secret"), "(matrix)");
        assert_eq!(loggable(&format!("/{}", "é".repeat(500))).chars().count(), LOGGED_PATH_MAX_CHARS);
    }

    #[test]
    fn the_explanation_is_json() {
        let parsed: serde_json::Value = serde_json::from_str(MATRIX_LIVES_IN_THE_TAB).unwrap();
        assert_eq!(parsed["errcode"], "M_UNRECOGNIZED");
    }
}
