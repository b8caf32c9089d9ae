//! Async workflows over the domain: one homeserver, its store, its peers.
pub mod account_data;
pub mod accounts;
pub mod addresses;
pub mod administration;
pub mod aliases;
pub mod auth_sessions;
pub mod by_time;
pub mod client_event;
pub mod client_txns;
pub mod delayed_events;
pub mod device_lists;
pub mod devices;
pub mod directory;
pub mod edus;
pub mod erasures;
pub mod event_times;
pub mod events;
pub mod favourites;
pub mod filters;
pub mod guests;
pub mod heads;
pub mod identity;
pub mod inspect;
pub mod key_ring;
pub mod messages;
pub mod mutual_rooms;
pub mod notifications;
pub mod notifier;
pub mod openid;
pub mod passwords;
pub mod peers;
pub mod positions;
pub mod profiles;
pub mod push_rules;
pub mod pushers;
pub mod pushes;
pub mod queueing;
pub mod rate_limits;
pub mod refusals;
pub mod registration_tokens;
pub mod relations;
pub mod reports;
pub mod room_facts;
pub mod room_view;
pub mod rooms;
pub mod sender;
pub mod server_notices;
pub mod sessions;
pub mod snapshots;
pub mod spaces;
pub mod states;
pub mod summaries;
pub mod sync;
pub mod tags;
pub mod timeline;
pub mod to_device;
pub mod tokens;
pub mod transactions;
pub mod turn;
pub mod unread;
pub mod user_directory;
pub mod user_rows;
pub mod visibility;

use std::rc::{Rc, Weak};

use futures::lock::Mutex;
use ruma::{OwnedServerName, OwnedUserId, RoomVersionId, ServerName};
use thiserror::Error;

use self::{
    accounts::deactivation,
    auth_sessions::AuthSessions,
    client_txns::ClientTxns,
    delayed_events::DelayedEvents,
    device_lists::DeviceLists,
    edus::{presence::Presence, receipt::Receipts, typing::Typing},
    erasures::Erasures,
    event_times::EventTimes,
    favourites::Favourites,
    key_ring::KeyRing,
    notifications::Trimming,
    notifier::Notifier,
    passwords::PasswordFailures,
    positions::Positions,
    pushes::Pushes,
    rate_limits::RateLimits,
    refusals::Refusals,
    registration_tokens::Guesses,
    room_facts::RoomFacts,
    rooms::{Rooms, doorway::Doorway, join::Joins, waiting::Waiting, welcome::Welcomes},
    sender::{OutboxStatus, Sender},
    sessions::Sessions,
    spaces::Walks,
    sync::streams::lazy_members::LazyMembers,
    to_device::ToDevices,
    transactions::LastTxns,
    turn::TurnServer,
    unread::Unread,
    user_directory::UserDirectory,
    user_rows::UserRows,
};
use crate::{
    domain::{
        identity::{FormerKey, Identity},
        room_version::DEFAULT_ROOM_VERSION,
    },
    ports::{Environment, StoreError},
    storage::Database,
};

/// What a shell decides about a homeserver.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where clients reach this homeserver, for `/.well-known/matrix/client`; `None` if that is not one place.
    pub client_base_url: Option<String>,
    /// The name that other homeservers reach this one by, for `/.well-known/matrix/server`; `None` if that is its own.
    pub reached_by: Option<OwnedServerName>,
    pub registration: Registration,
    /// Tokens that are good for any number of accounts where registration is [`Registration::ByToken`].
    pub registration_tokens: Vec<String>,
    /// What whoever makes an account must agree to.
    pub terms: Option<Terms>,
    /// Whether people may come as guests, without an account.
    pub guests: bool,
    /// Whether the first who makes an account is the administrator, as in a tab, which is one's own.
    pub first_user_is_admin: bool,
    /// Whom to ask for help, for `/.well-known/matrix/support`.
    pub support: Option<Support>,
    /// Of rooms whose creator asks for no version: a supported one.
    pub default_room_version: RoomVersionId,
    /// Whether clients and peers that ask without end are held back.
    pub limit_rates: bool,
    /// What helps calls through firewalls, if there is such a server.
    pub turn: Option<TurnServer>,
    /// What carries the calls of many, as clients are told it (MSC4143).
    pub rtc_transports: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Whether users are told who else is there, and others of them.
    pub presence: bool,
    /// Servers that are believed about the keys of servers that cannot be asked themselves, first to last.
    pub notaries: Vec<OwnedServerName>,
    /// Keys that a homeserver of this name signed with before, to be published with its own.
    pub former_keys: Vec<FormerKey>,
    /// Whether other servers are told what users call their devices, which says what they own. They see them without.
    pub shares_device_names: bool,
}

/// Terms that new users must agree to (client-server API, "Terms of service at registration").
#[derive(Clone, Debug)]
pub struct Terms {
    /// Where they are read.
    pub url: String,
    pub version: String,
}

/// Whom to ask for help: one of them at least.
#[derive(Clone, Debug)]
pub struct Support {
    pub contact: Option<SupportContact>,
    pub page: Option<String>,
}

/// The administrator's.
#[derive(Clone, Debug)]
pub enum SupportContact {
    User(OwnedUserId),
    Email(String),
}

/// Who may make an account by `POST /register`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// Whoever asks, as in a tab, where nobody else can ask.
    #[default]
    Open,
    /// Whoever has a registration token.
    ByToken,
    /// Nobody: accounts are made in other ways.
    Closed,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            client_base_url: None,
            reached_by: None,
            registration: Registration::default(),
            registration_tokens: Vec::new(),
            terms: None,
            guests: false,
            first_user_is_admin: true,
            support: None,
            default_room_version: DEFAULT_ROOM_VERSION,
            limit_rates: false,
            turn: None,
            rtc_transports: Vec::new(),
            presence: true,
            notaries: Vec::new(),
            former_keys: Vec::new(),
            shares_device_names: false,
        }
    }
}

#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One homeserver. Owned by one thread; shells hold it in an `Rc`. Workflows are functions that take `&Rc<Homeserver>`
/// or `&Homeserver`, one file each, under `homeserver/`.
pub struct Homeserver {
    pub(crate) environment: Environment,
    pub(crate) options: Options,
    pub(crate) identity: Rc<Identity>,
    pub(crate) database: Database,
    pub(crate) positions: Positions,
    pub(crate) notifier: Notifier,
    pub(crate) event_times: EventTimes,
    pub(crate) favourites: Favourites,
    pub(crate) key_ring: KeyRing,
    pub(crate) rooms: Rooms,
    pub(crate) sender: Sender,
    pub(crate) sessions: Sessions,
    pub(crate) password_failures: PasswordFailures,
    pub(crate) auth_sessions: AuthSessions,
    pub(crate) token_guesses: Guesses,
    pub(crate) erasures: Erasures,
    pub(crate) client_txns: ClientTxns,
    pub(crate) last_txns: LastTxns,
    pub(crate) delayed_events: DelayedEvents,
    pub(crate) user_rows: UserRows,
    pub(crate) unread: Unread,
    pub(crate) trimming: Trimming,
    pub(crate) pushes: Pushes,
    pub(crate) presence: Presence,
    pub(crate) receipts: Receipts,
    pub(crate) typing: Typing,
    pub(crate) lazy_members: LazyMembers,
    pub(crate) to_devices: ToDevices,
    pub(crate) device_lists: DeviceLists,
    /// Held from reading to committing by whoever changes accounts, devices, profiles or account data.
    pub(crate) accounts_lock: Mutex<()>,
    /// Held while rooms are told of a new profile, so that the newest is the last they hear of.
    pub(crate) telling_rooms: Mutex<()>,
    /// Held while a user is sent a notice, so that each has one room for them.
    pub(crate) telling_notices: Mutex<()>,
    pub(crate) comparing: heads::Comparing,
    pub(crate) absent: heads::absent::Absent,
    pub(crate) quiet: heads::quiet::Quiet,
    pub(crate) fetching: rooms::fetch::Fetching,
    pub(crate) late: rooms::late::Late,
    pub(crate) waiting: Waiting,
    /// Held while a room is created, so that a repeated request sees what the first made.
    pub(crate) creating: Mutex<()>,
    pub(crate) joins: Joins,
    pub(crate) doorway: Doorway,
    pub(crate) welcomes: Welcomes,
    /// Held by whoever deletes a forgotten room.
    pub(crate) purging: Mutex<()>,
    pub(crate) room_facts: RoomFacts,
    pub(crate) rate_limits: RateLimits,
    pub(crate) refusals: Refusals,
    pub(crate) user_directory: UserDirectory,
    pub(crate) walks: Walks,
    pub(crate) foreign_spaces: spaces::foreign::Answers,
    /// For what is begun where only a reference is at hand.
    pub(crate) itself: Weak<Self>,
}

impl Homeserver {
    /// Opens the homeserver on `environment`, whose store has passed `identity::load_or_create`.
    pub async fn start(
        environment: Environment,
        identity: Rc<Identity>,
        options: Options,
    ) -> Result<Rc<Self>, StartError> {
        let database = Database::new(environment.store.clone());
        let positions = Positions::open(database.clone()).await?;
        let notifier = positions.notifier();
        let rooms = Rooms::open(database.clone(), positions.clone(), identity.server_name().to_owned()).await?;
        let rate_limits = RateLimits::new(options.limit_rates);
        let erasures = Erasures::open(&database).await?;
        let key_ring = KeyRing::open(&database).await?;
        let device_lists = DeviceLists::open(&database).await?;
        let server = Rc::new_cyclic(|itself| Self {
            itself: itself.clone(),
            options,
            identity,
            database,
            positions,
            notifier,
            event_times: EventTimes::default(),
            favourites: Favourites::default(),
            key_ring,
            rooms,
            sender: Sender::default(),
            sessions: Sessions::default(),
            password_failures: PasswordFailures::default(),
            auth_sessions: AuthSessions::default(),
            token_guesses: Guesses::default(),
            erasures,
            client_txns: ClientTxns::default(),
            last_txns: LastTxns::default(),
            delayed_events: DelayedEvents::default(),
            user_rows: UserRows::default(),
            unread: Unread::default(),
            trimming: Trimming::default(),
            pushes: Pushes::default(),
            presence: Presence::default(),
            receipts: Receipts::default(),
            typing: Typing::default(),
            lazy_members: LazyMembers::default(),
            to_devices: ToDevices::default(),
            device_lists,
            accounts_lock: Mutex::default(),
            telling_rooms: Mutex::default(),
            telling_notices: Mutex::default(),
            comparing: heads::Comparing::default(),
            absent: heads::absent::Absent::default(),
            quiet: heads::quiet::Quiet::default(),
            fetching: rooms::fetch::Fetching::default(),
            late: rooms::late::Late::default(),
            waiting: Waiting::default(),
            creating: Mutex::default(),
            joins: Joins::default(),
            doorway: Doorway::default(),
            welcomes: Welcomes::default(),
            purging: Mutex::default(),
            room_facts: RoomFacts::default(),
            rate_limits,
            refusals: Refusals::default(),
            user_directory: UserDirectory::default(),
            walks: Walks::default(),
            foreign_spaces: spaces::foreign::Answers::default(),
            environment,
        });
        server.favourites.start(&server);
        // Before anything is sent, as what waits to be sent needs addresses.
        addresses::recall(&server).await?;
        server.sender.start(&server).await?;
        delayed_events::start(&server).await?;
        rooms::purge::resume(&server);
        relations::catch_up::in_background(&server);
        administration::appoint_eldest(&server).await?;
        deactivation::resume(&server).await?;
        guests::resume(&server).await?;
        server.pushes.start(&server).await?;
        device_lists::resync::resume(&server);
        Ok(server)
    }

    pub fn server_name(&self) -> &ServerName {
        self.identity.server_name()
    }

    /// Chance, for jitter: a number below `bound`, which is at least 1.
    pub(crate) fn random_below(&self, bound: u64) -> u64 {
        let mut random = [0; 8];
        self.environment.entropy.fill(&mut random);
        u64::from_le_bytes(random) % bound
    }

    /// The shell says that a live connection to `server` now exists: flush its outbox, compare heads.
    pub fn peer_connected(self: &Rc<Self>, peer: OwnedServerName) {
        self.sender.peer_seen(&peer);
        device_lists::resync::seen(self, &peer);
        favourites::tell_soon(self);
        let server = self.clone();
        self.environment.tasks.spawn(Box::pin(async move {
            if let Err(error) = heads::meet(&server, &peer).await {
                tracing::warn!(%peer, %error, "heads could not be told");
            }
        }));
    }

    /// The shell says that peers may be reachable who were not: the relay answers (again), the machine woke up.
    pub fn network_returned(self: &Rc<Self>) {
        let server = self.clone();
        self.environment.tasks.spawn(Box::pin(async move {
            if let Err(error) = heads::look_around(&server).await {
                tracing::warn!(%error, "servers of our rooms could not be greeted");
            }
        }));
    }

    /// What waits to be sent, by destination.
    pub fn outbox(&self) -> Vec<OutboxStatus> {
        self.sender.status()
    }

    /// Calls `listener` whenever `outbox` may answer differently.
    pub fn on_outbox_change(&self, listener: Box<dyn Fn()>) {
        self.sender.on_change(listener);
    }
}
