//! `warren node`: puts the disk, the network, the homeserver and its HTTP door together and runs until it is told to stop.
pub mod client_door;
pub mod environment;
mod federation_door;
mod metrics;
mod peer_transport;
mod push_gateways;
pub mod settings;
mod shared_secret;
mod tcp_dialer;
mod transport;

use std::{
    io::{self, Write},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::task::spawn_local;
use warren::{
    domain::identity::{DEFAULT_SUFFIX, Identity, PublicKey},
    homeserver::{
        Homeserver, Options, StartError,
        identity::{self, IdentityError},
    },
    p2p::network::{DIRECT_PEERS_MAX, Network, NetworkOptions},
    ports::{Clock, Environment, PushGateways, StoreError},
};

use self::{
    client_door::ClientDoor,
    environment::{BlockingPool, LocalTasks, SystemClock, SystemEntropy},
    federation_door::FederationDoor,
    metrics::Metrics,
    push_gateways::WebGateways,
    settings::{NodeFlags, Settings, SettingsError, federation::FederationSettings},
    shared_secret::SharedSecret,
    transport::NodeTransport,
};
use crate::{
    disk_store::{DiskDatabase, DiskError},
    federation::{
        Dialer, FederationClient,
        certificate::{Certificate, CertificateError},
        names::SystemNames,
        trust::{Trust, TrustError},
    },
    http_listener::{self, Answering, Connection, ListenError},
    stop_signal::stop_signal,
};

/// Longer than proxies keep a connection they do not use, so that it is they who close it.
const CLIENT_IDLE_MAX: Duration = Duration::from_secs(90);
const METRICS_IDLE_MAX: Duration = Duration::from_secs(90);
/// Longer than homeservers keep a connection they do not use, so that it is they who close it.
const SERVER_IDLE_MAX: Duration = Duration::from_secs(150);

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the data in {0} was written by a newer version of Warren: start that one")]
    NewerSchema(String),
    #[error("cannot start as {0}")]
    Identity(IdentityError),
    #[error("the key was not changed: {0}")]
    Rotation(IdentityError),
    #[error("the homeserver does not start: {0}")]
    Start(#[from] StartError),
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    #[error("not everything is on the disk: {0}")]
    Sync(StoreError),
    #[error("cannot wait for the signals that stop this program: {0}")]
    Signals(io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// Everything that runs.
struct Node {
    homeserver: Rc<Homeserver>,
    network: Network,
    database: Rc<DiskDatabase>,
}

/// Serves until SIGTERM or SIGINT. Needs a `LocalSet` around it, whose thread owns the homeserver.
pub async fn run(flags: NodeFlags) -> Result<(), NodeError> {
    log_panics();
    let rotates_key = flags.rotate_key;
    let settings = Settings::resolve(flags)?;
    if rotates_key {
        return rotate_key(&settings).await;
    }
    let (listener, address) = http_listener::listen(settings.client_listen, "--client-listen").await?;
    let metrics_listener = match settings.metrics_listen {
        Some(address) => Some(http_listener::listen(address, "--metrics-listen").await?),
        None => None,
    };
    let federation_listener = match &settings.federation.listen {
        Some(secure) => {
            let certificate = Certificate::load(&secure.certificate, &secure.key)?;
            let (listener, address) = http_listener::listen(secure.address, "--federation-listen").await?;
            Some((listener, address, certificate))
        }
        None => None,
    };
    let stop = stop_signal().map_err(NodeError::Signals)?;
    let Node { homeserver, network, database } = start(&settings).await?;
    let metrics = Rc::new(Metrics::new(homeserver.clone(), network.clone(), database.clone()));
    if let Some((listener, address)) = metrics_listener {
        tracing::info!(%address, "metrics");
        spawn_local(serve_metrics(listener, metrics.clone()));
    }
    let servers = Rc::new(FederationDoor::new(homeserver.clone(), metrics.clone()));
    if let Some((listener, address, certificate)) = federation_listener {
        tracing::info!(%address, "answering homeservers");
        spawn_local(certificate.clone().follow());
        spawn_local(serve_servers(listener, certificate, servers.clone()));
    }
    let secret = settings.registration_shared_secret.map(SharedSecret::new);
    let door = Rc::new(ClientDoor::new(homeserver, secret, metrics, servers));
    tracing::info!(%address, data = %settings.data_dir.display(), "answering clients");
    announce(address).map_err(NodeError::Output)?;

    serve_clients(listener, door, stop).await;
    network.stop();
    database.sync().await.map_err(NodeError::Sync)?;
    tracing::info!("stopped");
    Ok(())
}

async fn start(settings: &Settings) -> Result<Node, NodeError> {
    let entropy = Rc::new(SystemEntropy::check().map_err(NodeError::Random)?);
    let database = Rc::new(DiskDatabase::open(&settings.data_dir.join("store"))?);
    let store = Rc::new(database.store());
    let loaded = match &settings.server_name {
        Some(name) => identity::load_or_create_named(store.clone(), &*entropy, name).await,
        None => identity::load_or_create(store.clone(), &*entropy, DEFAULT_SUFFIX).await,
    };
    let identity = Rc::new(loaded.map_err(|error| match error {
        IdentityError::Store(StoreError::NewerSchema) => {
            NodeError::NewerSchema(settings.data_dir.display().to_string())
        }
        error => NodeError::Identity(error),
    })?);
    let former_keys = identity::former_keys(store.clone()).await.map_err(StartError::from)?;
    tell_name(&identity, &settings.federation);
    let (clock, tasks) = (Rc::new(SystemClock), Rc::new(LocalTasks));
    let network = peer_transport::prepare(NetworkOptions {
        identity: identity.clone(),
        relays: settings.relays.clone(),
        rtc: None,
        direct_peers_max: DIRECT_PEERS_MAX,
        has_ice_servers: false,
        gateway: None,
        clock: clock.clone(),
        entropy: entropy.clone(),
        tasks: tasks.clone(),
    });
    let transport = NodeTransport::new(network.clone(), federation_client(&settings.federation)?);
    let push_gateways = Some(Rc::new(WebGateways::new(settings.local_push_gateways)) as Rc<dyn PushGateways>);
    let offload = Rc::new(BlockingPool::default());
    let environment =
        Environment { store, transport: Rc::new(transport.clone()), clock, entropy, tasks, offload, push_gateways };
    let options = Options {
        client_base_url: settings.client_base_url.clone(),
        notaries: settings.federation.notaries.clone(),
        former_keys,
        reached_by: settings.federation.reached_by.clone(),
        registration: settings.registration,
        registration_tokens: settings.registration_tokens.clone(),
        terms: settings.terms.clone(),
        guests: settings.guests,
        support: settings.support.clone(),
        first_user_is_admin: false,
        default_room_version: settings.default_room_version.clone(),
        limit_rates: settings.limit_rates,
        turn: settings.turn.clone(),
        rtc_transports: settings.rtc_transports.clone(),
        presence: settings.presence,
        shares_device_names: settings.share_device_names,
    };
    let homeserver = Homeserver::start(environment, identity, options).await?;
    transport.tell(&homeserver);
    peer_transport::run(&network, &homeserver);
    Ok(Node { homeserver, network, database })
}

/// Gives the homeserver, which must not be running, another key.
async fn rotate_key(settings: &Settings) -> Result<(), NodeError> {
    let entropy = SystemEntropy::check().map_err(NodeError::Random)?;
    let database = DiskDatabase::open(&settings.data_dir.join("store"))?;
    let store = Rc::new(database.store());
    let now_ms = SystemClock.now_ms();
    let identity = identity::rotate_key(store, &entropy, settings.server_name.as_deref(), now_ms)
        .await
        .map_err(NodeError::Rotation)?;
    database.sync().await.map_err(NodeError::Sync)?;
    let said = format!("{} signs as {} from its next start on", identity.server_name(), identity.key_id());
    writeln!(io::stdout(), "{said}").map_err(NodeError::Output)
}

fn tell_name(identity: &Identity, settings: &FederationSettings) {
    let server_name = identity.server_name();
    tracing::info!(%server_name, key = identity.public_key().label(), signs_as = identity.key_id(), "this homeserver");
    if PublicKey::of_server_name(server_name).is_none() && settings.listen.is_none() {
        tracing::warn!(
            "other homeservers reach one of this name by HTTPS alone: --federation-listen, or a proxy to --client-listen"
        );
    }
}

fn federation_client(settings: &FederationSettings) -> Result<FederationClient, TrustError> {
    if settings.skips_tls_verify {
        tracing::warn!(
            "--insecure-skip-tls-verify: ANYBODY ON THIS MACHINE CAN PASS FOR ANY HOMESERVER; for tests only"
        );
    }
    let trust = Trust::new(&settings.ca_files, settings.skips_tls_verify)?;
    Ok(FederationClient::new(Dialer::new(Arc::new(SystemNames::new()), trust, settings.reach)))
}

async fn serve_clients(listener: tokio::net::TcpListener, door: Rc<ClientDoor>, stop: impl Future<Output = ()>) {
    let answer = move |request, remote: SocketAddr| {
        let door = door.clone();
        async move { door.answer(request, remote.ip()).await }
    };
    let answering = Answering { answer, broken: client_door::broken, idle_max: CLIENT_IDLE_MAX };
    let start = |connection: Connection| drop(spawn_local(connection.speak_http(answering.clone())));
    http_listener::serve(listener, start, stop).await;
}

async fn serve_servers(listener: tokio::net::TcpListener, certificate: Arc<Certificate>, door: Rc<FederationDoor>) {
    let answer = move |request, remote: SocketAddr| {
        let door = door.clone();
        async move { door.answer(request, remote.ip()).await }
    };
    let answering = Answering { answer, broken: federation_door::broken, idle_max: SERVER_IDLE_MAX };
    let acceptor = certificate.acceptor();
    let start = |connection: Connection| drop(spawn_local(connection.speak_https(acceptor.clone(), answering.clone())));
    http_listener::serve(listener, start, std::future::pending()).await;
}

async fn serve_metrics(listener: tokio::net::TcpListener, metrics: Rc<Metrics>) {
    let answer = move |request: hyper::Request<hyper::body::Incoming>, _| {
        let response = metrics.answer(request.method(), request.uri().path());
        async move { response }
    };
    let answering = Answering { answer, broken: client_door::broken, idle_max: METRICS_IDLE_MAX };
    let start = |connection: Connection| drop(spawn_local(connection.speak_http(answering.clone())));
    http_listener::serve(listener, start, std::future::pending()).await;
}

/// The one line on standard output; whoever started the program may wait for it.
fn announce(address: SocketAddr) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "Warren is ready: http://{address}")?;
    output.flush()
}

/// A panic ends one request or task; the log says which, in one line like the others.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("(no message)");
        tracing::error!(at, message, "panicked");
    }));
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;
    use warren::{
        ports::Batch,
        storage::{
            Database,
            tables::{SCHEMA_VERSION, Schema, SchemaRow},
        },
    };

    use super::*;

    fn settings(directory: &std::path::Path) -> Settings {
        let flags = NodeFlags { data_dir: Some(directory.to_owned()), ..NodeFlags::default() };
        Settings::resolve(flags).unwrap()
    }

    #[tokio::test]
    async fn data_of_a_newer_version_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        {
            let disk = DiskDatabase::open(&directory.path().join("store")).unwrap();
            let mut batch = Batch::strict();
            batch.put::<Schema>(&(), &SchemaRow { version: SCHEMA_VERSION + 1 });
            Database::new(Rc::new(disk.store())).commit(batch).await.unwrap();
        }
        let refusal = LocalSet::new().run_until(start(&settings(directory.path()))).await.err().unwrap();
        let expected = format!(
            "the data in {} was written by a newer version of Warren: start that one",
            directory.path().display()
        );
        assert_eq!(refusal.to_string(), expected);
    }
}
