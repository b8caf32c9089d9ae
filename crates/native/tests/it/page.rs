//! The page, its configuration, and what the web server says to those who expected a homeserver.
use std::{fs, net::UdpSocket, time::Instant};

use serde_json::json;

use crate::warren::{HASHED_SCRIPT, PATIENCE, Warren, new_dirs};

#[test]
fn files_are_served_with_their_types_and_caching() {
    let dirs = new_dirs();
    fs::write(dirs.path().join("site/core.wasm"), b"\0asm").unwrap();
    fs::write(dirs.path().join("site/service-worker.js"), b"").unwrap();
    let warren = Warren::start_with(dirs, &[]);

    let page = warren.get("/");
    assert_eq!((page.status, page.body.as_slice()), (200, &b"<!doctype html><p>page"[..]));
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-cache");
    assert_eq!(page.header("service-worker-allowed"), "/");
    assert_eq!(warren.get("/index.html").body, page.body);

    let script = warren.get(HASHED_SCRIPT);
    assert_eq!(script.header("content-type"), "text/javascript; charset=utf-8");
    assert_eq!(script.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(warren.get("/core.wasm").header("content-type"), "application/wasm");
    assert_eq!(warren.get("/service-worker.js").header("cache-control"), "no-cache");

    let head = warren.request("HEAD", "/", &[]);
    assert_eq!((head.status, head.header("content-length")), (200, "22"));
    assert!(head.body.is_empty());
    let post = warren.request("POST", "/", &[("content-length", "0")]);
    assert_eq!((post.status, post.header("allow")), (405, "GET, HEAD"));
}

#[test]
fn nothing_outside_the_page_is_served() {
    let warren = Warren::start();
    fs::write(warren.dirs.path().join("secret"), "secret").unwrap();
    for path in [
        "/nothing",
        "/room/x",
        "/p/work/",
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "//etc/passwd",
        "/\\..\\secret",
        "/index.html/",
    ] {
        assert_eq!(warren.get(path).status, 404, "{path}");
    }
}

#[test]
fn what_the_browser_has_is_not_sent_again() {
    let warren = Warren::start();
    let etag = warren.get("/").header("etag").to_owned();
    let again = warren.request("GET", "/", &[("if-none-match", &etag)]);
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, etag.as_str()));
    assert_eq!(warren.request("GET", "/", &[("if-none-match", "\"other\"")]).status, 200);
}

#[test]
fn stored_brotli_and_gzip_are_used_when_accepted() {
    let dirs = new_dirs();
    fs::write(dirs.path().join("site/index.html.br"), "brotli").unwrap();
    fs::write(dirs.path().join("site/index.html.gz"), "gzip").unwrap();
    let warren = Warren::start_with(dirs, &[]);
    for (accepted, encoding, body) in [
        ("gzip, deflate, br", "br", &b"brotli"[..]),
        ("gzip", "gzip", b"gzip"),
        ("zstd", "", b"<!doctype html><p>page"),
    ] {
        let answer = warren.request("GET", "/", &[("accept-encoding", accepted)]);
        assert_eq!((answer.header("content-encoding"), answer.body.as_slice()), (encoding, body));
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(answer.header("vary"), "accept-encoding");
    }
}

#[test]
fn every_answer_carries_the_strict_policies() {
    let warren = Warren::start();
    let port = warren.address.port();
    let expected = format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; \
         connect-src 'self' ws://localhost:{port}; img-src 'self' data: blob:; media-src 'self' blob:; \
         style-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    for path in ["/", HASHED_SCRIPT, "/config.json", "/nothing", "/_matrix/client/versions"] {
        let answer = warren.get(path);
        assert_eq!(answer.header("content-security-policy"), expected, "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("permissions-policy"), "camera=(self), microphone=(self)");
    }
}

#[test]
fn the_page_learns_where_it_is() {
    let warren = Warren::start();
    let config = warren.config();
    let peer_id = warren.health()["peerId"].as_str().unwrap().to_owned();
    assert_eq!(config["version"], 1);
    assert_eq!(config["relays"], json!([format!("/dns4/localhost/tcp/{}/ws/p2p/{peer_id}", warren.address.port())]));
    assert_eq!(config["serverNameSuffix"], "alt");
    assert_eq!(config["publicUrl"], format!("http://localhost:{}", warren.address.port()));
    assert!(!config["build"].as_str().unwrap().is_empty());
    let answer = warren.get("/config.json");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-cache");
}

#[test]
fn stun_answers_at_the_address_that_the_page_is_told() {
    let warren = Warren::start();
    let port = warren.address.port();
    assert_eq!(warren.config()["iceServers"], json!([{ "urls": format!("stun:localhost:{port}") }]));

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // A binding request (RFC 8489, section 5): type, length, magic cookie, transaction id.
    let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    socket.send_to(b"not for it", warren.address).unwrap();
    socket.send_to(&request, warren.address).unwrap();
    let mut answer = [0; 64];
    let (bytes, from) = socket.recv_from(&mut answer).unwrap();
    assert_eq!((from, bytes), (warren.address, 32));
    assert_eq!(answer[..2], [1, 1], "a success");
    // XOR-MAPPED-ADDRESS: the port under the first half of the cookie (section 14.2).
    let seen = u16::from_be_bytes([answer[26] ^ 0x21, answer[27] ^ 0x12]);
    assert_eq!(seen, socket.local_addr().unwrap().port());
}

#[test]
fn stun_can_be_elsewhere_or_off_and_others_can_be_named() {
    let dirs = new_dirs();
    let file = dirs.path().join("ice.json");
    let turn = json!({ "urls": "turn:turn.example.org", "username": "u", "credential": "c" });
    fs::write(&file, json!([turn]).to_string()).unwrap();
    let warren = Warren::start_with(dirs, &["--stun", "off", "--ice-servers", file.to_str().unwrap()]);
    assert_eq!(warren.config()["iceServers"], json!([turn]));

    let warren = Warren::start_with(new_dirs(), &["--stun", "127.0.0.1:0"]);
    let config = warren.config();
    let port = config["iceServers"][0]["urls"].as_str().and_then(|url| url.strip_prefix("stun:localhost:"));
    assert!(port.and_then(|port| port.parse().ok()).is_some_and(|port: u16| port > 0), "{config}");
}

#[test]
fn a_new_build_is_served_without_a_restart() {
    let warren = Warren::start();
    let before = warren.config()["build"].clone();
    assert_eq!(warren.config()["build"], before);
    warren.write_site("index.html", b"<!doctype html><p>newer");
    let started = Instant::now();
    while warren.config()["build"] == before {
        assert!(started.elapsed() < PATIENCE);
    }
    assert_eq!(warren.get("/").body, b"<!doctype html><p>newer");
}

#[test]
fn matrix_clients_are_told_where_the_homeserver_lives() {
    let warren = Warren::start();
    for path in ["/_matrix/client/versions", "/p/work/_matrix/client/v3/sync?x=1", "/.well-known/matrix/client"] {
        let answer = warren.get(path);
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, &body["errcode"]), (404, &json!("M_UNRECOGNIZED")), "{path}");
        assert!(body["error"].as_str().unwrap().contains("browser tab"));
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert_eq!(answer.header("content-type"), "application/json");
    }
    let put = warren.request("PUT", "/_matrix/client/v3/x", &[("content-length", "2")]);
    assert_eq!(put.status, 404);
    let preflight = warren.request("OPTIONS", "/_matrix/client/v3/login", &[]);
    assert_eq!(preflight.status, 204);
    assert!(preflight.header("access-control-allow-headers").contains("Authorization"));
    assert!(preflight.header("access-control-allow-methods").contains("PUT"));
}
