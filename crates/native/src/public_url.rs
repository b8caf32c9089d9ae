//! The address browsers use, and what follows from it: the relay's multiaddr and the WebSocket origin the page may open.
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use http::{Uri, uri::Scheme};
use libp2p::{Multiaddr, multiaddr::Protocol};

/// An http or https origin: no path, query or user, because the page and its service worker live at the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    secure: bool,
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl PublicUrl {
    /// What a browser on this machine uses when nobody said otherwise.
    pub fn on_this_machine(port: u16) -> Self {
        Self { secure: false, host: Host::Name("localhost".to_owned()), port }
    }

    /// The relay as browsers dial it, without its peer id: `/ip4|ip6|dns4/host/tcp/port/ws`, or `/wss` below https.
    pub fn multiaddr(&self) -> Multiaddr {
        let host = match &self.host {
            Host::Address(IpAddr::V4(address)) => Protocol::Ip4(*address),
            Host::Address(IpAddr::V6(address)) => Protocol::Ip6(*address),
            Host::Name(name) => Protocol::Dns4(name.into()),
        };
        let websocket = if self.secure { Protocol::Wss("/".into()) } else { Protocol::Ws("/".into()) };
        Multiaddr::empty().with(host).with(Protocol::Tcp(self.port)).with(websocket)
    }

    /// The relay's origin as a Content-Security-Policy source. Policies cannot name an IPv6 address (CSP level 3,
    /// section 2.3.1, `host-part`); a page opened there has its own origin as `'self'`, which covers the WebSocket.
    pub fn websocket_source(&self) -> Option<String> {
        let scheme = if self.secure { "wss" } else { "ws" };
        match &self.host {
            Host::Address(IpAddr::V6(_)) => None,
            _ => Some(format!("{scheme}://{}", self.authority())),
        }
    }

    /// The URL of a STUN server on the same host (RFC 7064).
    pub fn stun_url(&self, port: u16) -> String {
        format!("stun:{}:{port}", self.host())
    }

    fn host(&self) -> String {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Name(name) => name.clone(),
        }
    }

    fn authority(&self) -> String {
        let host = self.host();
        if self.port == default_port(self.secure) { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl FromStr for PublicUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| "not a URL such as https://chat.example.org")?;
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err("the URL starts with neither http:// nor https://"),
        };
        let authority = uri.authority().ok_or("the URL has no host")?;
        if authority.as_str().contains('@') {
            return Err("the URL may not hold a user or a password");
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err("the URL may not have a path: the page lives at the root of its origin");
        }
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| "the port is not a number up to 65535")?,
            None => default_port(secure),
        };
        Ok(Self { secure, host: parse_host(authority.host())?, port })
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

fn parse_host(text: &str) -> Result<Host, &'static str> {
    if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = inside.parse().map_err(|_| "the host is no IPv6 address")?;
        return Ok(Host::Address(address.into()));
    }
    if let Ok(address) = text.parse() {
        return Ok(Host::Address(address));
    }
    let name = text.to_ascii_lowercase();
    // The name goes into a header and a multiaddr, so nothing but a DNS name may pass.
    let valid = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if valid { Ok(Host::Name(name)) } else { Err("the host is no DNS name") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> PublicUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn addresses_follow_from_the_url() {
        let table = [
            ("http://localhost:8080", "/dns4/localhost/tcp/8080/ws", Some("ws://localhost:8080")),
            ("http://192.168.1.5:81/", "/ip4/192.168.1.5/tcp/81/ws", Some("ws://192.168.1.5:81")),
            ("http://Chat.Example.org", "/dns4/chat.example.org/tcp/80/ws", Some("ws://chat.example.org")),
            ("https://chat.example.org", "/dns4/chat.example.org/tcp/443/wss", Some("wss://chat.example.org")),
            (
                "https://chat.example.org:8443",
                "/dns4/chat.example.org/tcp/8443/wss",
                Some("wss://chat.example.org:8443"),
            ),
            ("http://[::1]:8080", "/ip6/::1/tcp/8080/ws", None),
        ];
        for (url, multiaddr, source) in table {
            assert_eq!(parsed(url).multiaddr().to_string(), multiaddr);
            assert_eq!(parsed(url).websocket_source().as_deref(), source);
        }
    }

    #[test]
    fn stun_is_on_the_same_host() {
        assert_eq!(parsed("https://chat.example.org").stun_url(8080), "stun:chat.example.org:8080");
        assert_eq!(parsed("http://[::1]:80").stun_url(3478), "stun:[::1]:3478");
    }

    #[test]
    fn urls_print_as_browsers_show_them() {
        for url in ["http://localhost:8080", "https://chat.example.org", "http://[::1]:8080"] {
            assert_eq!(parsed(url).to_string(), url);
        }
        assert_eq!(parsed("https://chat.example.org:443/").to_string(), "https://chat.example.org");
        assert_eq!(PublicUrl::on_this_machine(8080), parsed("http://localhost:8080"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for bad in [
            "",
            "localhost:8080",
            "ftp://a",
            "http://",
            "http://a/b",
            "http://a/?b",
            "http://u:p@a",
            "http://a:99999",
            "http://a:",
            "http://a_b",
            "http://a;b",
            "http://[::1",
            "/",
        ] {
            assert!(bad.parse::<PublicUrl>().is_err(), "{bad}");
        }
    }
}
