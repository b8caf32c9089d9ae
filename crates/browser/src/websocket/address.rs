//! The multiaddrs that a browser can open a WebSocket to.
use std::net::Ipv6Addr;

use libp2p::{Multiaddr, multiaddr::Protocol};

/// The URL of `/ip4|ip6|dns|dns4|dns6/<host>/tcp/<port>` followed by `/ws`, `/wss` or `/tls/ws`, and by `/p2p/<id>` or
/// nothing; `None` for any other address.
pub fn url(address: &Multiaddr) -> Option<String> {
    let mut parts = address.iter();
    let host = match parts.next()? {
        Protocol::Ip4(ip) => ip.to_string(),
        Protocol::Ip6(ip) => bracketed(ip),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => name.into_owned(),
        _ => return None,
    };
    let Protocol::Tcp(port) = parts.next()? else { return None };
    let (scheme, path) = match parts.next()? {
        Protocol::Ws(path) => ("ws", path),
        Protocol::Wss(path) => ("wss", path),
        Protocol::Tls => match parts.next()? {
            Protocol::Ws(path) => ("wss", path),
            _ => return None,
        },
        _ => return None,
    };
    let ends = match parts.next() {
        None => true,
        Some(Protocol::P2p(_)) => parts.next().is_none(),
        Some(_) => false,
    };
    // What would not stay one host in a URL is no host name.
    let plain = !host.contains(['/', '?', '#', '@', '\\', ' ']);
    (ends && plain).then(|| format!("{scheme}://{host}:{port}{path}"))
}

fn bracketed(ip: Ipv6Addr) -> String {
    format!("[{ip}]")
}
