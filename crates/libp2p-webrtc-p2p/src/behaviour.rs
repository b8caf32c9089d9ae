//! The half of the transport that makes connections: finds a way to signal, and decides between attempts that cross.
//!
//! One attempt a peer at a time. If both sides offer at once, the offer of the peer with the larger id is carried out;
//! the other side's dial then ends in [`Error::Superseded`] when that connection is there.
mod attempts;
mod listeners;
mod pace;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    task::{Context, Poll},
    time::Duration,
};

use futures::{StreamExt, channel::mpsc, stream::FuturesUnordered};
use libp2p_core::{Endpoint, Multiaddr, transport::PortUse};
use libp2p_identity::PeerId;
use libp2p_swarm::{
    ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour, NotifyHandler, Stream, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
    behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure},
    dial_opts::{DialOpts, PeerCondition},
};

use self::{
    attempts::{Attempt, Stage},
    listeners::Listeners,
    pace::Pace,
};
use crate::{
    address::{self, Destination},
    backend::RtcBackend,
    error::Error,
    handler::{Handler, Open, Told},
    negotiation::{Farewell, Negotiation},
    signaling::session::{Role, Tried},
    transport::{Answer, Notice, Request, Transport},
};

/// Attempts at the same time, ours and others'. More are refused.
pub const ATTEMPTS_MAX: usize = 64;

/// Dials that wait for the same attempt of the peer.
pub const WAITING_MAX: usize = 4;

/// Signalling streams that wait to be closed by the other side; more are dropped.
pub const FAREWELLS_MAX: usize = 64;

/// Circuits kept for [`Behaviour::dial`] until they are dialed. The first is forgotten when there are more.
pub const CIRCUITS_MAX: usize = 256;

/// How long a circuit may take, in seconds.
const CIRCUIT_S: u64 = 15;

/// After the peer has refused our offer: how long its own may take to arrive, in seconds.
const YIELD_S: u64 = 3;

/// How long a connection may take from us to the swarm, in seconds; a swarm that denies it tells nobody.
const ARRIVAL_S: u64 = 5;

/// Something to show or to log; connections are told of by the swarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub peer: PeerId,
    pub role: Role,
    /// Why there is no connection, if there is none.
    pub error: Option<String>,
    /// The peer turned our offer down without a word, and did not offer itself: it has no room, perhaps.
    pub refused: bool,
    pub tried: Tried,
}

pub struct Behaviour {
    local: PeerId,
    backend: Box<dyn RtcBackend>,
    requests: mpsc::UnboundedReceiver<Request>,
    notices: mpsc::UnboundedSender<Notice>,
    peers: BTreeMap<PeerId, Peer>,
    attempts: BTreeMap<PeerId, Attempt>,
    last_attempt: u64,
    farewells: FuturesUnordered<Farewell<Stream>>,
    /// For dials of `/webrtc/p2p/<peer>`, oldest first.
    circuits: VecDeque<(PeerId, Multiaddr)>,
    listeners: Listeners,
    actions: VecDeque<ToSwarm<Event, Open>>,
    peers_max: usize,
    admission: Option<Admission>,
}

/// Whether a peer may be connected directly, given the others that are or are about to be.
pub type Admission = Box<dyn Fn(&PeerId, &BTreeSet<PeerId>) -> bool + Send>;

/// A peer with connections.
#[derive(Default)]
struct Peer {
    /// To signal over, oldest first: authenticated, and none of ours.
    connections: Vec<ConnectionId>,
    direct: usize,
    pace: Pace,
}

/// The transport and the behaviour, which need each other. `backend` makes the peer connections.
pub fn new(local: PeerId, backend: impl RtcBackend + 'static) -> (Transport, Behaviour) {
    let (request_sender, requests) = mpsc::unbounded();
    let (notices, notice_receiver) = mpsc::unbounded();
    let behaviour = Behaviour {
        local,
        backend: Box::new(backend),
        requests,
        notices,
        peers: BTreeMap::new(),
        attempts: BTreeMap::new(),
        last_attempt: 0,
        farewells: FuturesUnordered::new(),
        circuits: VecDeque::new(),
        listeners: Listeners::default(),
        actions: VecDeque::new(),
        peers_max: usize::MAX,
        admission: None,
    };
    (Transport::new(local, request_sender, notice_receiver), behaviour)
}

impl Behaviour {
    /// How to dial a `/webrtc` address so that the connection is not taken for a relayed one: as `/webrtc/p2p/<peer>`,
    /// whatever connections there are. `None` for other addresses.
    ///
    /// The circuit in the address is used if there is no connection to signal over. It asks the relay over a connection
    /// to it; make that first, because libp2p's relay client drops what is asked of a relay that is being dialed.
    pub fn dial(&mut self, destination: &Multiaddr) -> Option<DialOpts> {
        let Destination { peer, circuit } = address::destination(destination)?;
        if let Some(circuit) = circuit {
            self.circuits.retain(|(known, _)| *known != peer);
            self.circuits.push_back((peer, circuit));
            if self.circuits.len() > CIRCUITS_MAX {
                self.circuits.pop_front();
            }
        }
        let options = DialOpts::peer_id(peer).condition(PeerCondition::Always);
        Some(options.addresses(vec![address::direct(peer)]).build())
    }

    /// Bounds the peers that are connected directly or about to be; others' offers and our dials beyond are refused.
    pub fn with_peers_max(mut self, max: usize) -> Self {
        self.peers_max = max;
        self
    }

    /// Asks `admission` about every peer that offers or is dialed; those it does not admit are refused. It is asked beside
    /// the bound of [`Self::with_peers_max`].
    pub fn with_admission(mut self, admission: Admission) -> Self {
        self.admission = Some(admission);
        self
    }

    /// Whether `peer` may be connected beside those that are or are about to be.
    fn has_room(&self, peer: &PeerId) -> bool {
        let direct = self.peers.iter().filter(|(_, known)| known.direct > 0).map(|(other, _)| other);
        let mut others: BTreeSet<PeerId> = direct.chain(self.attempts.keys()).copied().collect();
        others.remove(peer);
        others.len() < self.peers_max && self.admission.as_ref().is_none_or(|admits| admits(peer, &others))
    }

    /// Peers that are being connected to, or are connecting to us.
    pub fn attempts(&self) -> usize {
        self.attempts.len()
    }

    fn obey(&mut self, request: Request) {
        match request {
            Request::Dial(destination, answer) => self.dialed(destination, answer),
            Request::Listen(id, listening) => self.listeners.add(id, listening, &mut self.actions, &self.notices),
            Request::Unlisten(id) => self.listeners.remove(id, &mut self.actions),
        }
    }

    fn dialed(&mut self, Destination { peer, circuit }: Destination, answer: Answer) {
        let known = self.circuits.iter().position(|(known, _)| *known == peer);
        let known = known.and_then(|at| self.circuits.remove(at)).map(|(_, circuit)| circuit);
        let full = self.attempts.len() >= ATTEMPTS_MAX || !self.has_room(&peer);
        let connected = self.peers.get(&peer).is_some_and(|peer| peer.direct > 0);
        match self.attempts.get_mut(&peer) {
            Some(attempt) if attempt.can_be_waited_for() && attempt.answers.len() < WAITING_MAX => {
                attempt.answers.push(answer)
            }
            Some(_) => drop(answer.send(Err(Error::UnderWay))),
            None if connected => drop(answer.send(Err(Error::Connected))),
            None if full => drop(answer.send(Err(Error::Busy))),
            None => self.begin(peer, circuit.or(known), answer),
        }
    }

    fn begin(&mut self, peer: PeerId, circuit: Option<Multiaddr>, answer: Answer) {
        let connection = self.peers.get(&peer).and_then(|peer| peer.connections.last().copied());
        self.last_attempt += 1;
        let number = self.last_attempt;
        let stage = match (connection, circuit) {
            (Some(connection), _) => match self.open_stream(peer, connection, number) {
                Ok(stage) => stage,
                Err(error) => return drop(answer.send(Err(error))),
            },
            (None, Some(circuit)) => {
                // The dial we serve is itself under way, so no other condition would let this one begin.
                let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![circuit]).build();
                let stage = Stage::circuit(options.connection_id());
                self.actions.push_back(ToSwarm::Dial { opts: options });
                stage
            }
            (None, None) => return drop(answer.send(Err(Error::NoWay))),
        };
        self.attempts.insert(peer, Attempt { number, stage, answers: vec![answer] });
    }

    /// Asks for a signalling stream, and begins with what will be said on it.
    fn open_stream(&mut self, peer_id: PeerId, connection: ConnectionId, number: u64) -> Result<Stage, Error> {
        let made = self.backend.connect(&peer_id)?;
        let handler = NotifyHandler::One(connection);
        self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler, event: Open(number) });
        Ok(Stage::offering(connection, made))
    }

    fn established(&mut self, peer: PeerId, connection: ConnectionId, address: &Multiaddr) {
        let known = self.peers.entry(peer).or_default();
        if address::is_direct(address) {
            known.direct += 1;
            if self.attempts.get(&peer).is_some_and(|attempt| matches!(attempt.stage, Stage::Arriving(_))) {
                self.fail(peer, || Error::Superseded);
            }
            return;
        }
        known.connections.push(connection);
        let waits = |attempt: &&Attempt| matches!(attempt.stage, Stage::Circuit(id, _) if id == connection);
        let Some(number) = self.attempts.get(&peer).filter(waits).map(|attempt| attempt.number) else { return };
        match self.open_stream(peer, connection, number) {
            Ok(stage) => {
                if let Some(attempt) = self.attempts.get_mut(&peer) {
                    attempt.stage = stage;
                }
            }
            Err(error) => self.fail_with(peer, error),
        }
    }

    fn closed(&mut self, peer: PeerId, connection: ConnectionId) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        match known.connections.iter().position(|id| *id == connection) {
            Some(at) => drop(known.connections.remove(at)),
            None => known.direct = known.direct.saturating_sub(1),
        }
        if known.connections.is_empty() && known.direct == 0 {
            self.peers.remove(&peer);
        }
        if self.attempts.get(&peer).is_some_and(|attempt| attempt.stage.opens_on(connection)) {
            self.fail(peer, || Error::NotSignalled("the connection was closed".to_owned()));
        }
    }

    fn circuit_failed(&mut self, connection: ConnectionId, error: &DialError) {
        let waits = |attempt: &Attempt| matches!(attempt.stage, Stage::Circuit(id, _) if id == connection);
        let peer = self.attempts.iter().find(|(_, attempt)| waits(attempt)).map(|(peer, _)| *peer);
        if let Some(peer) = peer {
            self.fail(peer, || Error::Circuit(error.to_string()));
        }
    }

    /// Ends the attempt; whoever waits for it is told why.
    fn fail(&mut self, peer: PeerId, why: impl Fn() -> Error) {
        let Some(attempt) = self.attempts.remove(&peer) else { return };
        // Whoever dialed may have given up.
        attempt.answers.into_iter().for_each(|answer| drop(answer.send(Err(why()))));
    }

    /// The peer offers. Dropped, its stream is reset.
    fn offered(&mut self, peer: PeerId, connection: ConnectionId, stream: Stream) {
        if let Err(why) = self.may_answer(peer, connection) {
            tracing::debug!(%peer, why, "an offer was refused");
            return;
        }
        let made = match self.backend.connect(&peer) {
            Ok(made) => made,
            Err(error) => return tracing::warn!(%error, "no peer connection can be made"),
        };
        let negotiation = Box::new(Negotiation::new(Role::Answerer, Some(stream), made));
        // What was under way is dropped, and with it our own offer.
        let answers = self.attempts.remove(&peer).map(|attempt| attempt.answers).unwrap_or_default();
        self.last_attempt += 1;
        let stage = Stage::Answering(connection, negotiation);
        self.attempts.insert(peer, Attempt { number: self.last_attempt, stage, answers });
    }

    fn may_answer(&mut self, peer: PeerId, connection: ConnectionId) -> Result<(), &'static str> {
        if self.listeners.is_empty() {
            return Err("nobody listens");
        }
        if !self.has_room(&peer) {
            return Err("there are enough direct peers");
        }
        let larger = self.local > peer;
        match self.attempts.get(&peer).map(|attempt| &attempt.stage) {
            Some(Stage::Offering(..)) if larger => return Err("our own offer comes first"),
            // On another connection it may have reloaded, and forgotten the attempt we still have.
            Some(Stage::Answering(current, _)) if *current == connection => return Err("one at a time"),
            Some(_) => {}
            None if self.attempts.len() >= ATTEMPTS_MAX => return Err("too many attempts"),
            None => {}
        }
        let paced = self.peers.get_mut(&peer).is_some_and(|peer| peer.pace.take());
        if paced { Ok(()) } else { Err("too many offers") }
    }

    fn opened(&mut self, peer: PeerId, number: u64, stream: Stream) {
        let Some(attempt) = self.attempts.get_mut(&peer).filter(|attempt| attempt.number == number) else { return };
        attempt.signal_over(stream);
    }

    fn not_opened(&mut self, peer: PeerId, number: u64, why: String) {
        if self.attempts.get(&peer).is_some_and(|attempt| attempt.number == number) {
            self.fail(peer, || Error::NotSignalled(why.clone()));
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, endpoint, .. }) => {
                self.established(peer_id, connection_id, endpoint.get_remote_address());
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.closed(peer_id, connection_id);
            }
            FromSwarm::DialFailure(DialFailure { error, connection_id, .. }) => {
                self.circuit_failed(connection_id, error);
            }
            other => self.listeners.on_swarm_event(other, self.local, &mut self.actions, &self.notices),
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Told::Opened(number, stream) => self.opened(peer, number, stream),
            Told::NotOpened(number, why) => self.not_opened(peer, number, why),
            Told::Accepted(stream) => self.offered(peer, connection, stream),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        loop {
            // What is added from outside is followed by a poll, so there is no waker to keep.
            if let Some(action) = self.actions.pop_front() {
                return Poll::Ready(action);
            }
            if let Poll::Ready(Some(request)) = self.requests.poll_next_unpin(context) {
                self.obey(request);
                continue;
            }
            if self.poll_attempts(context) {
                continue;
            }
            while let Poll::Ready(Some(())) = self.farewells.poll_next_unpin(context) {}
            return Poll::Pending;
        }
    }
}

fn after(seconds: u64) -> futures_timer::Delay {
    futures_timer::Delay::new(Duration::from_secs(seconds))
}
