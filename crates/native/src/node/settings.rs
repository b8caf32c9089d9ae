//! What a node is told at its start: flags, and a TOML file with the same names. Flags come first.
pub mod federation;

use std::{fs, io, net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use ruma::{OwnedServerName, RoomVersionId, ServerName, UserId};
use serde::Deserialize;
use warren::{
    domain::room_version::{DEFAULT_ROOM_VERSION, SUPPORTED},
    homeserver::{
        Registration, Support, SupportContact, Terms,
        registration_tokens::{self, REGISTRATION_TOKEN_MAX_CHARS},
        turn::TurnServer,
    },
    p2p::{address_book::RelayAddress, network::RELAYS_MAX},
};

use self::federation::FederationSettings;
use crate::options::platform_data_dir;

const CLIENT_LISTEN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8008);

/// A file of settings is a page or two.
const CONFIG_MAX_BYTES: u64 = 64 * 1024;

/// Shorter ones could be guessed by trying.
const SHARED_SECRET_MIN_BYTES: usize = 8;

/// Addresses of TURN servers, and how long credentials for them may be good.
const TURN_URIS_MAX: usize = 8;
const TURN_TTL_DEFAULT_S: u64 = 86_400;
const TURN_TTL_MIN_S: u64 = 60;
const TURN_TTL_MAX_S: u64 = 7 * 86_400;

/// Transports for calls that clients are told of.
const RTC_TRANSPORTS_MAX: usize = 16;

#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeFlags {
    /// TOML file with any of these settings
    ///
    /// For example: open-registration = true and relay = ["/dns4/chat.example.org/tcp/443/wss/p2p/12D3.."]
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// Name of this homeserver, for good [default: made of its key]
    ///
    /// A name made of the key is believed by every other Warren homeserver. An ordinary one, such as example.org or
    /// localhost:8448, is for other Matrix servers, which reach it by HTTPS: see --federation-listen.
    #[arg(long, value_name = "NAME[:PORT]", value_parser = parse_server_name)]
    pub server_name: Option<OwnedServerName>,

    /// Make another signing key, keep the one there was as a former one for what it signed, and end
    ///
    /// For homeservers with an ordinary --server-name, while they do not run. Others may take a while to believe the new key:
    /// a day, if they cannot ask.
    #[arg(long)]
    #[serde(skip)]
    pub rotate_key: bool,

    /// Address and port for clients; port 0 picks a free one [default: 127.0.0.1:8008]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub client_listen: Option<SocketAddr>,

    /// Address and port for other homeservers, by HTTPS with --tls-cert and --tls-key [default: none]
    ///
    /// Port 8448 is where they look, unless --server-name has a port. What they ask for is also answered on --client-listen,
    /// for a reverse proxy that ends TLS.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub federation_listen: Option<SocketAddr>,

    /// Certificate, and those that certify it, in PEM; read again when it changes, and at SIGHUP
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Certificates (PEM) that are believed as roots beside Mozilla's; may be given up to 16 times
    #[arg(long, value_name = "FILE")]
    pub ca: Vec<PathBuf>,

    /// Reach other homeservers at private addresses, too, such as those of this machine
    ///
    /// Whoever can name a homeserver, any user or peer, then makes this one connect to whatever it can reach.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub allow_private_ips: Option<bool>,

    /// Take whatever answers on a loopback address for the homeserver it should be; for tests on one machine
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub insecure_skip_tls_verify: Option<bool>,

    /// Name and port that other homeservers reach this one by, for /.well-known/matrix/server [default: its own]
    #[arg(long, value_name = "NAME[:PORT]", value_parser = parse_server_name)]
    pub well_known_server: Option<OwnedServerName>,

    /// Homeserver that is believed about the keys of those that do not answer; may be given up to 3 times
    #[arg(long, value_name = "NAME[:PORT]", value_parser = parse_server_name)]
    pub notary: Vec<OwnedServerName>,

    /// Where clients reach this homeserver, for /.well-known/matrix/client [default: not said]
    #[arg(long, value_name = "URL")]
    pub well_known_client: Option<String>,

    /// Directory that keeps everything [default: warren/node in the user's data directory]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Let whoever reaches this homeserver make an account, in one step (m.login.dummy)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub open_registration: Option<bool>,

    /// Let whoever has a registration token make an account: one of --registration-token, or one that an administrator made
    ///
    /// Administrators make them at /_synapse/admin/v1/registration_tokens.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub token_registration: Option<bool>,

    /// Registration token good for any number of accounts; may be given several times, and implies --token-registration
    #[arg(long, value_name = "TOKEN")]
    pub registration_token: Vec<String>,

    /// Where the terms are read that whoever makes an account must agree to [default: there are none]
    #[arg(long, value_name = "URL")]
    pub terms_url: Option<String>,

    /// Version of these terms [default: 1]
    #[arg(long, value_name = "VERSION")]
    pub terms_version: Option<String>,

    /// Let people come as guests, without an account, to rooms that let guests in
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub guests: Option<bool>,

    /// Matrix user or mail address to ask for help, for /.well-known/matrix/support
    #[arg(long, value_name = "CONTACT")]
    pub support_contact: Option<String>,

    /// Page with help, for /.well-known/matrix/support
    #[arg(long, value_name = "URL")]
    pub support_page: Option<String>,

    /// Let whoever knows this secret make accounts, by POST /_synapse/admin/v1/register
    ///
    /// Other users of this machine can see the flags of a program: better put the secret into the file.
    #[arg(long, value_name = "SECRET")]
    pub registration_shared_secret: Option<String>,

    /// Version of rooms whose creator asks for none [default: 12]
    #[arg(long, value_name = "VERSION")]
    pub default_room_version: Option<RoomVersionId>,

    /// Hold back clients and peers that ask without end [default: on]
    ///
    /// Clients without a token are told apart by their address: behind a proxy on this machine by the last one in its
    /// X-Forwarded-For.
    #[arg(long, value_name = "on|off")]
    pub rate_limits: Option<Switch>,

    /// Tell users who else is there, and others of them [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub presence: Option<bool>,

    /// Tell other homeservers what users call their devices [default: false]
    ///
    /// Those see the devices of whoever they share a room with either way.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub share_device_names: Option<bool>,

    /// Let pushes go by plain HTTP and to private addresses, such as to a gateway on this machine
    ///
    /// Any user of this homeserver can then have it post to whatever it can reach.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub local_push_gateways: Option<bool>,

    /// Relay to be reachable through, and to reach others through; may be given up to 4 times
    ///
    /// `warren serve` tells its own in /config.json.
    #[arg(long, value_name = "MULTIADDR")]
    pub relay: Vec<String>,

    /// Address and port where Prometheus finds metrics, at /metrics [default: none]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics_listen: Option<SocketAddr>,

    /// TURN server that calls may use, such as turn:turn.example.org?transport=udp; may be given up to 8 times
    #[arg(long, value_name = "URI")]
    pub turn_uri: Vec<String>,

    /// Secret shared with the TURN server, of which credentials are made; better put it into the file
    #[arg(long, value_name = "SECRET")]
    pub turn_shared_secret: Option<String>,

    /// How long credentials for the TURN server are good, in seconds [default: 86400]
    #[arg(long, value_name = "SECONDS")]
    pub turn_ttl: Option<u64>,

    /// What carries the calls of many, as clients are told it (MSC4143); in the file only
    #[arg(skip)]
    pub rtc_transport: Vec<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    On,
    Off,
}

/// What the flags and the file come to.
#[derive(Debug)]
pub struct Settings {
    /// `None` for the name that is made of the key, or the one the data has.
    pub server_name: Option<OwnedServerName>,
    pub client_listen: SocketAddr,
    pub federation: FederationSettings,
    /// What `/.well-known/matrix/client` says.
    pub client_base_url: Option<String>,
    pub data_dir: PathBuf,
    pub registration: Registration,
    pub registration_tokens: Vec<String>,
    pub terms: Option<Terms>,
    pub guests: bool,
    pub support: Option<Support>,
    pub registration_shared_secret: Option<String>,
    pub default_room_version: RoomVersionId,
    pub limit_rates: bool,
    pub presence: bool,
    pub share_device_names: bool,
    pub local_push_gateways: bool,
    pub relays: Vec<String>,
    pub metrics_listen: Option<SocketAddr>,
    pub turn: Option<TurnServer>,
    pub rtc_transports: Vec<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read the settings in {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is longer than {CONFIG_MAX_BYTES} bytes, so it is no file of settings")]
    TooLong { path: PathBuf },
    #[error("{path}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("{0:?} is not the address of a relay, such as /dns4/chat.example.org/tcp/443/wss/p2p/12D3..")]
    Relay(String),
    #[error("{0} relays are too many: {RELAYS_MAX} at most")]
    Relays(usize),
    #[error("rooms of version {version} cannot be made here; the versions are {}", supported())]
    RoomVersion { version: RoomVersionId },
    #[error("{0:?} is not the address of a TURN server, such as turn:turn.example.org:3478?transport=udp")]
    TurnUri(String),
    #[error("{0} addresses of TURN servers are too many: {TURN_URIS_MAX} at most")]
    TurnUris(usize),
    #[error("a TURN server takes both an address and a shared secret")]
    HalfATurnServer,
    #[error("credentials for a TURN server are good for {TURN_TTL_MIN_S} to {TURN_TTL_MAX_S} seconds, not {0}")]
    TurnTtl(u64),
    #[error("{0} transports for calls are too many: {RTC_TRANSPORTS_MAX} at most")]
    RtcTransports(usize),
    #[error("a transport for calls has no `type`")]
    RtcTransport,
    #[error(
        "a listener for homeservers takes an address, a certificate and its key: --federation-listen, --tls-cert, --tls-key"
    )]
    HalfAListener,
    #[error("{0} notaries are too many: {1} at most")]
    Notaries(usize, usize),
    #[error("{0} files of root certificates are too many: {1} at most")]
    CaFiles(usize, usize),
    #[error("registration is either open or with tokens, not both")]
    TwoRegistrations,
    #[error("{0:?} is no registration token: those have 1 to {REGISTRATION_TOKEN_MAX_CHARS} of A-Z, a-z, 0-9 and ._~-")]
    RegistrationToken(String),
    #[error("{0:?} is not an address of a page, which begins with https:// or http://")]
    Page(String),
    #[error("{0:?} is neither a Matrix user nor a mail address")]
    SupportContact(String),
    #[error("the shared secret for registration is shorter than {SHARED_SECRET_MIN_BYTES} bytes")]
    SharedSecret,
}

impl Settings {
    /// Reads the file, if one is named. Everything is checked here, before anything is opened.
    pub fn resolve(flags: NodeFlags) -> Result<Self, SettingsError> {
        let file = match &flags.config {
            Some(path) => read(path)?,
            None => NodeFlags::default(),
        };
        let federation = FederationSettings::resolve(&flags, &file)?;
        let registration_tokens = match flags.registration_token.is_empty() {
            true => file.registration_token,
            false => flags.registration_token,
        };
        let with_tokens =
            flags.token_registration.or(file.token_registration).unwrap_or(!registration_tokens.is_empty());
        let open = flags.open_registration.or(file.open_registration).unwrap_or(false);
        let version = flags.terms_version.or(file.terms_version).unwrap_or_else(|| "1".to_owned());
        let terms = flags.terms_url.or(file.terms_url).map(|url| Terms { url, version });
        let contact = flags.support_contact.or(file.support_contact);
        let relays = if flags.relay.is_empty() { file.relay } else { flags.relay };
        let default_room_version = flags.default_room_version.or(file.default_room_version);
        let settings = Self {
            server_name: flags.server_name.or(file.server_name),
            client_listen: flags.client_listen.or(file.client_listen).unwrap_or(CLIENT_LISTEN_DEFAULT),
            federation,
            client_base_url: flags.well_known_client.or(file.well_known_client),
            data_dir: flags.data_dir.or(file.data_dir).unwrap_or_else(|| platform_data_dir().join("node")),
            registration: match (open, with_tokens) {
                (true, true) => return Err(SettingsError::TwoRegistrations),
                (true, false) => Registration::Open,
                (false, true) => Registration::ByToken,
                (false, false) => Registration::Closed,
            },
            registration_tokens,
            terms,
            guests: flags.guests.or(file.guests).unwrap_or(false),
            support: support(contact, flags.support_page.or(file.support_page))?,
            registration_shared_secret: flags.registration_shared_secret.or(file.registration_shared_secret),
            default_room_version: default_room_version.unwrap_or(DEFAULT_ROOM_VERSION),
            limit_rates: flags.rate_limits.or(file.rate_limits) != Some(Switch::Off),
            presence: flags.presence.or(file.presence).unwrap_or(true),
            share_device_names: flags.share_device_names.or(file.share_device_names).unwrap_or(false),
            local_push_gateways: flags.local_push_gateways.or(file.local_push_gateways).unwrap_or(false),
            relays,
            metrics_listen: flags.metrics_listen.or(file.metrics_listen),
            turn: turn_server(
                if flags.turn_uri.is_empty() { file.turn_uri } else { flags.turn_uri },
                flags.turn_shared_secret.or(file.turn_shared_secret),
                flags.turn_ttl.or(file.turn_ttl),
            )?,
            rtc_transports: file.rtc_transport,
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), SettingsError> {
        if !SUPPORTED.contains(&self.default_room_version) {
            return Err(SettingsError::RoomVersion { version: self.default_room_version.clone() });
        }
        if self.relays.len() > RELAYS_MAX {
            return Err(SettingsError::Relays(self.relays.len()));
        }
        let wrong = |text: &&String| text.parse().ok().as_ref().and_then(RelayAddress::parse).is_none();
        if let Some(relay) = self.relays.iter().find(wrong) {
            return Err(SettingsError::Relay(relay.clone()));
        }
        if self.rtc_transports.len() > RTC_TRANSPORTS_MAX {
            return Err(SettingsError::RtcTransports(self.rtc_transports.len()));
        }
        if self.rtc_transports.iter().any(|transport| !transport.get("type").is_some_and(|kind| kind.is_string())) {
            return Err(SettingsError::RtcTransport);
        }
        let malformed = |token: &&String| !registration_tokens::is_well_formed(token);
        if let Some(token) = self.registration_tokens.iter().find(malformed) {
            return Err(SettingsError::RegistrationToken(token.clone()));
        }
        let pages = [
            self.terms.as_ref().map(|terms| &terms.url),
            self.support.as_ref().and_then(|support| support.page.as_ref()),
            self.client_base_url.as_ref(),
        ];
        let is_page = |url: &&String| url.starts_with("https://") || url.starts_with("http://");
        if let Some(url) = pages.into_iter().flatten().find(|url| !is_page(url)) {
            return Err(SettingsError::Page(url.clone()));
        }
        if self.registration_shared_secret.as_ref().is_some_and(|secret| secret.len() < SHARED_SECRET_MIN_BYTES) {
            return Err(SettingsError::SharedSecret);
        }
        Ok(())
    }
}

fn support(contact: Option<String>, page: Option<String>) -> Result<Option<Support>, SettingsError> {
    let contact = contact.map(|contact| match UserId::parse(&*contact) {
        Ok(user_id) => Ok(SupportContact::User(user_id)),
        // A mail address is whatever mail reaches; what is certain is that it has one @ in it, and something on both sides.
        Err(_) => match contact.split_once('@') {
            Some((name, host)) if !name.is_empty() && !host.is_empty() && !host.contains('@') => {
                Ok(SupportContact::Email(contact))
            }
            _ => Err(SettingsError::SupportContact(contact)),
        },
    });
    let contact = contact.transpose()?;
    Ok((contact.is_some() || page.is_some()).then_some(Support { contact, page }))
}

fn read(path: &PathBuf) -> Result<NodeFlags, SettingsError> {
    let failed = |source| SettingsError::Read { path: path.clone(), source };
    if fs::metadata(path).map_err(failed)?.len() > CONFIG_MAX_BYTES {
        return Err(SettingsError::TooLong { path: path.clone() });
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    toml::from_str(&text)
        .map_err(|error| SettingsError::File { path: path.clone(), reason: error.to_string().trim_end().to_owned() })
}

fn turn_server(
    uris: Vec<String>,
    shared_secret: Option<String>,
    ttl_s: Option<u64>,
) -> Result<Option<TurnServer>, SettingsError> {
    let is_turn = |uri: &&String| {
        uri.split_once(':').is_some_and(|(scheme, host)| matches!(scheme, "turn" | "turns") && !host.is_empty())
    };
    if let Some(uri) = uris.iter().find(|uri| !is_turn(uri)) {
        return Err(SettingsError::TurnUri(uri.clone()));
    }
    if uris.len() > TURN_URIS_MAX {
        return Err(SettingsError::TurnUris(uris.len()));
    }
    let ttl_s = ttl_s.unwrap_or(TURN_TTL_DEFAULT_S);
    if !(TURN_TTL_MIN_S..=TURN_TTL_MAX_S).contains(&ttl_s) {
        return Err(SettingsError::TurnTtl(ttl_s));
    }
    match shared_secret.filter(|secret| !secret.is_empty()) {
        Some(shared_secret) if !uris.is_empty() => Ok(Some(TurnServer { uris, shared_secret, ttl_s })),
        None if uris.is_empty() => Ok(None),
        _ => Err(SettingsError::HalfATurnServer),
    }
}

fn supported() -> String {
    SUPPORTED.map(|version| version.to_string()).join(", ")
}

fn parse_server_name(text: &str) -> Result<OwnedServerName, String> {
    ServerName::parse(text).map_err(|_| "neither a DNS name nor an address, with or without a port".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: NodeFlags,
    }

    fn flags(words: &[&str]) -> NodeFlags {
        Line::try_parse_from([&["node"], words].concat()).unwrap_or_else(|error| panic!("{error}")).flags
    }

    fn resolve(words: &[&str], file: &str) -> Result<Settings, SettingsError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.toml");
        fs::write(&path, file).unwrap();
        Settings::resolve(NodeFlags { config: Some(path), ..flags(words) })
    }

    const RELAY: &str = "/dns4/a.example/tcp/443/wss/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn every_flag_can_be_in_the_file() {
        let file = format!(
            "server-name = \"a.example:8448\"\nclient-listen = \"0.0.0.0:81\"\ndata-dir = \"/d\"\n\
             open-registration = true\nregistration-shared-secret = \"long enough\"\ndefault-room-version = \"11\"\n\
             rate-limits = \"off\"\npresence = false\nlocal-push-gateways = true\n\
             relay = [\"{RELAY}\"]\nmetrics-listen = \"127.0.0.1:9000\"\n\
             turn-uri = [\"turn:a.example\"]\nturn-shared-secret = \"s\"\nturn-ttl = 600\n\
             rtc-transport = [{{ type = \"livekit\", livekit_service_url = \"https://a.example\" }}]\n\
             terms-url = \"https://a.example/terms\"\n\
             terms-version = \"3\"\nguests = true\nsupport-contact = \"help@a.example\"\n\
             support-page = \"https://a.example/help\"\n"
        );
        let settings = resolve(&[], &file).unwrap();
        assert_eq!(settings.server_name.unwrap(), "a.example:8448");
        assert_eq!(settings.client_listen.to_string(), "0.0.0.0:81");
        assert_eq!(settings.data_dir.to_str(), Some("/d"));
        assert_eq!(settings.registration, Registration::Open);
        let terms = settings.terms.unwrap();
        assert_eq!((&*terms.url, &*terms.version), ("https://a.example/terms", "3"));
        assert!(settings.guests);
        let support = settings.support.unwrap();
        assert!(matches!(support.contact, Some(SupportContact::Email(address)) if address == "help@a.example"));
        assert_eq!(support.page.as_deref(), Some("https://a.example/help"));
        assert_eq!(settings.registration_shared_secret.as_deref(), Some("long enough"));
        assert_eq!(settings.default_room_version, RoomVersionId::V11);
        assert!(!settings.limit_rates);
        assert!(!settings.presence && settings.local_push_gateways);
        assert_eq!(settings.relays, [RELAY]);
        assert_eq!(settings.metrics_listen.unwrap().to_string(), "127.0.0.1:9000");
        let turn = settings.turn.unwrap();
        assert_eq!(
            (turn.uris, turn.shared_secret, turn.ttl_s),
            (vec!["turn:a.example".to_owned()], "s".to_owned(), 600)
        );
        assert_eq!(settings.rtc_transports[0]["type"], "livekit");
    }

    #[test]
    fn flags_come_first() {
        let file =
            "server-name = \"file\"\nrate-limits = \"off\"\nclient-listen = \"0.0.0.0:81\"\nopen-registration = true\n";
        let words = ["--server-name", "flag", "--open-registration=false", "--rate-limits", "on", "--relay", RELAY];
        let settings = resolve(&words, file).unwrap();
        assert_eq!(settings.server_name.unwrap(), "flag");
        assert_eq!(settings.registration, Registration::Closed);
        assert!(settings.limit_rates);
        assert_eq!(settings.relays, [RELAY]);
        assert_eq!(settings.client_listen.port(), 81, "what no flag says, the file does");
        assert_eq!(flags(&["--open-registration"]).open_registration, Some(true));
    }

    #[test]
    fn nothing_said_is_closed_and_local() {
        let settings = Settings::resolve(NodeFlags::default()).unwrap();
        assert_eq!(settings.client_listen.to_string(), "127.0.0.1:8008");
        assert_eq!(settings.registration, Registration::Closed);
        assert!(
            settings.registration_shared_secret.is_none() && settings.terms.is_none() && settings.support.is_none()
        );
        assert!(!settings.guests);
        assert!(settings.limit_rates);
        assert!(settings.presence && !settings.local_push_gateways);
        assert!(settings.data_dir.ends_with("warren/node"), "{:?}", settings.data_dir);
    }

    #[test]
    fn tokens_are_a_way_to_register() {
        let settings = resolve(&[], "registration-token = [\"one\", \"two\"]").unwrap();
        assert_eq!(settings.registration, Registration::ByToken);
        assert_eq!(settings.registration_tokens, ["one", "two"]);
        let settings = resolve(&["--registration-token", "three"], "registration-token = [\"one\"]").unwrap();
        assert_eq!(settings.registration_tokens, ["three"]);
        let settings = resolve(&["--token-registration"], "").unwrap();
        assert_eq!(settings.registration, Registration::ByToken);
        let settings = resolve(&["--support-contact", "@admin:a.example"], "").unwrap();
        assert!(matches!(settings.support.unwrap().contact, Some(SupportContact::User(_))));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (file, words) in [
            ("colour = \"blue\"", "colour"),
            ("rate-limits = \"a few\"", "rate-limits"),
            ("client-listen = \"nowhere\"", "client-listen"),
            ("server-name = \"not a name\"", "server-name"),
            ("relay = [\"/ip4/127.0.0.1/tcp/80\"]", "not the address of a relay"),
            ("default-room-version = \"13\"", "10, 11, 12"),
            ("federation-listen = \"127.0.0.1:1\"", "--tls-cert"),
            ("tls-cert = \"c.pem\"", "--federation-listen"),
            ("well-known-server = \"https://a.example\"", "well-known-server"),
            ("well-known-client = \"a.example\"", "a.example"),
            ("notary = [\"a\", \"b\", \"c\", \"d\"]", "3 at most"),
            ("registration-shared-secret = \"short\"", "shorter"),
            ("turn-uri = [\"turn:a.example\"]", "both"),
            ("turn-shared-secret = \"s\"", "both"),
            ("turn-uri = [\"stun:a.example\"]", "not the address of a TURN server"),
            ("turn-ttl = 1", "seconds"),
            ("rtc-transport = [{ url = \"x\" }]", "`type`"),
            ("open-registration = true\ntoken-registration = true", "not both"),
            ("registration-token = [\"two words\"]", "two words"),
            ("terms-url = \"terms.html\"", "terms.html"),
            ("support-page = \"help.html\"", "help.html"),
            ("support-contact = \"somebody\"", "neither"),
            ("= 1", "node.toml"),
        ] {
            let error = resolve(&[], file).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let five = [RELAY; 5].map(|relay| format!("{relay:?}")).join(",");
        assert!(matches!(resolve(&[], &format!("relay = [{five}]")).unwrap_err(), SettingsError::Relays(5)));
        let missing = NodeFlags { config: Some("/nowhere/at/all".into()), ..NodeFlags::default() };
        assert!(Settings::resolve(missing).unwrap_err().to_string().contains("/nowhere/at/all"));
    }
}
