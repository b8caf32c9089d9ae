//! `warren serve`: puts the page, the relay and the one port together and runs until it is told to stop.
use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::net::UdpSocket;

use crate::{
    circuit_relay::{self, RelaySettings},
    exposed_tabs::ExposedTabs,
    gateway::{Gateway, GatewayError},
    handed_over_sockets::websocket_multiaddr,
    http_listener::{self, Answering, ListenError},
    ice_servers::{self, IceServersError},
    options::{ServeOptions, Stun},
    page_config::PageConfig,
    public_url::PublicUrl,
    relay_identity::{self, RelayIdentityError},
    routes::{self, Routes},
    security_headers::SecurityHeaders,
    static_site::{SiteError, StaticSite},
    stop_signal::stop_signal,
    stun,
};

/// A page has its requests ready; whoever takes longer than this for the next one holds a place for nothing.
const IDLE_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error(transparent)]
    Identity(#[from] RelayIdentityError),
    #[error(transparent)]
    IceServers(#[from] IceServersError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    GatewaySettings(#[from] GatewayError),
    #[error("cannot start the gateway: {0}")]
    Gateway(io::Error),
    #[error("cannot answer STUN on UDP {address}: {source}; choose another place or \"off\" with --stun")]
    Stun { address: SocketAddr, source: io::Error },
    #[error(
        "--expose-tabs is for this machine alone, and {0} can be reached from others: leave it out, or --listen on 127.0.0.1"
    )]
    Exposed(SocketAddr),
    #[error("cannot wait for the signals that stop this program: {0}")]
    Signals(io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// A tool may think for a while between two requests; whoever puts a proxy before this keeps connections so long.
const TOOL_IDLE_MAX: Duration = Duration::from_secs(90);

/// Serves until SIGTERM or SIGINT; every error is one of the start.
pub async fn serve(options: ServeOptions) -> Result<(), ServeError> {
    let site = StaticSite::open(options.site_dir())?;
    let (listener, address) = http_listener::listen(options.listen, "--listen").await?;
    let exposed_tabs = match options.expose_tabs {
        Some(at) => Some(expose_tabs(at, address).await?),
        None => None,
    };
    let keypair = relay_identity::load_or_create(&options.data_dir())?;
    let peer_id = keypair.public().to_peer_id();
    if options.public_url.is_none() && !address.ip().is_loopback() {
        tracing::warn!("other machines can open the page, but find the relay only with --public-url");
    }
    let public_url = options.public_url.unwrap_or_else(|| PublicUrl::on_this_machine(address.port()));
    let mut ice_servers = match &options.ice_servers {
        Some(file) => ice_servers::read(file)?,
        None => Vec::new(),
    };
    if let Some(port) = start_stun(options.stun, address).await? {
        ice_servers.insert(0, ice_servers::stun(public_url.stun_url(port)));
    }
    let gateway = Gateway::prepare(options.gateway, &keypair).await?;
    let (gateway, link) = gateway.unzip();
    let relay = circuit_relay::start(RelaySettings {
        keypair,
        listen: websocket_multiaddr(address),
        external: public_url.multiaddr(),
        circuit_duration: Duration::from_secs(options.circuit_seconds),
        circuit_bytes: options.circuit_bytes,
        gateway: link,
    });
    tracing::info!(%address, %peer_id, site = %site.dir().display(), "listening");
    let routes = Arc::new(Routes {
        site,
        config: PageConfig::new(&public_url, peer_id, ice_servers, options.name_suffix)
            .with_gateway(peer_id, gateway.as_ref().map(Gateway::zone))
            .exposing_tabs(exposed_tabs.as_ref().map(|(_, address)| *address)),
        security: SecurityHeaders::new(&public_url),
        relay,
        relay_peer_id: peer_id.to_string(),
        exposed_tabs: exposed_tabs.map(|(tabs, _)| tabs),
    });
    if let Some(gateway) = gateway {
        gateway.start().map_err(ServeError::Gateway)?;
    }
    let stop = stop_signal().map_err(ServeError::Signals)?;
    announce(&public_url).map_err(ServeError::Output)?;
    let answer = move |request, remote| {
        let routes = routes.clone();
        async move { routes.answer(request, remote).await }
    };
    let answering = Answering { answer, broken: routes::broken, idle_max: IDLE_MAX };
    let start = |connection: http_listener::Connection| drop(tokio::spawn(connection.speak_http(answering.clone())));
    http_listener::serve(listener, start, stop).await;
    tracing::info!("stopped");
    Ok(())
}

/// Tools are answered from now on. `page` is where tabs will connect.
async fn expose_tabs(at: SocketAddr, page: SocketAddr) -> Result<(Arc<ExposedTabs>, SocketAddr), ServeError> {
    if !page.ip().is_loopback() {
        return Err(ServeError::Exposed(page));
    }
    let (listener, address) = http_listener::listen(at, "--expose-tabs").await?;
    tracing::info!(%address, "tools reach tabs here");
    let tabs = Arc::new(ExposedTabs::default());
    let answering = {
        let tabs = tabs.clone();
        let answer = move |request, remote| {
            let tabs = tabs.clone();
            async move { tabs.answer(request, remote).await }
        };
        Answering { answer, broken: routes::broken, idle_max: TOOL_IDLE_MAX }
    };
    let start =
        move |connection: http_listener::Connection| drop(tokio::spawn(connection.speak_http(answering.clone())));
    tokio::spawn(http_listener::serve(listener, start, std::future::pending()));
    Ok((tabs, address))
}

/// The port on which STUN is answered from now on. Only a place that was asked for must be free.
async fn start_stun(wanted: Option<Stun>, http: SocketAddr) -> Result<Option<u16>, ServeError> {
    let address = match wanted {
        Some(Stun::Off) => return Ok(None),
        Some(Stun::At(address)) => address,
        None => http,
    };
    let bound = UdpSocket::bind(address).await.and_then(|socket| Ok((socket.local_addr()?.port(), socket)));
    match bound {
        Ok((port, socket)) => {
            tokio::spawn(stun::answer(socket));
            Ok(Some(port))
        }
        Err(source) if wanted.is_some() => Err(ServeError::Stun { address, source }),
        Err(error) => {
            tracing::warn!(%address, %error, "the UDP port is taken, so STUN is off; --stun chooses another");
            Ok(None)
        }
    }
}

/// The one line on standard output; whoever started the program may wait for it.
fn announce(public_url: &PublicUrl) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "Warren is ready: {public_url}")?;
    output.flush()
}
