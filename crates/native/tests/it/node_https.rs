//! Nodes with ordinary names: they find each other by HTTPS and share a room, and what is no proper request gets nowhere.
use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    node::{Node, User, command},
    warren::wait,
};

/// Certificates for localhost by an authority of this test: `ca.pem`, `cert.pem`, `key.pem`.
fn certificates() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &authority, &authority_key).unwrap();
    let write = |name: &str, content: String| fs::write(directory.path().join(name), content).unwrap();
    write("ca.pem", authority.pem());
    write("cert.pem", leaf.pem());
    write("key.pem", key.serialize_pem());
    directory
}

fn flags(certificates: &Path, port: u16) -> Vec<String> {
    let file = |name: &str| certificates.join(name).display().to_string();
    let (name, address) = (format!("localhost:{port}"), format!("127.0.0.1:{port}"));
    let pairs = [
        ("--server-name", name),
        ("--federation-listen", address),
        ("--tls-cert", file("cert.pem")),
        ("--tls-key", file("key.pem")),
        ("--ca", file("ca.pem")),
    ];
    let mut flags: Vec<String> = pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
    flags.extend(["--allow-private-ips".to_owned(), "--open-registration".to_owned()]);
    flags
}

/// A port of this machine that nobody listens on right now: a name with a port has to know it beforehand.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(flags: &[String]) -> Node {
    Node::start(&flags.iter().map(String::as_str).collect::<Vec<_>>())
}

fn join(node: &Node, user: &User, room: &str, via: &str) -> crate::warren::Answer {
    let path = format!("/_matrix/client/v3/join/{room}?via={via}");
    node.request("POST", &path, Some(&user.token), &json!({}))
}

#[test]
fn two_nodes_with_ordinary_names_share_a_room() {
    let certificates = certificates();
    let (first_port, second_port) = (free_port(), free_port());
    let first = start(&flags(certificates.path(), first_port));
    let second_flags = flags(certificates.path(), second_port);
    let second = start(&second_flags);
    let (ada, bob) = (first.register("ada"), second.register("bob"));
    assert_eq!(ada.id, format!("@ada:localhost:{first_port}"));
    let room = first.create_room(&ada);
    first.send(&ada, &room, "before bob came");
    join(&second, &bob, &room, &format!("localhost:{first_port}")).success();
    first.send(&ada, &room, "hello, bob");
    second.until_heard(&bob, &room, "hello, bob");
    second.send(&bob, &room, "hello, ada");
    first.until_heard(&ada, &room, "hello, ada");
    assert!(second.messages(&bob, &room).iter().any(|(_, text)| text == "before bob came"), "history is fetched");

    // Gone and back, it has missed nothing.
    let dir = second.kill();
    first.send(&ada, &room, "while bob was away");
    let second = Node::start_in(dir, &second_flags.iter().map(String::as_str).collect::<Vec<_>>());
    second.until_heard(&bob, &room, "while bob was away");

    // One that keeps to the public internet does not come near this machine, whoever asks it to.
    let wary: Vec<_> =
        flags(certificates.path(), free_port()).into_iter().filter(|flag| flag != "--allow-private-ips").collect();
    let wary = start(&wary);
    let eve = wary.register("eve");
    let refused = join(&wary, &eve, &room, &format!("localhost:{first_port}"));
    assert_ne!(refused.status, 200, "{refused:?}");
}

#[test]
fn what_is_no_proper_request_gets_nowhere() {
    let node = Node::start_open(&["--server-name", "localhost:1", "--well-known-server", "matrix.example.org:443"]);
    let said = |request: &str| {
        let mut stream = node.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let version = "/_matrix/federation/v1/version";
    let get = |path: &str| said(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
    assert!(get(version).starts_with("HTTP/1.1 200 "));
    assert!(get("/.well-known/matrix/server").ends_with(r#"{"m.server":"matrix.example.org:443"}"#));
    for path in [
        "/_matrix/federation/v1/../../client/versions",
        "/_matrix/federation/../key/v2/server",
        "/_matrix/federation/v1//version",
        "//_matrix/federation/v1/version",
        "/_matrix/federation/v1/version/",
        "/_matrix/federation/v1/%76ersion",
        "/_matrix/federation/v1/version;a=b",
        "/_matrix/key/v2/../../federation/v1/version",
    ] {
        let answer = get(path);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    for hosts in ["", "host: a\r\nhost: b\r\n", "host: user@a\r\n", "host: \r\n"] {
        let answer = said(&format!("GET {version} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{hosts:?}: {answer}");
    }
    // Two ideas of where a body ends: whatever is made of it, nothing of it becomes a second request.
    let hidden = "GET /_matrix/client/versions HTTP/1.1\r\nhost: a\r\n\r\n";
    for lengths in [
        format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", hidden.len() + 5),
        "content-length: 0\r\ncontent-length: 70\r\n".to_owned(),
        "transfer-encoding: identity, chunked\r\ncontent-length: 3\r\n".to_owned(),
        "transfer-encoding: chunked, gzip\r\n".to_owned(),
    ] {
        let head =
            format!("PUT /_matrix/federation/v1/send/1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lengths}\r\n");
        let answer = said(&format!("{head}0\r\n\r\n{hidden}"));
        assert!(!answer.contains("unstable_features"), "{lengths}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{lengths}: {answer}");
    }
}

#[test]
fn a_listener_without_a_good_certificate_does_not_start() {
    let (mine, other) = (certificates(), certificates());
    let refusal = |cert: &Path, key: &Path, ca: &Path| {
        let directory = tempfile::tempdir().unwrap();
        let text = |path: &Path| path.display().to_string();
        let (cert, key, ca) = (text(cert), text(key), text(ca));
        let flags = ["--federation-listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key, "--ca", &ca];
        let mut command: Command = command(directory.path(), &flags);
        let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
        assert_eq!(wait(&mut child).code(), Some(1));
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        errors.lines().last().unwrap_or_default().to_owned()
    };
    let at = |directory: &TempDir, name: &str| directory.path().join(name);
    let (cert, key, ca) = (at(&mine, "cert.pem"), at(&mine, "key.pem"), at(&mine, "ca.pem"));
    assert!(refusal(&cert, &at(&other, "key.pem"), &ca).contains("is not the one of the certificate"));
    assert!(refusal(&key, &key, &ca).contains("holds no certificate"));
    assert!(refusal(&at(&mine, "none.pem"), &key, &ca).contains("cannot read"));
    assert!(refusal(&cert, &key, &key).contains("that can be a root"));
}
