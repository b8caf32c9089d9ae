//! Nodes with ordinary names: they find each other by HTTPS and share a room, and what is no proper request gets nowhere.
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::Arc,
    time::Instant,
};

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};
use ruma::ServerName;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use warren::domain::{identity::Identity, signed_request};

use crate::{
    node::{Node, User, command},
    warren::{Answer, PATIENCE, wait},
};

/// Certifies for localhost, by files: `ca.pem`, `cert.pem`, `key.pem`.
struct Authority {
    key: KeyPair,
    certificate: Certificate,
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let (directory, key) = (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let authority = Self { key, certificate, directory };
        authority.write("ca.pem", authority.certificate.pem());
        authority.certify();
        authority
    }

    /// Writes another certificate and its key.
    fn certify(&self) {
        let (key, leaf) = (KeyPair::generate().unwrap(), CertificateParams::new(vec!["localhost".to_owned()]).unwrap());
        self.write("key.pem", key.serialize_pem());
        self.write("cert.pem", leaf.signed_by(&key, &self.certificate, &self.key).unwrap().pem());
    }

    fn write(&self, name: &str, content: String) {
        fs::write(self.directory.path().join(name), content).unwrap();
    }
}

fn certificates() -> TempDir {
    Authority::new().directory
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

fn join(node: &Node, user: &User, room: &str, via: &str) -> Answer {
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

/// A connection by TLS that goes on from request to request.
struct Secure(StreamOwned<ClientConnection, TcpStream>);

impl Secure {
    fn connect(authority: &Authority, port: u16) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.certificate.pem().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(StreamOwned::new(connection, stream))
    }

    fn ask(&mut self, path: &str) -> Value {
        write!(self.0, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap();
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// The certificate that was shown when the connection was made; there was a request.
    fn shown(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

#[cfg(unix)]
#[test]
fn another_certificate_is_shown_from_then_on_and_connections_go_on() {
    let (authority, port) = (Authority::new(), free_port());
    let node = start(&flags(authority.directory.path(), port));
    let version = "/_matrix/federation/v1/version";
    let mut before = Secure::connect(&authority, port);
    let said = before.ask(version);
    // Half of a change is none: the key is not that of the certificate.
    let (cert, key) = ("cert.pem", "key.pem");
    let kept = fs::read(authority.directory.path().join(key)).unwrap();
    authority.write(key, KeyPair::generate().unwrap().serialize_pem());
    node.signal("-HUP");
    assert_eq!(Secure::connect(&authority, port).ask(version), said);
    fs::write(authority.directory.path().join(key), kept).unwrap();

    authority.certify();
    let renewed = CertificateDer::from_pem_file(authority.directory.path().join(cert)).unwrap();
    node.signal("-HUP");
    let started = Instant::now();
    loop {
        let mut after = Secure::connect(&authority, port);
        assert_eq!(after.ask(version), said);
        if after.shown() == renewed {
            break;
        }
        assert_eq!(after.shown(), before.shown());
        assert!(started.elapsed() < PATIENCE, "the certificate stays the old one");
    }
    assert_eq!(before.ask(version), said, "who was connected notices nothing");
    assert_ne!(before.shown(), renewed);
}

#[test]
fn a_homeserver_that_changes_its_key_stays_the_same_to_others() {
    let authority = Authority::new();
    let [first_port, second_port, third_port] = [free_port(), free_port(), free_port()];
    let first_flags = flags(authority.directory.path(), first_port);
    let first = start(&first_flags);
    let second = start(&flags(authority.directory.path(), second_port));
    let (ada, bob) = (first.register("ada"), second.register("bob"));
    let keys = |node: &Node| node.request("GET", "/_matrix/key/v2/server", None, &Value::Null).success();
    let id_of = |keys: &Value, kind: &str| keys[kind].as_object().unwrap().keys().next().unwrap().clone();
    let told = keys(&first);
    let old_id = id_of(&told, "verify_keys");
    assert!(old_id.starts_with("ed25519:") && old_id != "ed25519:self", "{old_id}");
    let room = first.create_room(&ada);
    first.send(&ada, &room, "signed with the old key");
    let via = format!("localhost:{first_port}");
    join(&second, &bob, &room, &via).success();

    // Not under a running homeserver.
    let flags_of_first: Vec<&str> = first_flags.iter().map(String::as_str).collect();
    let rotate =
        |dir: &TempDir| command(dir.path(), &[&flags_of_first[..], &["--rotate-key"]].concat()).output().unwrap();
    assert!(!rotate(&first.dir).status.success());
    assert_eq!(keys(&first)["verify_keys"], told["verify_keys"]);
    let dir = first.kill();
    let said = rotate(&dir);
    assert!(said.status.success(), "{said:?}");
    let said = String::from_utf8(said.stdout).unwrap();
    let first = Node::start_in(dir, &flags_of_first);
    let now = keys(&first);
    let new_id = id_of(&now, "verify_keys");
    assert_ne!(new_id, old_id);
    assert_eq!(said, format!("localhost:{first_port} signs as {new_id} from its next start on\n"));
    let old = &now["old_verify_keys"][&old_id];
    assert_eq!(old["key"], told["verify_keys"][&old_id]["key"]);
    assert!(old["expired_ts"].as_u64().unwrap() < now["valid_until_ts"].as_u64().unwrap());
    assert_eq!(now["signatures"][format!("localhost:{first_port}")].as_object().unwrap().len(), 1);

    // One that never saw the old key in use believes what was signed with it, and requests signed with the new one.
    let third = start(&flags(authority.directory.path(), third_port));
    let eve = third.register("eve");
    join(&third, &eve, &room, &via).success();
    assert!(third.messages(&eve, &room).iter().any(|(_, text)| text == "signed with the old key"));
    first.send(&ada, &room, "signed with the new key");
    third.until_heard(&eve, &room, "signed with the new key");
    third.send(&eve, &room, "I believe you");
    first.until_heard(&ada, &room, "I believe you");
    // One that knows the old key, and has only just asked, asks for the new one when it meets it.
    second.until_heard(&bob, &room, "signed with the new key");
}

#[test]
fn a_notary_that_is_trusted_vouches_for_who_is_away() {
    let authority = Authority::new();
    let flags = |port: u16| flags(authority.directory.path(), port);
    let (away, notary_port) = (start(&flags(free_port())), free_port());
    let (notary, via) = (start(&flags(notary_port)), format!("localhost:{notary_port}"));
    let (ada, bob) = (notary.register("ada"), away.register("bob"));
    let room = notary.create_room(&ada);
    join(&away, &bob, &room, &via).success();
    away.send(&bob, &room, "said before I went");
    notary.until_heard(&ada, &room, "said before I went");
    drop(away);

    // Its own keys cannot be had any more: whoever comes now believes what it signed by the word of a notary, or not at all.
    for trusted in [true, false] {
        let mut flags = flags(free_port());
        flags.extend(trusted.then(|| ["--notary".to_owned(), via.clone()]).into_iter().flatten());
        let node = start(&flags);
        let eve = node.register("eve");
        join(&node, &eve, &room, &via).success();
        let members = node.ok(&eve, "GET", &format!("/_matrix/client/v3/rooms/{room}/joined_members"), &Value::Null);
        assert!(members["joined"][&ada.id].is_object(), "{members}");
        assert_eq!(members["joined"][&bob.id].is_object(), trusted, "{members}");
        let heard = node.messages(&eve, &room).iter().any(|(_, text)| text == "said before I went");
        assert_eq!(heard, trusted);
    }
}

#[test]
fn a_key_that_is_a_name_is_not_changed() {
    let node = Node::start(&[]);
    let dir = node.kill();
    let refused = command(dir.path(), &["--rotate-key"]).stderr(std::process::Stdio::piped()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("made of its key"), "{said}");
}

#[test]
fn who_looks_at_no_certificate_says_so_loudly() {
    let authority = Authority::new();
    let (port, other_port) = (free_port(), free_port());
    let careful = start(&flags(authority.directory.path(), port));
    let unsure = |flags: Vec<String>| {
        let ca = flags.iter().position(|flag| flag == "--ca").unwrap();
        let rest = flags[..ca].iter().chain(&flags[ca + 2..]).cloned();
        rest.collect::<Vec<_>>()
    };
    let mut flags = unsure(flags(authority.directory.path(), other_port));
    let wary = start(&flags);
    let bob = wary.register("bob");
    let ada = careful.register("ada");
    let (room, via) = (careful.create_room(&ada), format!("localhost:{port}"));
    assert_ne!(join(&wary, &bob, &room, &via).status, 200, "it knows nobody who would certify that");
    drop(wary);

    flags.push("--insecure-skip-tls-verify".to_owned());
    let log = authority.directory.path().join("log");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let careless = Node::start_logging(&flags, File::create(&log).unwrap());
    let log = fs::read_to_string(&log).unwrap();
    let loud = "--insecure-skip-tls-verify: ANYBODY ON THIS MACHINE CAN PASS FOR ANY HOMESERVER";
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains(loud)), "{log}");
    let bob = careless.register("bob");
    join(&careless, &bob, &room, &via).success();
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
    assert!(get("/_matrix/key/v2/server").starts_with("HTTP/1.1 200 "));
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
fn a_request_is_for_the_target_that_was_signed_as_it_was_sent() {
    let node = Node::start(&[]);
    let keys = node.request("GET", "/_matrix/key/v2/server", None, &Value::Null).success();
    let own = ServerName::parse(keys["server_name"].as_str().unwrap()).unwrap();
    let other = Identity::from_seed([7; 32], "alt").unwrap();
    let status = |signed: &str, sent: &str| {
        let request = http::Request::get(signed).body(Vec::<u8>::new()).unwrap();
        let header = http::HeaderValue::from(&signed_request::sign(&request, &other, &own).unwrap());
        let head = format!("GET {sent} HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\n");
        let mut stream = node.connect();
        write!(stream, "{head}authorization: {}\r\n\r\n", header.to_str().unwrap()).unwrap();
        Answer::read(stream).status
    };
    let targets = ["/_matrix/federation/v1/publicRooms", "/_matrix/federation/v1/publicRooms?"];
    for target in targets {
        assert_eq!(status(target, target), 200, "{target}");
    }
    assert_eq!(status(targets[0], targets[1]), 401);
    assert_eq!(status(targets[1], targets[0]), 401);
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
