//! The homeserver as the worker's script sees it: started, asked, stopped.
use std::{cell::RefCell, rc::Rc};

use futures::{
    FutureExt,
    channel::oneshot,
    future::{Either, Shared, select},
};
use libp2p_webrtc_p2p::backend::{
    RtcBackend,
    browser::BrokeredBackend,
    ice::{IceConfiguration, IceServer},
};
use serde::Deserialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;
use web_sys::MessagePort;

use crate::{
    clock::BrowserClock,
    entropy::BrowserEntropy,
    host_error::HostError,
    indexeddb::IndexedDb,
    logging,
    neighbours::Neighbours,
    offload::InlineOffload,
    online::OnlineListener,
    peer_transport, request_bridge,
    status::{HostStatus, OutboxStatus, RelayStatus, StatusReporter, StorageKind, StorageStatus},
    tasks::BrowserTasks,
    watched_store::WatchedStore,
};
use warren::{
    api::{self, Origin},
    homeserver::{Homeserver, Options, identity},
    p2p::network::{self, DIRECT_PEERS_MAX, Network, NetworkOptions},
    ports::{Environment, Store},
    storage::{memory::MemoryStore, tables::SCHEMA_VERSION},
};

/// What the worker decides about a host.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    /// Names the profile in the log.
    profile: String,
    /// Name of the IndexedDB database.
    database: String,
    storage: StorageKind,
    /// Multiaddrs of relays, with their peer ids.
    #[serde(default)]
    relays: Vec<String>,
    server_name_suffix: String,
    /// Servers that help to find direct paths, as an `RTCConfiguration` names them.
    #[serde(default)]
    ice_servers: Vec<IceServer>,
    /// The relay through which servers of the web are reached, and that tells their keys.
    gateway: Option<Gateway>,
    /// Of these only TURN servers are used, and nobody is told an address of this device.
    #[serde(default)]
    hide_addresses: bool,
    /// "error", "warn" or "info"; builds with debug assertions have "debug" and "trace", too.
    #[serde(default = "default_log_level")]
    log_level: String,
}

fn default_log_level() -> String {
    "info".to_owned()
}

#[derive(Debug, Deserialize)]
struct Gateway {
    peer: String,
    zone: String,
}

/// One running homeserver. Dropping it without `stop` leaves it running.
#[wasm_bindgen]
pub struct Host {
    homeserver: Rc<Homeserver>,
    network: Network,
    neighbours: Option<Neighbours>,
    tasks: BrowserTasks,
    status: StatusReporter,
    database: Option<Rc<IndexedDb>>,
    stop: RefCell<Option<oneshot::Sender<()>>>,
    stopped: Shared<oneshot::Receiver<()>>,
    online: RefCell<Option<OnlineListener>>,
}

#[wasm_bindgen]
impl Host {
    /// Opens storage, claims the fencing epoch, loads or makes the identity, starts swarm and homeserver. `on_status`
    /// is called with a `HostStatus` now and whenever it changes. At the other end of `rtc` the page makes peer
    /// connections; without it peers are reached by relays only. Rejects with `{ code, message }`.
    pub async fn start(
        config: JsValue,
        on_status: js_sys::Function,
        rtc: Option<MessagePort>,
    ) -> Result<Host, JsValue> {
        let config: Config = parse(&config)?;
        logging::install(&config.log_level);
        tracing::info!(profile = config.profile, database = config.database, storage = ?config.storage, "starting");
        Ok(Self::start_with(config, on_status, rtc).await?)
    }

    /// One Client-Server request. `headers` is an array of pairs, `url` path and query. Resolves to
    /// `{ status, headers, body }`; rejects only after `stop`.
    pub fn handle(
        &self,
        method: &str,
        url: &str,
        headers: &js_sys::Array,
        body: Option<js_sys::Uint8Array>,
    ) -> js_sys::Promise {
        let request = request_bridge::request(method, url, headers, body);
        let homeserver = self.homeserver.clone();
        let stopped = self.stopped.clone();
        future_to_promise(async move {
            let answer = async {
                match request {
                    Ok(request) => api::handle(&homeserver, request, Origin::Client).await,
                    Err(refusal) => refusal,
                }
            };
            match select(stopped, answer.boxed_local()).await {
                Either::Left(_) => Err(js_sys::Error::new("the homeserver has stopped").into()),
                Either::Right((answer, _)) => request_bridge::response(&answer),
            }
        })
    }

    /// Ends everything; what was acknowledged is kept. Requests under way are rejected.
    pub async fn stop(&self) {
        self.stop.take();
        self.online.take();
        self.status.stop();
        self.network.stop();
        if let Some(neighbours) = &self.neighbours {
            neighbours.stop();
        }
        self.tasks.stop();
        if let Some(database) = &self.database {
            database.close();
        }
    }
}

impl Host {
    async fn start_with(
        config: Config,
        on_status: js_sys::Function,
        rtc: Option<MessagePort>,
    ) -> Result<Self, HostError> {
        let (store, database) = open_store(&config).await?;
        let started = Self::start_on(store, database.clone(), config, on_status, rtc).await;
        if let (Err(_), Some(database)) = (&started, database) {
            database.close();
        }
        started
    }

    async fn start_on(
        store: Rc<dyn Store>,
        database: Option<Rc<IndexedDb>>,
        config: Config,
        on_status: js_sys::Function,
        rtc: Option<MessagePort>,
    ) -> Result<Self, HostError> {
        let entropy = Rc::new(BrowserEntropy);
        let clock = Rc::new(BrowserClock);
        let tasks = BrowserTasks::default();
        let identity = Rc::new(identity::load_or_create(store.clone(), &*entropy, &config.server_name_suffix).await?);
        let gateway = config.gateway.map(|Gateway { peer, zone }| network::Gateway { peer, zone });
        // The page came from there: whoever serves it can do worse than tell wrong keys.
        let notaries = gateway.iter().filter_map(network::Gateway::server_name).collect();
        let (network, neighbours) = peer_transport::prepare(NetworkOptions {
            identity: identity.clone(),
            relays: config.relays,
            direct_peers_max: DIRECT_PEERS_MAX,
            gateway,
            has_ice_servers: !config.ice_servers.is_empty(),
            rtc: rtc.map(|port| rtc_backend(port, config.ice_servers, config.hide_addresses)),
            clock: clock.clone(),
            entropy: entropy.clone(),
            tasks: Rc::new(tasks.clone()),
        });
        let first = HostStatus {
            server_name: identity.server_name().to_string(),
            peer_id: network.status().peer_id.to_string(),
            storage: StorageStatus { kind: config.storage, error: None },
            relay: RelayStatus::default(),
            addresses: Vec::new(),
            peers: Vec::new(),
            outbox: Vec::new(),
        };
        let status = StatusReporter::new(first, on_status);
        let environment = Environment {
            store: Rc::new(WatchedStore { store, status: status.clone() }),
            transport: Rc::new(network.clone()),
            clock,
            entropy,
            tasks: Rc::new(tasks.clone()),
            offload: Rc::new(InlineOffload),
            // A page may post only where it is let, and sleeps when a push would be wanted.
            push_gateways: None,
        };
        // They touch no person: only what asks without end.
        let options = Options { limit_rates: true, notaries, ..Options::default() };
        let homeserver = Homeserver::start(environment, identity, options).await.inspect_err(|_| {
            status.stop();
            tasks.stop();
        })?;
        report_outbox(&homeserver, &status);
        peer_transport::run(&network, neighbours.as_ref(), &homeserver, &status);
        tracing::info!(server_name = %homeserver.server_name(), "started");
        let (stop, stopped) = oneshot::channel();
        let (stop, stopped) = (RefCell::new(Some(stop)), stopped.shared());
        let nudged = network.clone();
        let online = RefCell::new(Some(OnlineListener::new(move || nudged.nudge())));
        Ok(Self { homeserver, network, neighbours, tasks, status, database, stop, stopped, online })
    }
}

fn rtc_backend(port: MessagePort, servers: Vec<IceServer>, relay_only: bool) -> Box<dyn RtcBackend> {
    let configuration = IceConfiguration { servers, relay_only };
    Box::new(BrokeredBackend::new(port, configuration))
}

fn report_outbox(homeserver: &Rc<Homeserver>, status: &StatusReporter) {
    let reporter = status.clone();
    let server = Rc::downgrade(homeserver);
    let report = move || {
        let Some(server) = server.upgrade() else { return };
        let rows = server.outbox().into_iter().map(|row| OutboxStatus {
            destination: row.destination.to_string(),
            waiting: row.waiting,
            retry_at_ms: row.retry_at_ms,
            error: row.error,
        });
        let outbox = rows.collect();
        reporter.update(|status| status.outbox = outbox);
    };
    report();
    homeserver.on_outbox_change(Box::new(report));
}

fn parse(config: &JsValue) -> Result<Config, HostError> {
    let json = js_sys::JSON::stringify(config).ok().and_then(|json| json.as_string()).unwrap_or_default();
    serde_json::from_str(&json).map_err(|error| HostError::internal(format!("the host's configuration: {error}")))
}

async fn open_store(config: &Config) -> Result<(Rc<dyn Store>, Option<Rc<IndexedDb>>), HostError> {
    match config.storage {
        StorageKind::Memory => Ok((Rc::new(MemoryStore::default()), None)),
        StorageKind::IndexedDb => {
            let database =
                Rc::new(IndexedDb::open(&config.database, SCHEMA_VERSION).await.map_err(|error| HostError {
                    code: HostError::from(error.clone()).code,
                    message: format!("the database {:?} does not open: {error}", config.database),
                })?);
            Ok((database.clone(), Some(database)))
        }
    }
}
