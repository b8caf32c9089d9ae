//! The gateway of the real program, with homeservers of tabs that this test plays, and the web.
use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    rc::Rc,
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
use ruma::{
    CanonicalJsonObject, OwnedServerName, ServerName,
    api::{
        auth_scheme::AuthScheme,
        federation::authentication::{ServerSignatures, XMatrixSigningInput},
    },
    serde::{Base64, base64::Standard},
    signatures::{PublicKeyMap, sign_json, verify_json},
};
use serde_json::{Value, json};
use tokio::task::{LocalSet, spawn_blocking, spawn_local};
use warren::{
    domain::identity::Identity,
    p2p::network::{
        BaseTransport, Caller, DIRECT_PEERS_MAX, Gateway, Network, NetworkOptions, PeerHandler, RelayState,
        yamux_config,
    },
    ports::{Clock, Entropy, Lane, Tasks, Transport, TransportError},
};

use crate::warren::{Answer, Warren, new_dirs};

const ZONE: &str = "tabs.example.org";

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

/// `warren serve` with a gateway behind a proxy, which the test is.
struct Gate {
    warren: Warren,
    port: u16,
}

impl Gate {
    fn start() -> Self {
        // Free a moment ago; the program has no other way to say which one it took.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let warren = Warren::start_with(new_dirs(), &["--gateway-zone", ZONE, "--gateway-listen", &listen]);
        Self { warren, port }
    }

    /// What a server of the web gets for `path` of `host`.
    async fn ask(&self, method: &'static str, path: &'static str, host: &str) -> Answer {
        let (port, host) = (self.port, host.to_owned());
        let asking = move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(crate::warren::PATIENCE)).unwrap();
            let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            Answer::read(stream)
        };
        spawn_blocking(asking).await.unwrap()
    }

    fn gateway(&self) -> Gateway {
        let config = self.warren.config();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        assert_eq!(config["serverNameSuffix"], ZONE);
        Gateway { peer: text(&config["gateway"]["peer"]), zone: text(&config["gateway"]["zone"]) }
    }
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

/// A homeserver that answers with what it heard, and with its keys.
struct Tab {
    identity: Rc<Identity>,
    network: Network,
}

impl Tab {
    async fn start(gate: &Gate, seed: u8) -> Self {
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
            assert!(matches!(caller, Caller::Gateway(_)));
            let body = match request.uri().path() {
                "/_matrix/key/v2/server" => published(&own),
                path => json!({ "heard": path, "host": request.headers()["host"].to_str().unwrap() }).to_string(),
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

    fn name(&self) -> &ServerName {
        self.identity.server_name()
    }

    /// A request to a server of the web, signed by this homeserver.
    async fn ask(&self, destination: &str, path: &str) -> (u16, Value) {
        let destination = ServerName::parse(destination).unwrap();
        let mut request = http::Request::get(path).body(Bytes::new()).unwrap();
        let signing = XMatrixSigningInput::new(self.name().to_owned(), destination.clone(), self.identity.key_pair());
        ServerSignatures::add_authentication(&mut request, signing).unwrap();
        self.send(destination, request).await.unwrap()
    }

    async fn send(
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

const VERSION: &str = "/_matrix/federation/v1/version";
const KEYS: &str = "/_matrix/key/v2/server";

#[tokio::test]
async fn the_web_reaches_tabs_by_their_names_and_learns_why_it_does_not() {
    let test = async {
        let gate = Gate::start();
        let tab = Tab::start(&gate, 1).await;
        let name = tab.name().as_str();
        let found = gate.ask("GET", "/.well-known/matrix/server", name).await;
        assert_eq!((found.status, json_of(&found)["m.server"].clone()), (200, json!(format!("{name}:443"))));
        for host in [name.to_owned(), format!("{name}:8448")] {
            let heard = gate.ask("GET", VERSION, &host).await;
            assert_eq!((heard.status, json_of(&heard)), (200, json!({ "heard": VERSION, "host": name })));
        }
        // Nothing but what servers ask of each other, of nobody but homeservers of the zone.
        for (path, host) in [
            ("/_matrix/client/versions", name),
            ("/", name),
            ("/config.json", name),
            ("/_matrix/federation/../client/versions", name),
            (VERSION, ZONE),
            (VERSION, "example.org"),
            (VERSION, &name.replace(ZONE, "alt")),
            ("/.well-known/matrix/server", "www.tabs.example.org"),
        ] {
            assert_eq!(gate.ask("GET", path, host).await.status, 404, "{path} of {host}");
        }
        let away = Identity::from_seed([9; 32], ZONE).unwrap();
        let missing = gate.ask("GET", VERSION, away.server_name().as_str()).await;
        assert_eq!((missing.status, json_of(&missing)["errcode"].clone()), (502, json!("M_UNKNOWN")));
        assert!(json_of(&missing)["error"].as_str().unwrap().contains("browser tab"));
        assert_eq!(gate.ask("GET", KEYS, away.server_name().as_str()).await.status, 502);

        // While the tab sleeps it can still be known that it said what it said.
        let awake = gate.ask("GET", KEYS, name).await;
        tab.network.stop();
        let asleep = async {
            while gate.ask("GET", VERSION, name).await.status != 502 {}
            gate.ask("GET", KEYS, name).await
        };
        let asleep = tokio::time::timeout(crate::warren::PATIENCE, asleep).await.expect("the gateway notices");
        assert_eq!((asleep.status, json_of(&asleep)), (200, json_of(&awake)));
        assert_eq!(json_of(&asleep)["server_name"], name);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_tab_is_carried_nowhere_but_to_servers_of_the_web_and_only_in_its_own_name() {
    let test = async {
        let gate = Gate::start();
        let (tab, other) = (Tab::start(&gate, 1).await, Tab::start(&gate, 2).await);
        // Neither this machine nor its network, whatever they are called.
        for inside in
            ["127.0.0.1:1", "[::1]:1", "192.168.1.1", "10.0.0.1:8448", "169.254.169.254:80", "[::ffff:127.0.0.1]:1"]
        {
            let (status, body) = tab.ask(inside, VERSION).await;
            let reason = body["error"].as_str().unwrap();
            assert_eq!(
                (status, reason.contains("no address of the public internet")),
                (502, true),
                "{inside}: {reason}"
            );
        }
        assert_eq!(tab.ask("localhost:1", VERSION).await.0, 502);
        for path in ["/_matrix/client/v3/sync", "/admin", "/_matrix/federation/../../admin", "/_matrix/key/v2/server"] {
            assert_eq!(tab.ask("example.org", path).await.0, 404, "{path}");
        }
        // In the name of another, and with nobody's.
        let web = ServerName::parse("example.org").unwrap();
        let mut forged = http::Request::get(VERSION).body(Bytes::new()).unwrap();
        let signing = XMatrixSigningInput::new(other.name().to_owned(), web.clone(), other.identity.key_pair());
        ServerSignatures::add_authentication(&mut forged, signing).unwrap();
        assert_eq!(tab.send(web.clone(), forged).await.unwrap().0, 401);
        let unsigned = http::Request::get(VERSION).header("authorization", "Bearer x").body(Bytes::new()).unwrap();
        assert_eq!(tab.send(web, unsigned).await.unwrap().0, 401);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn the_gateway_is_a_notary_of_its_tabs_and_has_nothing_else() {
    let test = async {
        let gate = Gate::start();
        let (tab, other) = (Tab::start(&gate, 1).await, Tab::start(&gate, 2).await);
        let notary = gate.gateway().server_name().unwrap();
        let query = |server: &str| {
            let path = format!("/_matrix/key/v2/query/{server}");
            tab.send(notary.clone(), http::Request::get(path).body(Bytes::new()).unwrap())
        };
        let (status, told) = query(other.name().as_str()).await.unwrap();
        assert_eq!(status, 200);
        let [keys] = told["server_keys"].as_array().unwrap().as_slice() else { panic!("{told}") };
        assert_eq!(keys["server_name"], other.name().as_str());
        let key = warren::domain::identity::PublicKey::of_server_name(&notary).unwrap();
        let mut alone: CanonicalJsonObject = serde_json::from_value(keys.clone()).unwrap();
        let own = keys["signatures"][notary.as_str()].clone();
        alone.insert("signatures".to_owned(), serde_json::from_value(json!({ notary.as_str(): own })).unwrap());
        let known: PublicKeyMap = key.public_key_map(&notary);
        verify_json(&known, &alone).unwrap();
        // Of servers that it cannot reach it says nothing.
        let (status, told) = query("127.0.0.1:1").await.unwrap();
        assert_eq!((status, told["server_keys"].clone()), (200, json!([])));
        for path in ["/_matrix/federation/v1/version", "/_matrix/client/versions", "/_matrix/federation/v1/publicRooms"]
        {
            let request = http::Request::get(path).body(Bytes::new()).unwrap();
            assert_eq!(tab.send(notary.clone(), request).await.unwrap().0, 404, "{path}");
        }
        let found = gate.ask("GET", KEYS, notary.as_str()).await;
        assert_eq!(json_of(&found)["server_name"], notary.as_str());
    };
    LocalSet::new().run_until(test).await;
}

#[test]
fn flags_that_make_no_gateway_are_refused() {
    let refused = |flags: &[&str]| {
        let dirs = new_dirs();
        let output = crate::warren::command(dirs.path(), flags).stderr(std::process::Stdio::piped()).output().unwrap();
        assert!(!output.status.success(), "{flags:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--gateway-zone", "Not_A.zone"]).contains("not a DNS name"));
    assert!(refused(&["--gateway-zone", ZONE, "--name-suffix", "alt"]).contains("--name-suffix"));
    assert!(refused(&["--gateway-listen", "127.0.0.1:0"]).contains("--gateway-zone"));
    assert!(refused(&["--gateway-zone", ZONE, "--tls-cert", "x.pem"]).contains("--tls-key"));
    assert!(
        refused(&["--gateway-zone", ZONE, "--gateway-listen", "0.0.0.0:0"]).contains("--gateway-listen on 127.0.0.1")
    );
}
