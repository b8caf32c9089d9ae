//! `warren serve --gateway-zone`: homeservers of tabs as servers of the web. Requests for `<key>.ZONE` go to the tab with that
//! key, requests of tabs go to other homeservers by HTTPS, and nobody's word is taken for anybody else's.
//!
//! It runs on a thread of its own: what speaks HTTP on libp2p streams is the core's, which is for one thread.
mod carrying;
mod door;
pub mod flags;
pub mod link;
mod notary;
mod places;
mod published_keys;
mod tabs;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    thread,
};

use libp2p::identity::Keypair;
use tokio::{
    runtime::Builder,
    task::{LocalSet, spawn_local},
};
use warren::{
    domain::{identity::Identity, zone::Zone},
    p2p::{
        exchanges::Exchanges,
        network::{Caller, PeerHandler, Serving},
        streams::Spoken,
    },
};

use self::{
    carrying::Carrying,
    flags::GatewayFlags,
    link::{GatewayEnd, RelayEnd},
    tabs::Tabs,
};
use crate::{
    federation::{
        Dialer, FederationClient, Reach,
        certificate::{Certificate, CertificateError},
        names::SystemNames,
        trust::{Trust, TrustError},
    },
    http_listener::{self, Answering, Connection, ListenError},
    node::environment::{LocalTasks, SystemClock},
};

/// Where homeservers look for each other if nothing says otherwise.
const FEDERATION_PORT: u16 = 8448;
/// Where a proxy listens that ends TLS.
const HTTPS_PORT: u16 = 443;

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error(
        "without --tls-cert the gateway is for a proxy on this machine, and {0} can be reached from others: --gateway-listen on 127.0.0.1"
    )]
    Unprotected(SocketAddr),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("the gateway's port cannot be used: {0}")]
    Port(io::Error),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// A gateway that has all it needs and does not run yet.
pub struct Gateway {
    zone: Zone,
    identity: Identity,
    listener: TcpListener,
    /// Without one, a proxy ends TLS.
    certificate: Option<Arc<Certificate>>,
    /// What the world finds in `/.well-known/matrix/server`.
    public_port: u16,
    web: FederationClient,
    tabs: GatewayEnd,
}

impl Gateway {
    /// What the flags ask for, and the relay's end of its link to the gateway; `None` if they ask for none.
    pub async fn prepare(flags: GatewayFlags, relay: &Keypair) -> Result<Option<(Self, RelayEnd)>, GatewayError> {
        let Some(zone) = flags.gateway_zone else { return Ok(None) };
        let certificate = match (&flags.tls_cert, &flags.tls_key) {
            (Some(certificate), Some(key)) => Some(Certificate::load(certificate, key)?),
            _ => None,
        };
        let anywhere = if certificate.is_some() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        let address = flags.gateway_listen.unwrap_or_else(|| (IpAddr::from(anywhere), FEDERATION_PORT).into());
        if certificate.is_none() && !address.ip().is_loopback() {
            return Err(GatewayError::Unprotected(address));
        }
        let (listener, address) = http_listener::listen(address, "--gateway-listen").await?;
        let default_port = if certificate.is_some() { address.port() } else { HTTPS_PORT };
        if flags.insecure_skip_tls_verify {
            tracing::warn!(
                "--insecure-skip-tls-verify: ANYBODY ON THIS MACHINE CAN PASS FOR ANY HOMESERVER; for tests only"
            );
        }
        let trust = Trust::new(&flags.ca, flags.insecure_skip_tls_verify)?;
        let reach = if flags.allow_private_ips { Reach::Everywhere } else { Reach::Public };
        let web = FederationClient::new(Dialer::new(Arc::new(SystemNames::new()), trust, reach));
        let (link, tabs) = link::pair();
        let identity = identity_of(relay, &zone);
        tracing::info!(%address, zone = zone.as_str(), name = %identity.server_name(), "a gateway");
        let gateway = Self {
            zone,
            identity,
            // It was bound for the runtime of this thread.
            listener: listener.into_std().map_err(GatewayError::Port)?,
            certificate,
            public_port: flags.gateway_port.unwrap_or(default_port),
            web,
            tabs,
        };
        Ok(Some((gateway, link)))
    }

    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Runs for as long as the program does.
    pub fn start(self) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let run = move || LocalSet::new().block_on(&runtime, run(self));
        thread::Builder::new().name("gateway".to_owned()).spawn(run).map(drop)
    }
}

/// What the gateway is called as a server, for what it signs as a notary: the relay's key in its own zone.
fn identity_of(relay: &Keypair, zone: &Zone) -> Identity {
    let keypair = relay.clone().try_into_ed25519().expect("the relay's key is made as an ed25519 key");
    let mut seed = [0; 32];
    seed.copy_from_slice(keypair.secret().as_ref());
    Identity::from_seed(seed, zone.as_str()).expect("a label of a key and a zone make a server name")
}

async fn run(gateway: Gateway) {
    let Gateway { zone, identity, listener, certificate, public_port, web, tabs } = gateway;
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the gateway's port cannot be used"),
    };
    let GatewayEnd { opens, mut accepted } = tabs;
    let tabs = Rc::new(Tabs::new(opens, Rc::new(SystemClock)));
    let carrying = match Carrying::start(zone, identity, tabs, web).await {
        Ok(carrying) => Rc::new(carrying),
        Err(error) => return tracing::error!(%error, "the gateway does not start"),
    };
    spawn_local(serve_web(listener, certificate, carrying.clone(), public_port));
    let asked = carrying.clone();
    let handler: PeerHandler = Rc::new(move |caller, request| {
        let carrying = asked.clone();
        let (Caller::Gateway(tab) | Caller::Peer(tab)) = caller;
        Box::pin(async move { carrying.out(tab, request).await })
    });
    let serving = Serving::new(handler, Exchanges::default(), Rc::new(SystemClock), Rc::new(LocalTasks));
    while let Some(stream) = accepted.recv().await {
        serving.accept(stream.peer, Spoken::Gateway, stream.stream);
    }
}

async fn serve_web(
    listener: tokio::net::TcpListener,
    certificate: Option<Arc<Certificate>>,
    carrying: Rc<Carrying>,
    public_port: u16,
) {
    let door = Rc::new(door::Door::new(carrying, public_port));
    let answer = move |request, remote: SocketAddr| {
        let door = door.clone();
        async move { door.answer(request, remote.ip()).await }
    };
    let answering = Answering { answer, broken: door::broken, idle_max: door::IDLE_MAX };
    let acceptor = certificate.as_ref().map(Certificate::acceptor);
    if let Some(certificate) = certificate {
        spawn_local(certificate.follow());
    }
    let start = |connection: Connection| match &acceptor {
        Some(acceptor) => drop(spawn_local(connection.speak_https(acceptor.clone(), answering.clone()))),
        None => drop(spawn_local(connection.speak_http(answering.clone()))),
    };
    http_listener::serve(listener, start, std::future::pending()).await;
}
