//! `/config.json`: what the page must know of the place it came from.
use std::net::SocketAddr;

use bytes::Bytes;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use libp2p_webrtc_p2p::backend::ice::IceServer;
use serde::Serialize;
use warren::domain::zone::Zone;

use crate::public_url::PublicUrl;

/// Raised when the page could misread a newer form.
const VERSION: u32 = 1;

/// The parts of the answer that do not change while the program runs.
pub struct PageConfig {
    relays: Vec<Multiaddr>,
    ice_servers: Vec<IceServer>,
    name_suffix: String,
    public_url: String,
    exposed_tabs: Option<SocketAddr>,
    gateway: Option<Gateway>,
}

/// Through which of the relays homeservers of tabs reach the web, and the web reaches them.
#[derive(Serialize)]
struct Gateway {
    peer: String,
    zone: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    version: u32,
    relays: &'a [Multiaddr],
    ice_servers: &'a [IceServer],
    server_name_suffix: &'a str,
    public_url: &'a str,
    /// Where tools of this machine reach the homeservers of tabs that connect to `/tabs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    exposed_tabs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<&'a Gateway>,
    build: &'a str,
}

impl PageConfig {
    pub fn new(public_url: &PublicUrl, relay: PeerId, ice_servers: Vec<IceServer>, name_suffix: String) -> Self {
        let relays = vec![public_url.multiaddr().with(Protocol::P2p(relay))];
        Self { relays, ice_servers, name_suffix, public_url: public_url.to_string(), exposed_tabs: None, gateway: None }
    }

    /// Pages connect their tabs, which tools find at `address`.
    pub fn exposing_tabs(self, address: Option<SocketAddr>) -> Self {
        Self { exposed_tabs: address, ..self }
    }

    /// The relay is a gateway of `zone`, which names end in.
    pub fn with_gateway(self, relay: PeerId, zone: Option<&Zone>) -> Self {
        let Some(zone) = zone else { return self };
        let gateway = Gateway { peer: relay.to_string(), zone: zone.as_str().to_owned() };
        Self { name_suffix: zone.as_str().to_owned(), gateway: Some(gateway), ..self }
    }

    /// `build` names the build of the page that is served now.
    pub fn to_json(&self, build: &str) -> Bytes {
        let wire = Wire {
            version: VERSION,
            relays: &self.relays,
            ice_servers: &self.ice_servers,
            server_name_suffix: &self.name_suffix,
            public_url: &self.public_url,
            gateway: self.gateway.as_ref(),
            exposed_tabs: self.exposed_tabs.map(|address| format!("http://{address}")),
            build,
        };
        serde_json::to_vec(&wire).expect("strings and numbers are JSON").into()
    }
}
