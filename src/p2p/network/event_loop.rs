//! Owns the swarm: does what it is asked, and keeps the book of what happens.
use std::{collections::BTreeMap, rc::Rc};

use futures::{
    StreamExt,
    channel::{mpsc, oneshot},
    future::{Either, select},
};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::{ConnectedPoint, transport::ListenerId},
    identify,
    multiaddr::Protocol,
    ping,
    relay::outbound::hop::ConnectError,
    swarm::{
        ConnectionId, DialError, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use libp2p_webrtc_p2p as webrtc;

use super::{
    Command, Inner, NetworkEvent, Reserved,
    behaviour::{Behaviour, BehaviourEvent},
    direct,
    known_peers::{Cause, Unreached},
    rejoin,
    serving::Serving,
    silence,
};
use crate::p2p::{
    address_book::Provenance,
    connections::Path,
    http, peer_name,
    streams::{HttpStream, Incoming, OpenError, Spoken},
};

/// A connection that both sides give up is closed after this many milliseconds: what runs on it ends in peace.
const RETIRED_LINGER_MS: u64 = 30_000;

/// Addresses taken from one announcement of a peer.
const ANNOUNCED_MAX: usize = 8;

/// Runs until the network is stopped; the swarm goes with it.
pub(super) async fn run(
    swarm: Swarm<Behaviour>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    serving: Serving,
    inner: Rc<Inner>,
) {
    let mut state = EventLoop { swarm, serving, inner, dials: BTreeMap::new(), listeners: Listeners::default() };
    loop {
        match select(commands.next(), state.swarm.next()).await {
            Either::Left((Some(command), _)) => state.obey(command),
            Either::Right((Some(event), _)) => state.on_event(event),
            Either::Left((None, _)) | Either::Right((None, _)) => return,
        }
    }
}

struct EventLoop {
    swarm: Swarm<Behaviour>,
    serving: Serving,
    inner: Rc<Inner>,
    /// Who waits for which dial.
    dials: BTreeMap<ConnectionId, oneshot::Sender<Result<(), Unreached>>>,
    listeners: Listeners,
}

/// At most one a relay; ids have no order to sort by.
type Listeners = Vec<(ListenerId, Listener)>;

/// A reservation that is asked for, or ready.
enum Listener {
    Asked(oneshot::Sender<Result<Reserved, String>>),
    Ready { lost: oneshot::Sender<String> },
}

impl EventLoop {
    fn obey(&mut self, command: Command) {
        match command {
            Command::Dial { peer, addresses, answer } => {
                let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses).build();
                self.dial(options, answer);
            }
            Command::DialDirect { peer, answer } => self.dial_direct(peer, answer),
            Command::OpenStream { peer, connection, spoken, answer } => {
                self.open_stream(peer, connection, spoken, answer);
            }
            Command::Reserve { circuit, answer } => match self.swarm.listen_on(circuit) {
                Ok(listener) => {
                    self.listeners.push((listener, Listener::Asked(answer)));
                }
                Err(error) => drop(answer.send(Err(error.to_string()))),
            },
            Command::Close(connection) => {
                // It may have closed by itself.
                self.swarm.close_connection(connection);
            }
            Command::CloseRetired { peer, connection } => {
                if self.inner.connections.borrow().is_retired(&peer, connection) {
                    self.swarm.close_connection(connection);
                }
            }
        }
    }

    fn dial_direct(&mut self, peer: PeerId, answer: oneshot::Sender<Result<(), Unreached>>) {
        let direct = self.swarm.behaviour_mut().direct.as_mut();
        match direct.and_then(|direct| direct.dial(&webrtc::address::direct(peer))) {
            Some(options) => self.dial(options, answer),
            None => drop(answer.send(Err(Unreached::new(Cause::Other, "direct connections cannot be made here")))),
        }
    }

    /// Whether a dial is wanted has been decided already; a crossing one is sorted out afterwards.
    fn dial(&mut self, options: DialOpts, answer: oneshot::Sender<Result<(), Unreached>>) {
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(connection, answer);
            }
            Err(error) => drop(answer.send(Err(why(&error)))),
        }
    }

    fn open_stream(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        spoken: Spoken,
        answer: oneshot::Sender<Result<HttpStream, OpenError>>,
    ) {
        // libp2p drops what is for a connection that has just closed, and with it the answer.
        if self.inner.connections.borrow().is_connected(&peer) {
            self.swarm.behaviour_mut().streams.open(peer, connection, spoken, answer);
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                let reason = cause.map_or_else(|| "closed".to_owned(), |cause| cause.to_string());
                tracing::debug!(peer = %peer_id, reason, "a connection ended");
                self.inner.connection_gone(peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(answer) = self.dials.remove(&connection_id) {
                    let _ = answer.send(Err(why(&error)));
                }
            }
            SwarmEvent::NewListenAddr { listener_id, address } => self.reserved(listener_id, address),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                let reason = reason.err().map_or_else(|| "the relay is gone".to_owned(), |error| root_cause(&error));
                self.reservation_lost(listener_id, reason);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                self.identified(peer_id, info);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { peer, connection, result })) => {
                self.pinged(peer, connection, result);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Direct(event)) => {
                let (now_ms, asked_stun) = (self.inner.clock.now_ms(), self.inner.has_ice_servers);
                direct::attempted(&self.inner, &event);
                self.inner.note(event.peer).attempted(now_ms, event, asked_stun);
                self.inner.tell(NetworkEvent::Changed);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Streams(Incoming { peer, spoken, stream, .. })) => {
                if spoken == Spoken::Gateway && !self.inner.gateway.as_ref().is_some_and(|gateway| gateway.is(&peer)) {
                    tracing::debug!(%peer, "a stranger would be our gateway");
                } else {
                    self.serving.accept(peer, spoken, stream);
                }
            }
            _ => {}
        }
    }

    fn established(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let address = endpoint.get_remote_address();
        let path = if webrtc::address::is_direct(address) {
            Path::Direct
        } else if endpoint.is_relayed() {
            Path::Relay
        } else if address.iter().next() == Some(Protocol::Memory(0)) {
            Path::Browser
        } else {
            Path::Address
        };
        tracing::debug!(%peer, ?path, dialed = endpoint.is_dialer(), "a connection was made");
        let now_ms = self.inner.clock.now_ms();
        let stale =
            self.inner.connections.borrow_mut().established(peer, connection, path, endpoint.is_dialer(), now_ms);
        for connection in stale {
            tracing::debug!(%peer, "the peer has forgotten an older connection");
            self.inner.connection_gone(peer, connection);
            self.swarm.close_connection(connection);
        }
        silence::watch(&self.inner, peer, connection);
        match path {
            Path::Relay => direct::relayed(&self.inner, peer, endpoint.is_dialer()),
            Path::Direct => self.inner.favourites().made(peer),
            Path::Browser | Path::Address => {}
        }
        if let ConnectedPoint::Dialer { address, .. } = endpoint {
            self.inner.learn(peer, address.clone(), Provenance::Seen);
        }
        if let Some(answer) = self.dials.remove(&connection) {
            // Whoever asked may have stopped waiting.
            let _ = answer.send(Ok(()));
        }
        if let Some(arrived) = self.inner.arrivals.borrow_mut().remove(&peer) {
            // Likewise.
            let _ = arrived.send(());
        }
        self.inner.tell(NetworkEvent::Changed);
    }

    fn reserved(&mut self, id: ListenerId, address: Multiaddr) {
        match self.take_listener(id) {
            Some(Listener::Asked(answer)) => {
                let (sender, lost) = oneshot::channel();
                let _ = answer.send(Ok(Reserved { addresses: vec![address], lost }));
                self.listeners.push((id, Listener::Ready { lost: sender }));
            }
            // A relay with several addresses of its own: one is enough for links.
            Some(ready) => self.listeners.push((id, ready)),
            None => {}
        }
    }

    fn take_listener(&mut self, id: ListenerId) -> Option<Listener> {
        let index = self.listeners.iter().position(|(known, _)| *known == id)?;
        Some(self.listeners.swap_remove(index).1)
    }

    fn reservation_lost(&mut self, id: ListenerId, reason: String) {
        match self.take_listener(id) {
            Some(Listener::Asked(answer)) => drop(answer.send(Err(reason))),
            Some(Listener::Ready { lost }) => drop(lost.send(reason)),
            None => {}
        }
    }

    /// A peer said who it is. Whoever speaks HTTP is a homeserver; relays are none.
    fn identified(&mut self, peer: PeerId, info: identify::Info) {
        for address in info.listen_addrs.into_iter().take(ANNOUNCED_MAX) {
            self.inner.learn(peer, address, Provenance::Announced);
        }
        let speaks_http = info.protocols.iter().any(|protocol| protocol.as_ref() == http::PROTOCOL);
        if !speaks_http || !self.inner.connections.borrow().is_connected(&peer) {
            return;
        }
        let Some(server) = peer_name::server_of_peer(&peer, &info.agent_version) else { return };
        {
            let mut known = self.inner.note(peer);
            known.server = Some(server.clone());
            known.seen_ms = Some(self.inner.clock.now_ms());
            known.unreached = None;
        }
        let before = self.inner.homeservers.borrow_mut().insert(peer, server.clone());
        if before.is_none() {
            rejoin::met(&self.inner, peer);
            self.inner.tell(NetworkEvent::PeerConnected(server));
            self.inner.tell(NetworkEvent::Changed);
        }
    }

    fn pinged(&mut self, peer: PeerId, connection: ConnectionId, result: Result<std::time::Duration, ping::Failure>) {
        match result {
            Ok(round_trip) => {
                let now_ms = self.inner.clock.now_ms();
                // So that the swarm, which has no clock, asks them about now.
                drop(self.inner.favourites());
                let round_trip_ms = u64::try_from(round_trip.as_millis()).unwrap_or(u64::MAX);
                if self.inner.homeservers.borrow().contains_key(&peer)
                    && self.inner.note(peer).answered(now_ms, round_trip_ms)
                {
                    self.inner.tell(NetworkEvent::Changed);
                }
                let retired = self.inner.connections.borrow_mut().proven(peer, connection, now_ms);
                retired.into_iter().for_each(|connection| self.close_later(peer, connection));
            }
            Err(ping::Failure::Unsupported) => self.inner.connections.borrow_mut().is_mute(peer, connection),
            // Silence: without this a dead connection would be used until the other side's relay notices.
            Err(failure) => {
                tracing::debug!(%peer, %failure, "a connection is dead");
                self.swarm.close_connection(connection);
            }
        }
    }

    fn close_later(&self, peer: PeerId, connection: ConnectionId) {
        let inner = self.inner.clone();
        self.inner.tasks.spawn(Box::pin(async move {
            inner.clock.sleep_ms(RETIRED_LINGER_MS).await;
            inner.command(Command::CloseRetired { peer, connection });
        }));
    }
}

/// Why a dial failed, in the words of what failed first at the bottom.
fn why(error: &DialError) -> Unreached {
    match error {
        DialError::Transport(errors) => {
            let mut causes: Vec<String> = errors.iter().map(|(_, error)| root_cause(error)).collect();
            causes.dedup();
            let not_at_relay = errors.iter().any(|(_, error)| lacks_reservation(error));
            let cause = if not_at_relay { Cause::NotAtRelay } else { Cause::Other };
            Unreached::new(cause, causes.join("; "))
        }
        DialError::WrongPeerId { .. } => Unreached::new(Cause::Other, "somebody else answers at its address"),
        other => Unreached::new(Cause::Other, other.to_string()),
    }
}

/// Whether a relay answered that the peer is not there.
fn lacks_reservation(error: &(dyn std::error::Error + 'static)) -> bool {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.into_iter().any(|error| matches!(error.downcast_ref(), Some(ConnectError::NoReservation)))
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
