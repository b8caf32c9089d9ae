//! What a gateway is told at its start.
use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use warren::domain::zone::Zone;

#[derive(Args)]
pub struct GatewayFlags {
    /// DNS zone in which homeservers of tabs get their names, and are part of the ordinary Matrix federation
    ///
    /// DNS must lead every name of the zone (*.ZONE) here. Other homeservers connect to --gateway-listen, and what tabs ask
    /// of them goes out from here, signed by the tab: nothing is added or changed.
    #[arg(long, value_name = "ZONE", value_parser = Zone::parse)]
    pub gateway_zone: Option<Zone>,

    /// Address and port where other homeservers connect [default: 0.0.0.0:8448 with --tls-cert, else 127.0.0.1:8448]
    ///
    /// Without --tls-cert it must be on this machine, for a proxy that ends TLS, passes on the Host header and
    /// adds whom it speaks for to X-Forwarded-For.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "gateway_zone")]
    pub gateway_listen: Option<SocketAddr>,

    /// Port by which the world reaches --gateway-listen [default: its own with --tls-cert, else 443]
    #[arg(long, value_name = "PORT", requires = "gateway_zone")]
    pub gateway_port: Option<u16>,

    /// File with the certificate for *.ZONE and its chain (PEM), read again when it changes
    #[arg(long, value_name = "FILE", requires_all = ["gateway_zone", "tls_key"])]
    pub tls_cert: Option<PathBuf>,

    /// File with the certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// File with root certificates (PEM) that are believed beside Mozilla's; may be given several times
    #[arg(long, value_name = "FILE", requires = "gateway_zone")]
    pub ca: Vec<PathBuf>,

    /// Let tabs reach homeservers at private addresses: whoever opens the page can then send requests into this network
    #[arg(long, requires = "gateway_zone")]
    pub allow_private_ips: bool,

    /// Believe any certificate on this machine's own addresses; for tests
    #[arg(long, requires = "gateway_zone")]
    pub insecure_skip_tls_verify: bool,
}
