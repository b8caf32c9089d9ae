//! An internet of its own: homeservers and liars on loopback, found by the names a test gives them.
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{FutureExt, future::BoxFuture};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::server::TlsStream;

use super::*;
use crate::federation::{
    Reach,
    certificate::Certificate,
    names::{Names, SrvRecord},
    trust::Trust,
};

/// Who certifies everybody here.
struct Authority {
    directory: tempfile::TempDir,
    root: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap();
        std::fs::write(directory.path().join("ca.pem"), root.pem()).unwrap();
        Self { directory, root, key }
    }

    fn trust(&self) -> Trust {
        Trust::new(&[self.directory.path().join("ca.pem")], false).unwrap()
    }

    fn certify(&self, names: &[&str]) -> Arc<Certificate> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        let certificate = params.signed_by(&key, &self.root, &self.key).unwrap();
        let (cert_file, key_file) = (self.directory.path().join("cert.pem"), self.directory.path().join("key.pem"));
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        Certificate::load(&cert_file, &key_file).unwrap()
    }
}

/// A server that answers what `answer` makes of the host and the path.
struct Station {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Station {
    /// Bytes in answer to `host path`, all on one connection; an empty answer closes it.
    async fn new(
        authority: &Authority,
        names: &[&str],
        answer: impl Fn(&str) -> Vec<u8> + Clone + Send + 'static,
    ) -> Self {
        Self::on([127, 0, 0, 1], authority, names, answer).await
    }

    async fn on(
        ip: [u8; 4],
        authority: &Authority,
        names: &[&str],
        answer: impl Fn(&str) -> Vec<u8> + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((IpAddr::from(ip), 0)).await.unwrap();
        let station =
            Self { address: listener.local_addr().unwrap(), connections: Arc::default(), asked: Arc::default() };
        let acceptor = authority.certify(names).acceptor();
        let (connections, asked) = (station.connections.clone(), station.asked.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let (acceptor, answer, asked) = (acceptor.clone(), answer.clone(), asked.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    while let Some(question) = question(&mut stream).await {
                        asked.lock().unwrap().push(question.clone());
                        let answer = answer(&question);
                        if answer.is_empty() || stream.write_all(&answer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        station
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// Host and path of the next request.
async fn question(stream: &mut TlsStream<tokio::net::TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or("nobody");
    Some(format!("{host} {path}"))
}

fn said(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn here(question: &str) -> Vec<u8> {
    match question.ends_with("/.well-known/matrix/server") {
        true => said("404 Not Found", "", ""),
        false => said("200 OK", "", "{}"),
    }
}

/// What names mean, in the order of look-ups where they change their mind.
#[derive(Clone, Default)]
struct Atlas {
    addresses: BTreeMap<(String, u16), Vec<Vec<SocketAddr>>>,
    services: BTreeMap<String, Vec<SrvRecord>>,
    look_ups: Arc<AtomicUsize>,
}

impl Atlas {
    fn host(mut self, host: &str, port: u16, address: SocketAddr) -> Self {
        self.addresses.entry((host.to_owned(), port)).or_default().push(vec![address]);
        self
    }

    fn service(mut self, name: &str, target: &str, port: u16) -> Self {
        let service = SrvRecord { priority: 1, weight: 1, port, target: target.to_owned() };
        self.services.entry(name.to_owned()).or_default().push(service);
        self
    }

    fn client(&self, authority: &Authority, reach: Reach) -> FederationClient {
        FederationClient::new(Dialer::new(Arc::new(self.clone()), authority.trust(), reach))
    }
}

impl Names for Atlas {
    fn addresses(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let turn = self.look_ups.fetch_add(1, Ordering::Relaxed);
        let found = self.addresses.get(&(host.to_owned(), port));
        let found = found.map(|turns| turns[turn.min(turns.len() - 1)].clone());
        async move { found.ok_or_else(|| io::Error::other("no such name")) }.boxed()
    }

    fn services(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<SrvRecord>>> {
        let found = self.services.get(name).cloned().unwrap_or_default();
        async move { Ok(found) }.boxed()
    }
}

async fn ask(client: &FederationClient, server: &str) -> Result<Response<Bytes>, TransportError> {
    let server = ServerName::parse(server).unwrap();
    let request = Request::get("/_matrix/federation/v1/version?a=b").body(Bytes::new()).unwrap();
    client.request(&server, Lane::Queries, request).await
}

/// Long enough for what is on its way on this machine; where it is not, more is given up than was meant.
const SHORT: Duration = Duration::from_millis(500);

const ASKED: &str = "/_matrix/federation/v1/version?a=b";
const WELL_KNOWN: &str = "/.well-known/matrix/server";

#[tokio::test]
async fn a_server_is_found_as_the_specification_says() {
    let authority = Authority::new();
    let station = Station::new(&authority, &["a.example", "b.example", "127.0.0.1"], |question| {
        if question.starts_with("a.example /.well-known") {
            return said("200 OK", "cache-control: max-age=600\r\n", r#"{"m.server":"b.example"}"#);
        }
        here(question)
    });
    let station = station.await;
    let at = station.address;
    // An address, and a name, with a port: nobody is asked where they are.
    let atlas = Atlas::default().host("a.example", 1234, at);
    let client = atlas.client(&authority, Reach::Everywhere);
    ask(&client, &format!("127.0.0.1:{}", at.port())).await.unwrap();
    assert_eq!(station.asked(), [format!("{at} {ASKED}")]);
    ask(&client, "a.example:1234").await.unwrap();
    assert_eq!(station.asked(), [format!("a.example:1234 {ASKED}")]);
    // The host names another, which has a service, of either name.
    for service in ["_matrix-fed._tcp.b.example", "_matrix._tcp.b.example"] {
        let atlas = Atlas::default().host("a.example", 443, at).service(service, "c.example", 77);
        let client = atlas.host("c.example", 77, at).client(&authority, Reach::Everywhere);
        ask(&client, "a.example").await.unwrap();
        ask(&client, "a.example").await.unwrap();
        let expected = [format!("a.example {WELL_KNOWN}"), format!("b.example {ASKED}"), format!("b.example {ASKED}")];
        assert_eq!(station.asked(), expected, "the delegation holds for a while");
    }
    // Or none, and then it is where homeservers are.
    let atlas = Atlas::default().host("a.example", 443, at).host("b.example", 8448, at);
    ask(&atlas.client(&authority, Reach::Everywhere), "a.example").await.unwrap();
    assert_eq!(station.asked()[1], format!("b.example {ASKED}"));
    // The host says nothing: its own services, or its own port.
    let atlas = Atlas::default().service("_matrix-fed._tcp.b.example", "c.example", 77).host("c.example", 77, at);
    ask(&atlas.host("b.example", 443, at).client(&authority, Reach::Everywhere), "b.example").await.unwrap();
    assert_eq!(station.asked(), [format!("b.example {WELL_KNOWN}"), format!("b.example {ASKED}")]);
    let atlas = Atlas::default().host("b.example", 8448, at);
    ask(&atlas.client(&authority, Reach::Everywhere), "b.example").await.unwrap();
    assert_eq!(station.asked(), [format!("b.example {ASKED}")]);
}

#[tokio::test]
async fn a_request_goes_to_the_target_that_was_signed() {
    let authority = Authority::new();
    let station = Station::new(&authority, &["127.0.0.1"], here).await;
    let client = Atlas::default().client(&authority, Reach::Everywhere);
    let (at, server) = (station.address, ServerName::parse(station.address.to_string()).unwrap());
    for target in ["/a", "/a?", "/a??", "/a?b=&", "/%61?c=%20+"] {
        let request = Request::get(target).body(Bytes::new()).unwrap();
        client.request(&server, Lane::Queries, request).await.unwrap();
        assert_eq!(station.asked(), [format!("{at} {target}")]);
    }
}

#[tokio::test]
async fn what_a_host_says_without_sense_or_end_is_as_if_it_said_nothing() {
    let authority = Authority::new();
    let long = format!(r#"{{"m.server":"b.example","x":"{}"}}"#, "x".repeat(10_000_000));
    let loops = said("302 Found", &format!("location: {WELL_KNOWN}\r\n"), "");
    let plain = said("301 Moved", "location: http://b.example/\r\n", "");
    let file = said("301 Moved", "location: file:///etc/passwd\r\n", "");
    let endless_head = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(1_000_000)).into_bytes();
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{\"m.server\"".to_vec();
    let nothing = said("200 OK", "", "{\"m.server\":{}}");
    let teapot = said("418 I'm a teapot", "", r#"{"m.server":"b.example"}"#);
    let broken = said("500 Broken", "", r#"{"m.server":"b.example"}"#);
    let answers = [said("200 OK", "", &long), loops, plain, file, endless_head, half, nothing, teapot, broken];
    for answer in answers {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
        let station = Station::new(&authority, &["a.example"], move |question| {
            if question.ends_with(WELL_KNOWN) {
                return answer.clone();
            }
            here(question)
        });
        let station = station.await;
        let atlas = Atlas::default().host("a.example", 443, station.address).host("a.example", 8448, station.address);
        let mut dialer = Dialer::new(Arc::new(atlas), authority.trust(), Reach::Everywhere);
        if shown.contains("content-length: 24") {
            dialer.step_max = SHORT;
        }
        let client = FederationClient::new(dialer);
        let answer = ask(&client, "a.example").await;
        assert!(answer.is_ok(), "{shown}: {answer:?}");
        let asked = station.asked();
        assert_eq!(asked.last().unwrap(), &format!("a.example {ASKED}"), "{shown}");
        assert!(asked.len() <= 12, "{shown}: {asked:?}");
    }
}

#[tokio::test]
async fn a_certificate_is_for_the_name_that_was_meant() {
    let authority = Authority::new();
    let station = Station::new(&authority, &["c.example"], here).await;
    let at = station.address;
    // The target of a service record has a certificate of its own name, which is not the one that counts.
    let atlas = Atlas::default()
        .service("_matrix-fed._tcp.b.example", "c.example", 77)
        .host("c.example", 77, at)
        .host("a.example", 1, at)
        .host("c.example", 1, at);
    let client = atlas.client(&authority, Reach::Everywhere);
    for name in ["a.example:1", "b.example", &format!("127.0.0.1:{}", at.port())] {
        let refused = ask(&client, name).await;
        assert!(matches!(refused, Err(TransportError::Unreachable { .. })), "{name}: {refused:?}");
    }
    ask(&client, "c.example:1").await.unwrap();
    // Somebody nobody trusts certifies the right name.
    let stranger = Station::new(&Authority::new(), &["c.example"], here).await;
    let atlas = Atlas::default().host("c.example", 1, stranger.address);
    let refused = ask(&atlas.client(&authority, Reach::Everywhere), "c.example:1").await;
    assert!(matches!(refused, Err(TransportError::Unreachable { .. })), "{refused:?}");
    // On this machine, and if the settings say so, anybody does.
    let trust = Trust::new(&[], true).unwrap();
    let client = FederationClient::new(Dialer::new(Arc::new(atlas), trust, Reach::Everywhere));
    ask(&client, "c.example:1").await.unwrap();
}

#[tokio::test]
async fn no_name_leads_where_it_may_not() {
    let authority = Authority::new();
    let station = Station::new(&authority, &["a.example"], here).await;
    let at = station.address;
    let unreachable = |outcome: Result<Response<Bytes>, TransportError>, why: &str| match outcome {
        Err(TransportError::Unreachable { reason, .. }) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    };
    let atlas = Atlas::default().host("a.example", 1, at).host("localhost", 1, at);
    let client = atlas.client(&authority, Reach::Public);
    let why = "which is no address of the public internet";
    for name in ["a.example:1", "localhost:1", &at.to_string(), "[::1]:1", "[::ffff:127.0.0.1]:1", "192.168.1.1"] {
        unreachable(ask(&client, name).await, why);
    }
    // A name with an address of either kind is dialed at the one that may be.
    let denied: SocketAddr = (IpAddr::from([127, 0, 0, 2]), at.port()).into();
    let reach = Reach::AllBut(denied.ip());
    let mut atlas = Atlas::default();
    atlas.addresses.insert(("a.example".to_owned(), 1), vec![vec![denied, at]]);
    ask(&atlas.client(&authority, reach), "a.example:1").await.unwrap();
    // One that changes its mind between look-ups is judged by what is dialed.
    let mut atlas = Atlas::default();
    atlas.addresses.insert(("a.example".to_owned(), 1), vec![vec![at], vec![denied]]);
    let closing = Station::new(&authority, &["a.example"], |_| said("200 OK", "connection: close\r\n", "{}")).await;
    atlas.addresses.get_mut(&("a.example".to_owned(), 1)).unwrap()[0] = vec![closing.address];
    let client = atlas.client(&authority, reach);
    ask(&client, "a.example:1").await.unwrap();
    unreachable(ask(&client, "a.example:1").await, why);
    // Nor does a redirect of what a host says, nor the name it delegates to, nor a service.
    let forbidden = Station::on([127, 0, 0, 2], &authority, &["127.0.0.2"], here).await;
    let location = format!("location: https://127.0.0.2:{}/\r\n", forbidden.address.port());
    let liar = Station::new(&authority, &["a.example"], move |_| said("302 Found", &location, "")).await;
    let atlas = Atlas::default().host("a.example", 443, liar.address);
    assert!(ask(&atlas.client(&authority, reach), "a.example").await.is_err());
    let delegate = |_: &str| said("200 OK", "", r#"{"m.server":"127.0.0.2:1"}"#);
    let liar = Station::new(&authority, &["a.example"], delegate).await;
    let atlas = Atlas::default().host("a.example", 443, liar.address);
    unreachable(ask(&atlas.client(&authority, reach), "a.example").await, why);
    let atlas = Atlas::default().service("_matrix._tcp.a.example", "127.0.0.2", 1);
    unreachable(ask(&atlas.client(&authority, reach), "a.example").await, why);
    assert_eq!(forbidden.connections.load(Ordering::Relaxed), 0);
    // Names under .alt are nobody's on the web (RFC 9476).
    unreachable(ask(&Atlas::default().client(&authority, reach), "a.alt").await, "nowhere on the web");
}

#[tokio::test]
async fn connections_are_used_again_and_one_that_has_ended_is_no_loss() {
    let authority = Authority::new();
    let station = Station::new(&authority, &["a.example"], here).await;
    let client = Atlas::default().host("a.example", 1, station.address).client(&authority, Reach::Everywhere);
    for _ in 0..5 {
        ask(&client, "a.example:1").await.unwrap();
    }
    assert_eq!(station.connections.load(Ordering::Relaxed), 1);
    let together = (0..40).map(|_| ask(&client, "a.example:1"));
    for answer in futures::future::join_all(together).await {
        answer.unwrap();
    }
    assert!(station.connections.load(Ordering::Relaxed) <= 2 * QUERIES_PER_SERVER_MAX);

    // Ends every connection as it is asked a second time.
    let turns = Arc::new(AtomicUsize::new(0));
    let fickle = move |question: &str| match turns.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => here(question),
        _ => Vec::new(),
    };
    let station = Station::new(&authority, &["a.example"], fickle).await;
    let client = Atlas::default().host("a.example", 1, station.address).client(&authority, Reach::Everywhere);
    ask(&client, "a.example:1").await.unwrap();
    ask(&client, "a.example:1").await.unwrap();
    assert_eq!(station.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_answer_has_an_end() {
    let authority = Authority::new();
    let server = ServerName::parse("a.example:1").unwrap();
    let large = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", ANSWER_MAX_BYTES + 1).into_bytes();
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(ANSWER_HEADERS_MAX + 1)).into_bytes();
    for answer in [large, many, b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n\r\n".to_vec()] {
        let station = Station::new(&authority, &["a.example"], move |_| answer.clone()).await;
        let client = Atlas::default().host("a.example", 1, station.address).client(&authority, Reach::Everywhere);
        let refused = ask(&client, server.as_str()).await;
        assert!(matches!(refused, Err(TransportError::Malformed { .. })), "{refused:?}");
    }
    // A redirect is an answer, and is not followed.
    let moved = |_: &str| said("307 Moved", "location: https://127.0.0.1/\r\n", "");
    let station = Station::new(&authority, &["a.example"], moved).await;
    let client = Atlas::default().host("a.example", 1, station.address).client(&authority, Reach::Everywhere);
    assert_eq!(ask(&client, "a.example:1").await.unwrap().status(), 307);
    // One that stops in the middle, or does not begin, is given up.
    for (answer, head, stall) in
        [("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", HEAD_WAIT_MAX, SHORT), ("HTTP/1.1 200", SHORT, STALL_MAX)]
    {
        let station = Station::new(&authority, &["a.example"], |_| answer.as_bytes().to_vec()).await;
        let atlas = Atlas::default().host("a.example", 1, station.address);
        let dialer = Dialer::new(Arc::new(atlas), authority.trust(), Reach::Everywhere);
        let client = FederationClient::with(dialer, Patience { head, stall, body: BODY_WAIT_MAX });
        assert_eq!(ask(&client, "a.example:1").await.unwrap_err(), TransportError::TimedOut { server: server.clone() });
    }
}
