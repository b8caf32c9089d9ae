//! This homeserver among others: one swarm, and the `Transport` port on it.
//!
//! Made first, so that the core can be given its transport; run once there is a homeserver to answer peers.
mod behaviour;
mod direct;
mod event_loop;
mod eviction;
mod gateway;
mod known_peers;
mod reach;
mod rejoin;
mod requests;
mod reservation;
mod serving;
mod silence;
mod status;
#[cfg(test)]
mod tests;

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{
    channel::{mpsc, oneshot},
    future::{LocalBoxFuture, Shared},
};
use libp2p::{Multiaddr, PeerId, Swarm, identity::Keypair, swarm, swarm::ConnectionId};
use libp2p_webrtc_p2p::{self as webrtc, backend::RtcBackend};
use ruma::OwnedServerName;

pub use self::{
    behaviour::{BaseTransport, DIRECT_PEERS_MAX, yamux_config},
    gateway::Gateway,
    known_peers::{Cause, DirectAttempt, Unreached},
    serving::{Caller, PeerHandler, Serving},
    status::{NetworkStatus, PeerState, PeerStatus, RelayState, RelayStatus},
};
use self::{
    behaviour::{Behaviour, DirectOptions},
    known_peers::{Known, KnownPeers},
    rejoin::Sought,
};
use super::{
    address_book::{AddressBook, Provenance, RelayAddress},
    connections::{Connections, Path},
    exchanges::Exchanges,
    favourites::Favourites,
    lanes::Lanes,
    streams::{HttpStream, OpenError, Spoken},
    turns::Turns,
};
use crate::{
    domain::identity::Identity,
    ports::{Clock, Entropy, Tasks},
};

/// Relays a reservation is kept with at the same time. More are ignored.
pub const RELAYS_MAX: usize = 4;

/// What the shell is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkEvent {
    /// A live connection to this homeserver now exists where there was none.
    PeerConnected(OwnedServerName),
    /// A relay can be used, for the first time or again.
    Returned,
    /// Something of [`Network::status`] has changed.
    Changed,
}

pub type Observer = Rc<dyn Fn(NetworkEvent)>;

/// What a network needs of its shell.
pub struct NetworkOptions {
    pub identity: Rc<Identity>,
    /// `<transport>/p2p/<relay>` each; what is none is ignored, and logged.
    pub relays: Vec<String>,
    /// Makes peer connections, so that peers need no relay once they have been introduced by one.
    pub rtc: Option<Box<dyn RtcBackend>>,
    /// Peers that may be connected by `rtc` at the same time, in either direction: [`DIRECT_PEERS_MAX`].
    pub direct_peers_max: usize,
    /// Whether `rtc` knows servers to ask, which tells why no path was found.
    pub has_ice_servers: bool,
    /// Where servers of the web are reached, and reach us.
    pub gateway: Option<Gateway>,
    pub clock: Rc<dyn Clock>,
    pub entropy: Rc<dyn Entropy>,
    pub tasks: Rc<dyn Tasks>,
}

/// Cheap to clone; clones are the same network.
#[derive(Clone)]
pub struct Network(Rc<Inner>);

struct Inner {
    local: PeerId,
    server_name: OwnedServerName,
    relays: Vec<RelayAddress>,
    clock: Rc<dyn Clock>,
    entropy: Rc<dyn Entropy>,
    tasks: Rc<dyn Tasks>,
    /// To the event loop, which takes them at once: each asker waits for its answer, so it holds no more than there
    /// are askers. Closing it ends the swarm.
    commands: mpsc::UnboundedSender<Command>,
    prepared: RefCell<Option<Prepared>>,
    connections: RefCell<Connections>,
    book: RefCell<AddressBook>,
    /// Peers with a connection that have said they are homeservers, and their names.
    homeservers: RefCell<BTreeMap<PeerId, OwnedServerName>>,
    lanes: RefCell<BTreeMap<PeerId, Rc<Lanes>>>,
    /// Dials under way, so that everybody who wants the same peer waits for the same dial.
    reaching: RefCell<BTreeMap<PeerId, Reaching>>,
    /// Likewise to relays themselves. Apart, because reaching a peer waits for these and these wait for nothing.
    reaching_relays: RefCell<BTreeMap<PeerId, Reaching>>,
    /// Circuits that are asked for.
    introductions: Rc<Turns>,
    /// Told when a connection to a peer that is being dialed exists, whoever made it.
    arrivals: RefCell<BTreeMap<PeerId, oneshot::Sender<()>>>,
    direct: RefCell<direct::Direct>,
    /// Asked by the swarm too, hence the lock; one thread holds it, for a moment.
    favourites: Arc<Mutex<Favourites>>,
    exchanges: Exchanges,
    /// Waits that end when there may be room for another direct peer.
    room_awaited: RefCell<Vec<oneshot::Sender<()>>>,
    reservations: RefCell<Vec<RelayStatus>>,
    known: RefCell<KnownPeers>,
    /// Whether a STUN or TURN server can be asked for our address.
    has_ice_servers: bool,
    gateway: Option<gateway::Door>,
    sought: RefCell<Sought>,
    /// Waits that end early when the device is online again.
    nudges: RefCell<Vec<oneshot::Sender<()>>>,
    observer: RefCell<Option<Observer>>,
    stopped: Cell<bool>,
}

type Reaching = Shared<LocalBoxFuture<'static, Result<(), Unreached>>>;

/// What `run` sets going.
struct Prepared {
    swarm: Swarm<Behaviour>,
    commands: mpsc::UnboundedReceiver<Command>,
}

/// What only the owner of the swarm can do.
enum Command {
    Dial {
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        answer: oneshot::Sender<Result<(), Unreached>>,
    },
    /// Makes a direct connection over the relayed one there is.
    DialDirect {
        peer: PeerId,
        answer: oneshot::Sender<Result<(), Unreached>>,
    },
    OpenStream {
        peer: PeerId,
        connection: ConnectionId,
        spoken: Spoken,
        answer: oneshot::Sender<Result<HttpStream, OpenError>>,
    },
    Reserve {
        circuit: Multiaddr,
        answer: oneshot::Sender<Result<Reserved, String>>,
    },
    Close(ConnectionId),
    /// Closes a connection that is still given up.
    CloseRetired {
        peer: PeerId,
        connection: ConnectionId,
    },
}

/// A reservation that is ready.
struct Reserved {
    /// Where peers can dial us through this relay.
    addresses: Vec<Multiaddr>,
    /// Resolves to the reason when it is lost.
    lost: oneshot::Receiver<String>,
}

impl Network {
    /// `base` carries connections to relays and to peers with addresses of their own. `config` brings the executor.
    /// Nothing is dialed before `run`, and requests wait.
    pub fn new(options: NetworkOptions, base: BaseTransport, config: swarm::Config) -> Self {
        let NetworkOptions { identity, relays, rtc, direct_peers_max, has_ice_servers, gateway, clock, entropy, tasks } =
            options;
        let keypair = Keypair::ed25519_from_bytes(identity.seed()).expect("any 32 bytes are an ed25519 secret");
        let local = keypair.public().to_peer_id();
        let favourites = Arc::new(Mutex::new(Favourites::new(direct_peers_max)));
        let asked = favourites.clone();
        let admission: webrtc::Admission = Box::new(move |peer, others| lock(&asked).admits(peer, others));
        let direct = DirectOptions { rtc, peers_max: direct_peers_max, admission };
        let relays = parse_relays(&relays);
        let gateway = gateway.and_then(|gateway| gateway::Door::new(gateway, identity.server_name(), &relays));
        let listens: &[Spoken] = match &gateway {
            Some(_) => &[Spoken::Homeservers, Spoken::Gateway],
            None => &[Spoken::Homeservers],
        };
        let swarm = behaviour::build(&keypair, identity.server_name(), base, direct, listens, config);
        let (sender, receiver) = mpsc::unbounded();
        let direct = direct::Direct::new(swarm.behaviour().direct.is_enabled());
        let reservations = relays.iter().map(RelayStatus::new).collect();
        let inner = Inner {
            local,
            server_name: identity.server_name().to_owned(),
            relays,
            clock,
            entropy,
            tasks,
            commands: sender,
            prepared: RefCell::new(Some(Prepared { swarm, commands: receiver })),
            connections: RefCell::new(Connections::new(local)),
            book: RefCell::default(),
            homeservers: RefCell::default(),
            lanes: RefCell::default(),
            reaching: RefCell::default(),
            introductions: reach::introductions(),
            arrivals: RefCell::default(),
            reaching_relays: RefCell::default(),
            direct: RefCell::new(direct),
            favourites,
            exchanges: Exchanges::default(),
            room_awaited: RefCell::default(),
            reservations: RefCell::new(reservations),
            known: RefCell::default(),
            has_ice_servers,
            gateway,
            sought: RefCell::default(),
            nudges: RefCell::default(),
            observer: RefCell::default(),
            stopped: Cell::default(),
        };
        Self(Rc::new(inner))
    }

    /// Dials the relays and begins to answer peers with `handler`. Does nothing the second time.
    pub fn run(&self, handler: PeerHandler, observer: Observer) {
        let Some(Prepared { swarm, commands }) = self.0.prepared.take() else { return };
        self.0.observer.replace(Some(observer));
        let serving = Serving::new(handler, self.0.exchanges.clone(), self.0.clock.clone(), self.0.tasks.clone());
        self.0.tasks.spawn(Box::pin(event_loop::run(swarm, commands, serving, self.0.clone())));
        for index in 0..self.0.relays.len() {
            self.0.tasks.spawn(Box::pin(reservation::keep(self.0.clone(), index)));
        }
    }

    /// Closes all connections and begins no more.
    pub fn stop(&self) {
        self.0.stopped.set(true);
        self.0.commands.close_channel();
        self.0.prepared.take();
        self.0.observer.take();
        self.0.nudges.take();
        self.0.room_awaited.take();
        self.0.reaching.take();
        self.0.arrivals.take();
        self.0.reaching_relays.take();
    }

    /// A peer is at `address`, where nobody is needed to reach it, and it knows the same of us. One of the two dials.
    pub fn found(&self, peer: PeerId, address: Multiaddr) {
        let inner = self.0.clone();
        inner.learn(peer, address.clone(), Provenance::Seen);
        if inner.local < peer {
            inner.tasks.clone().spawn(Box::pin(async move {
                if let Err(reason) = inner.dial(peer, vec![address]).await {
                    tracing::info!(%peer, %reason, "found, and not reached");
                }
            }));
        }
    }

    /// The device is online again, say: whoever waits to try once more tries now.
    pub fn nudge(&self) {
        self.0.nudges.take().into_iter().for_each(|waiting| {
            // That wait ended by itself.
            let _ = waiting.send(());
        });
    }
}

fn lock(favourites: &Mutex<Favourites>) -> MutexGuard<'_, Favourites> {
    favourites.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parse_relays(relays: &[String]) -> Vec<RelayAddress> {
    let parse = |text: &String| {
        let relay = text.parse().ok().as_ref().and_then(RelayAddress::parse);
        if relay.is_none() {
            tracing::warn!(address = text, "this is not the address of a relay: <transport>/p2p/<peer id>");
        }
        relay
    };
    relays.iter().filter_map(parse).take(RELAYS_MAX).collect()
}

impl Inner {
    fn tell(&self, event: NetworkEvent) {
        let observer = self.observer.borrow().clone();
        if let Some(observer) = observer {
            observer(event);
        }
    }

    /// Hands `command` to the event loop; after `stop` it is dropped, and its asker learns that from its answer.
    fn command(&self, command: Command) {
        let _ = self.commands.unbounded_send(command);
    }

    /// What is known of `peer`, to be changed.
    fn note(&self, peer: PeerId) -> RefMut<'_, Known> {
        let connections = self.connections.borrow();
        RefMut::map(self.known.borrow_mut(), |known| known.note(peer, |peer| connections.is_connected(peer)))
    }

    fn learn(&self, peer: PeerId, address: Multiaddr, provenance: Provenance) {
        if peer != self.local {
            self.book.borrow_mut().add(peer, address, provenance);
        }
    }

    /// A connection ended, or is of no more use. Told again of the same one, it changes nothing.
    fn connection_gone(self: &Rc<Self>, peer: PeerId, connection: ConnectionId) {
        let was_last = self.connections.borrow_mut().closed(peer, connection);
        if self.connections.borrow().count(&peer, Path::Direct) == 0 && self.favourites().gone(&peer) {
            self.room_changed();
        }
        if !was_last {
            direct::lost_one(self, peer);
            self.tell(NetworkEvent::Changed);
            return;
        }
        self.gateway_gone(&peer);
        self.favourites().left(&peer);
        let was_homeserver = self.homeservers.borrow_mut().remove(&peer).is_some();
        if was_homeserver {
            self.note(peer).round_trip_ms = None;
        }
        // Requests under way hold their lanes and find out by themselves.
        self.lanes.borrow_mut().retain(|other, lanes| *other != peer || Rc::strong_count(lanes) > 1);
        if was_homeserver {
            rejoin::lost(self, peer);
        }
        self.tell(NetworkEvent::Changed);
    }

    fn favourites(&self) -> MutexGuard<'_, Favourites> {
        let mut favourites = lock(&self.favourites);
        favourites.at(self.clock.now_ms());
        favourites
    }

    /// There may be room for another direct peer: whoever waits for some looks again.
    fn room_changed(&self) {
        self.room_awaited.take().into_iter().for_each(|waiting| {
            // That wait ended by itself.
            let _ = waiting.send(());
        });
    }

    /// Waits `duration_ms`, or until there may be room for another direct peer.
    async fn room(&self, duration_ms: u64) {
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.room_awaited.borrow_mut();
            waiting.retain(|waiting| !waiting.is_canceled());
            waiting.push(sender);
        }
        futures::future::select(receiver, self.clock.sleep_ms(duration_ms)).await;
    }

    /// Waits `duration_ms`, or until the network is nudged.
    async fn wait(&self, duration_ms: u64) {
        let (sender, receiver) = oneshot::channel();
        {
            let mut nudges = self.nudges.borrow_mut();
            nudges.retain(|waiting| !waiting.is_canceled());
            nudges.push(sender);
        }
        futures::future::select(receiver, self.clock.sleep_ms(duration_ms)).await;
    }

    /// A number below `bound`, to spread out what many would do at the same moment.
    fn random_below(&self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes) % bound.max(1)
    }
}
