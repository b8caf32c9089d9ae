//! The gateway of the real program, and homeservers of tabs that a test plays.
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::LocalBoxFuture};
use libp2p::{
    Transport as _,
    core::{muxing::StreamMuxerBox, upgrade::Version},
    identity::Keypair,
    noise, swarm,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use ruma::{
    CanonicalJsonObject, OwnedServerName, ServerName,
    api::{
        auth_scheme::AuthScheme,
        federation::authentication::{ServerSignatures, XMatrixSigningInput},
    },
    serde::{Base64, base64::Standard},
    signatures::sign_json,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::{spawn_blocking, spawn_local};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName as TlsName, pem::PemObject},
};
use warren::{
    domain::identity::Identity,
    p2p::network::{
        BaseTransport, Caller, DIRECT_PEERS_MAX, Gateway, Network, NetworkOptions, PeerHandler, RelayState,
        yamux_config,
    },
    ports::{Clock, Entropy, Lane, Tasks, Transport, TransportError},
};

use crate::warren::{Answer, Warren, new_dirs};

pub const ZONE: &str = "tabs.example.org";
pub const VERSION: &str = "/_matrix/federation/v1/version";
pub const KEYS: &str = "/_matrix/key/v2/server";

struct Here;

impl Clock for Here {
    fn now_ms(&self) -> u64 {
        0
    }

    fn sleep_ms(&self, duration_ms: u64) -> LocalBoxFuture<'static, ()> {
        tokio::time::sleep(Duration::from_millis(duration_ms)).boxed_local()
    }
}

impl Entropy for Here {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

impl Tasks for Here {
    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        spawn_local(task);
    }
}

/// `warren serve` with a gateway behind a proxy, which the test is, or with TLS of its own.
pub struct Gate {
    pub warren: Warren,
    pub port: u16,
    certificates: Option<TempDir>,
}

impl Gate {
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// With a certificate for all names of the zone, by an authority of this test.
    pub fn start_with_tls() -> Self {
        Self::start_with(Some(certificates()))
    }

    fn start_with(certificates: Option<TempDir>) -> Self {
        // Free a moment ago; the program has no other way to say which one it took.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let file =
            |name: &str| certificates.as_ref().map(|directory| directory.path().join(name).display().to_string());
        let (cert, key) = (file("cert.pem"), file("key.pem"));
        let mut flags = vec!["--gateway-zone", ZONE, "--gateway-listen", &listen];
        for (flag, value) in [("--tls-cert", &cert), ("--tls-key", &key)] {
            flags.extend(value.as_deref().into_iter().flat_map(|value| [flag, value]));
        }
        let warren = Warren::start_with(new_dirs(), &flags);
        Self { warren, port, certificates }
    }

    /// What a server of the web gets for `path` of `host`.
    pub async fn ask(&self, method: &'static str, path: &'static str, host: &str) -> Answer {
        let (port, host) = (self.port, host.to_owned());
        let asking = move || {
            let mut stream = connect(port);
            stream.write_all(head(method, path, &host).as_bytes()).unwrap();
            Answer::read(stream)
        };
        spawn_blocking(asking).await.unwrap()
    }

    /// The same over TLS, to whom shows that it is `name`. Errs where nobody does.
    pub async fn ask_by_tls(&self, path: &'static str, name: &str, host: &str) -> std::io::Result<Answer> {
        let ca = self.certificates.as_ref().unwrap().path().join("ca.pem");
        let (port, name, host) = (self.port, name.to_owned(), host.to_owned());
        let asking = move || {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
            let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let shaking = ClientConnection::new(Arc::new(config), TlsName::try_from(name).unwrap()).unwrap();
            let mut stream = StreamOwned::new(shaking, connect(port));
            stream.write_all(head("GET", path, &host).as_bytes())?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes)?;
            Ok(Answer::of(bytes))
        };
        spawn_blocking(asking).await.unwrap()
    }

    pub fn gateway(&self) -> Gateway {
        let config = self.warren.config();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        assert_eq!(config["serverNameSuffix"], ZONE);
        Gateway { peer: text(&config["gateway"]["peer"]), zone: text(&config["gateway"]["zone"]) }
    }
}

/// A connection to a port of this machine.
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(crate::warren::PATIENCE)).unwrap();
    stream
}

fn head(method: &str, path: &str, host: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

/// `ca.pem`, and by it `cert.pem` and `key.pem` for the names of the zone.
fn certificates() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let leaf = CertificateParams::new(vec![format!("*.{ZONE}")]).unwrap();
    let leaf = leaf.signed_by(&key, &authority, &authority_key).unwrap();
    let write = |name: &str, content: String| fs::write(Path::join(directory.path(), name), content).unwrap();
    write("ca.pem", authority.pem());
    write("cert.pem", leaf.pem());
    write("key.pem", key.serialize_pem());
    directory
}

pub fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

/// A homeserver that answers with what it heard, and with its keys.
pub struct Tab {
    pub identity: Rc<Identity>,
    pub network: Network,
}

impl Tab {
    pub async fn start(gate: &Gate, seed: u8) -> Self {
        let identity = Rc::new(Identity::from_seed([seed; 32], ZONE).unwrap());
        let keypair = Keypair::ed25519_from_bytes(identity.seed()).unwrap();
        let tcp = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::new());
        let base: BaseTransport = libp2p_websocket::Config::new(tcp)
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(&keypair).unwrap())
            .multiplex(yamux_config())
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
            .boxed();
        let relay = gate.warren.config()["relays"][0].as_str().unwrap().replace("/dns4/localhost", "/ip4/127.0.0.1");
        let options = NetworkOptions {
            identity: identity.clone(),
            relays: vec![relay],
            rtc: None,
            direct_peers_max: DIRECT_PEERS_MAX,
            has_ice_servers: false,
            gateway: Some(gate.gateway()),
            clock: Rc::new(Here),
            entropy: Rc::new(Here),
            tasks: Rc::new(Here),
        };
        let network = Network::new(options, base, swarm::Config::with_tokio_executor());
        let own = identity.clone();
        let handler: PeerHandler = Rc::new(move |caller, request| {
            let body = match request.uri().path() {
                "/_matrix/key/v2/server" => published(&own),
                _ => {
                    let path = request.uri().to_string();
                    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
                    let by_gateway = matches!(caller, Caller::Gateway(_));
                    json!({ "heard": path, "host": host, "by_gateway": by_gateway, "bytes": request.body().len() })
                        .to_string()
                }
            };
            async move { http::Response::new(Bytes::from(body)) }.boxed_local()
        });
        network.run(handler, Rc::new(|_| {}));
        let tab = Self { identity, network };
        tab.ready().await;
        tab
    }

    async fn ready(&self) {
        let ready = async {
            while !matches!(self.network.status().relays[0].state, RelayState::Ready { .. }) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(crate::warren::PATIENCE, ready).await.expect("the relay is there");
    }

    pub fn name(&self) -> &ServerName {
        self.identity.server_name()
    }

    /// A request to a server of the web, signed by this homeserver.
    pub async fn ask(&self, destination: &str, path: &str) -> (u16, Value) {
        let destination = ServerName::parse(destination).unwrap();
        let mut request = http::Request::get(path).body(Bytes::new()).unwrap();
        let signing = XMatrixSigningInput::new(self.name().to_owned(), destination.clone(), self.identity.key_pair());
        ServerSignatures::add_authentication(&mut request, signing).unwrap();
        self.send(destination, request).await.unwrap()
    }

    pub async fn send(
        &self,
        destination: OwnedServerName,
        request: http::Request<Bytes>,
    ) -> Result<(u16, Value), TransportError> {
        let answer = self.network.request(destination, Lane::Queries, request).await?;
        Ok((answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap()))
    }
}

fn published(identity: &Identity) -> String {
    let key = Base64::<Standard, _>::new(identity.public_key().0.to_vec()).encode();
    let keys = json!({
        "server_name": identity.server_name(),
        "verify_keys": { "ed25519:self": { "key": key } },
        "old_verify_keys": {},
        "valid_until_ts": 4_000_000_000_000u64,
    });
    let mut keys: CanonicalJsonObject = serde_json::from_value(keys).unwrap();
    sign_json(identity.server_name().as_str(), identity.key_pair(), &mut keys).unwrap();
    serde_json::to_string(&keys).unwrap()
}
