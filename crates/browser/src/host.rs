//! The homeserver as the worker's script sees it: started, asked, stopped.
use std::{cell::RefCell, rc::Rc};

use futures::{
    FutureExt,
    channel::oneshot,
    future::{Either, Shared, select},
};
use serde::Deserialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::{
    clock::BrowserClock,
    entropy::BrowserEntropy,
    host_error::HostError,
    indexeddb::IndexedDb,
    logging,
    offline::OfflineTransport,
    offload::InlineOffload,
    request_bridge,
    status::{HostStatus, RelayStatus, StatusReporter, StorageKind, StorageStatus},
    tasks::BrowserTasks,
    watched_store::WatchedStore,
};
use warren::{
    api::{self, Origin},
    homeserver::{Homeserver, Options, identity},
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
    /// "error", "warn", "info", "debug" or "trace".
    #[serde(default = "default_log_level")]
    log_level: String,
}

fn default_log_level() -> String {
    "info".to_owned()
}

/// One running homeserver. Dropping it without `stop` leaves it running.
#[wasm_bindgen]
pub struct Host {
    homeserver: Rc<Homeserver>,
    tasks: BrowserTasks,
    status: StatusReporter,
    database: Option<Rc<IndexedDb>>,
    stop: RefCell<Option<oneshot::Sender<()>>>,
    stopped: Shared<oneshot::Receiver<()>>,
}

#[wasm_bindgen]
impl Host {
    /// Opens storage, claims the fencing epoch, loads or makes the identity, starts swarm and homeserver. `on_status`
    /// is called with a `HostStatus` now and whenever it changes. Rejects with `{ code, message }`.
    pub async fn start(config: JsValue, on_status: js_sys::Function) -> Result<Host, JsValue> {
        let config: Config = parse(&config)?;
        logging::install(&config.log_level);
        tracing::info!(profile = config.profile, database = config.database, storage = ?config.storage, "starting");
        Ok(Self::start_with(config, on_status).await?)
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
        self.status.stop();
        self.tasks.stop();
        if let Some(database) = &self.database {
            database.close();
        }
    }
}

impl Host {
    async fn start_with(config: Config, on_status: js_sys::Function) -> Result<Self, HostError> {
        let (store, database) = open_store(&config).await?;
        let entropy = Rc::new(BrowserEntropy);
        let identity = identity::load_or_create(store.clone(), &*entropy, &config.server_name_suffix).await?;
        let status = StatusReporter::new(
            HostStatus {
                server_name: identity.server_name().to_string(),
                peer_id: String::new(),
                storage: StorageStatus { kind: config.storage, error: None },
                relay: RelayStatus::default(),
                addresses: Vec::new(),
                peers: Vec::new(),
                outbox: Vec::new(),
            },
            on_status,
        );
        let tasks = BrowserTasks::default();
        let environment = Environment {
            store: Rc::new(WatchedStore { store, status: status.clone() }),
            transport: Rc::new(OfflineTransport),
            clock: Rc::new(BrowserClock),
            entropy,
            tasks: Rc::new(tasks.clone()),
            offload: Rc::new(InlineOffload),
        };
        let homeserver = Homeserver::start(environment, Rc::new(identity), Options::default()).await?;
        tracing::info!(server_name = %homeserver.server_name(), relays = ?config.relays, "started");
        let (stop, stopped) = oneshot::channel();
        Ok(Self { homeserver, tasks, status, database, stop: RefCell::new(Some(stop)), stopped: stopped.shared() })
    }
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
