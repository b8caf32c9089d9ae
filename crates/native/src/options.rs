//! The command line: its flags, their defaults and what is refused before anything starts.
use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};

use warren::domain::zone::Zone;

use crate::{gateway::flags::GatewayFlags, node::settings::NodeFlags, public_url::PublicUrl};

/// RFC 9476: a name under `alt` is never looked up in DNS. The same default as the core's.
const DEFAULT_NAME_SUFFIX: &str = "alt";

/// What one relayed connection may last, in seconds, unless the flag says otherwise.
const CIRCUIT_SECONDS_DEFAULT: u64 = 10 * 60;

/// What one relayed connection may carry, in bytes of both directions together, unless the flag says otherwise.
const CIRCUIT_BYTES_DEFAULT: u64 = 8 * 1024 * 1024;

/// Warren: a Matrix homeserver in every browser tab.
#[derive(Parser)]
#[command(name = "warren", version)]
pub struct Options {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
// Made once.
#[allow(clippy::large_enum_variant)]
pub enum Command {
    /// Serve the page, and relay between the tabs that opened it.
    ///
    /// One TCP port carries everything: the page, /config.json, /health and the WebSocket of the relay.
    /// Standard output gets one line, once it is ready; logs go to standard error and RUST_LOG selects them
    /// (for example RUST_LOG=warren=debug).
    Serve(ServeOptions),

    /// Run a homeserver without a browser, for bots, scripts and tests.
    ///
    /// It answers the Matrix Client-Server API on plain HTTP, for this machine or for a reverse proxy that ends TLS, and
    /// federates with tabs and other nodes through relays. Every flag can also be set in a TOML file, by the same name.
    /// Standard output gets one line, once it is ready; logs go to standard error and RUST_LOG selects them.
    Node(NodeFlags),
}

#[derive(Args)]
pub struct ServeOptions {
    /// Address and port to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Where browsers reach this server [default: http://localhost:PORT]
    ///
    /// Other machines need it: http://192.168.1.5:8080 on a local network, or https://chat.example.org behind a proxy
    /// that ends TLS and passes on WebSocket upgrades. Links and the relay's address are made from it.
    #[arg(long, value_name = "URL")]
    pub public_url: Option<PublicUrl>,

    /// Directory that keeps the relay's key [default: warren in the user's data directory]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Directory of the built page [default: dist here, or else beside the program]
    #[arg(long, value_name = "DIR")]
    pub site: Option<PathBuf>,

    /// What the names of homeservers made by this page end in
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAME_SUFFIX, value_parser = parse_name_suffix, conflicts_with = "gateway_zone")]
    pub name_suffix: String,

    #[command(flatten)]
    pub gateway: GatewayFlags,

    /// UDP address and port where browsers learn the address they are seen from (STUN), or "off"
    /// [default: the same as --listen]
    ///
    /// People behind different routers need it to connect directly. No third party is asked unless --ice-servers names one.
    #[arg(long, value_name = "ADDRESS:PORT|off", value_parser = parse_stun)]
    pub stun: Option<Stun>,

    /// File with further STUN and TURN servers: a JSON array as RTCPeerConnection takes it
    ///
    /// For example [{"urls": "turn:turn.example.org", "username": "warren", "credential": "secret"}]. Everybody who opens the
    /// page gets to know them.
    #[arg(long, value_name = "FILE")]
    pub ice_servers: Option<PathBuf>,

    /// Address and port of this machine where tools, such as bots and scripts, reach the homeservers of open tabs
    /// [default: none]
    ///
    /// Requests to /<server name>/_matrix/... go to that tab, and without a name to the only one that is open. --listen
    /// must be on this machine alone, too: tabs are never exposed to others.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_loopback)]
    pub expose_tabs: Option<SocketAddr>,

    /// How long one relayed connection may last
    #[arg(long, value_name = "SECONDS", default_value_t = CIRCUIT_SECONDS_DEFAULT,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub circuit_seconds: u64,

    /// How much one relayed connection may carry, both directions together
    #[arg(long, value_name = "BYTES", default_value_t = CIRCUIT_BYTES_DEFAULT,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub circuit_bytes: u64,
}

/// What `--stun` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stun {
    Off,
    At(SocketAddr),
}

impl ServeOptions {
    /// The directory asked for, or `warren` in the platform's data directory, or `.warren` here when there is no home.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(platform_data_dir)
    }

    /// The directory asked for, or the first `dist` that holds a page; without one, the `dist` of the working directory.
    pub fn site_dir(&self) -> PathBuf {
        let here = PathBuf::from("dist");
        let beside = env::current_exe().ok().and_then(|path| path.parent().map(|parent| parent.join("dist")));
        let built = |dir: &Path| dir.join("index.html").is_file();
        match &self.site {
            Some(dir) => dir.clone(),
            None if built(&here) => here,
            None => beside.filter(|dir| built(dir)).unwrap_or(here),
        }
    }
}

/// Where this program keeps what it must not forget, unless a flag says otherwise.
pub fn platform_data_dir() -> PathBuf {
    default_data_dir(|name| env::var_os(name).map(PathBuf::from))
}

fn default_data_dir(variable: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    let set = |name: &str| variable(name).filter(|path| path.is_absolute());
    let home = |below: &str| set("HOME").map(|home| home.join(below));
    let platform = if cfg!(target_os = "macos") {
        home("Library/Application Support")
    } else if cfg!(windows) {
        set("LOCALAPPDATA")
    } else {
        set("XDG_DATA_HOME").or_else(|| home(".local/share"))
    };
    platform.map_or_else(|| PathBuf::from(".warren"), |dir| dir.join("warren"))
}

fn parse_stun(text: &str) -> Result<Stun, String> {
    match text {
        "off" => Ok(Stun::Off),
        _ => text.parse().map(Stun::At).map_err(|_| "neither an address with a port nor \"off\"".to_owned()),
    }
}

fn parse_loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "not an address with a port".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("other machines could reach it: take 127.0.0.1".to_owned())
    }
}

fn parse_name_suffix(text: &str) -> Result<String, String> {
    Zone::parse(text).map(|zone| zone.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn name_suffixes_are_dns_names() {
        for good in ["alt", "chat.example.org", "a-1.b"] {
            assert_eq!(parse_name_suffix(good).as_deref(), Ok(good));
        }
        for bad in ["", ".", "a..b", "Alt", "-a", "a-", "a_b", "a:8448", "é", &"a.".repeat(100), &"a".repeat(64)] {
            assert!(parse_name_suffix(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn stun_is_somewhere_or_off() {
        assert_eq!(parse_stun("off"), Ok(Stun::Off));
        assert_eq!(parse_stun("[::1]:3478"), Ok(Stun::At("[::1]:3478".parse().unwrap())));
        for bad in ["", "on", "3478", "localhost:3478", "1.2.3.4"] {
            assert!(parse_stun(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tabs_are_exposed_to_this_machine_only() {
        assert_eq!(parse_loopback("[::1]:0"), Ok("[::1]:0".parse().unwrap()));
        for bad in ["0.0.0.0:8009", "192.168.1.5:8009", "[::]:8009", "8009", "localhost:8009", ""] {
            assert!(parse_loopback(bad).is_err(), "{bad:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn data_lives_where_the_platform_keeps_it() {
        let variables = |pairs: &'static [(&'static str, &'static str)]| {
            move |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value))
        };
        let xdg = variables(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")]);
        assert_eq!(default_data_dir(xdg), Path::new("/x/warren"));
        let relative = variables(&[("XDG_DATA_HOME", "x"), ("HOME", "/h")]);
        assert_eq!(default_data_dir(relative), Path::new("/h/.local/share/warren"));
        assert_eq!(default_data_dir(variables(&[])), Path::new(".warren"));
    }
}
