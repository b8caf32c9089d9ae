//! The swarm of an interop peer, and what is known of its connections.
use std::{
    cell::{Ref, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use futures::{
    StreamExt,
    channel::{mpsc, oneshot},
    future::{Either, select},
};
use libp2p::{
    Multiaddr, PeerId, Swarm, Transport,
    core::{muxing::StreamMuxerBox, upgrade::Version},
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, relay, swarm,
    swarm::{ConnectionId, DialError, NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
    yamux,
};
use libp2p_webrtc_p2p::{self as webrtc, backend::RtcBackend};
use warren::ports::Clock;
use warren_browser::{clock::BrowserClock, websocket::WebSocketTransport};
use wasm_bindgen::JsError;

/// Longer than anything may take, in milliseconds.
const PATIENCE_MS: u64 = 20_000;

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
pub struct Behaviour {
    relay: relay::client::Behaviour,
    webrtc: webrtc::Behaviour,
    identify: webrtc::Unaddressed<identify::Behaviour>,
    ping: ping::Behaviour,
    pub streams: libp2p_stream::Behaviour,
}

type Answer<T> = oneshot::Sender<Result<T, String>>;

pub enum Command {
    Dial(Multiaddr, Answer<ConnectionId>),
    /// Hold a reservation at that relay and be dialed through it.
    ListenBehind(Multiaddr, Answer<()>),
    Part(PeerId, Answer<()>),
}

pub fn build(key: &Keypair, backend: impl RtcBackend + 'static) -> Swarm<Behaviour> {
    let local = key.public().to_peer_id();
    let (direct, webrtc) = webrtc::new(local, backend);
    let (circuits, relay) = relay::client::new(local);
    let noise = || noise::Config::new(key).expect("an ed25519 key signs noise's key");
    let circuits = circuits.upgrade(Version::V1Lazy).authenticate(noise()).multiplex(yamux::Config::default());
    let sockets = WebSocketTransport.upgrade(Version::V1Lazy).authenticate(noise()).multiplex(yamux::Config::default());
    let transport = direct
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
        .or_transport(circuits.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))))
        .map(|either, _| either.into_inner())
        .or_transport(sockets.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))))
        .map(|either, _| either.into_inner());
    let identify =
        identify::Config::new("/interop/1".to_owned(), key.public()).with_agent_version("libp2p-webrtc-p2p".to_owned());
    let behaviour = Behaviour {
        relay,
        webrtc,
        identify: webrtc::Unaddressed(identify::Behaviour::new(identify)),
        ping: ping::Behaviour::default(),
        streams: libp2p_stream::Behaviour::new(),
    };
    let config = swarm::Config::with_wasm_executor().with_idle_connection_timeout(Duration::from_secs(600));
    Swarm::new(transport.boxed(), behaviour, local, config)
}

pub async fn run(mut swarm: Swarm<Behaviour>, mut commands: mpsc::UnboundedReceiver<Command>, seen: std::rc::Rc<Seen>) {
    loop {
        match select(commands.next(), swarm.next()).await {
            Either::Left((Some(command), _)) => obey(&mut swarm, command, &seen.known()),
            Either::Right((Some(event), _)) => {
                for circuit in seen.note(event) {
                    swarm.close_connection(circuit);
                }
            }
            Either::Left((None, _)) | Either::Right((None, _)) => return,
        }
    }
}

fn obey(swarm: &mut Swarm<Behaviour>, command: Command, known: &Known) {
    // Whoever asked is still there: it waits for the answer.
    match command {
        Command::Dial(address, answer) => drop(answer.send(dial(swarm, &address))),
        Command::ListenBehind(relay, answer) => drop(answer.send(listen_behind(swarm, relay))),
        Command::Part(peer, answer) => {
            for (id, connection) in &known.connections {
                if connection.peer == peer {
                    swarm.close_connection(*id);
                }
            }
            drop(answer.send(Ok(())));
        }
    }
}

fn dial(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> Result<ConnectionId, String> {
    let direct = swarm.behaviour_mut().webrtc.dial(address);
    let options = direct.unwrap_or_else(|| DialOpts::from(address.clone()));
    let id = options.connection_id();
    swarm.dial(options).map(|()| id).map_err(|error| words(&error))
}

fn listen_behind(swarm: &mut Swarm<Behaviour>, relay: Multiaddr) -> Result<(), String> {
    for address in [Multiaddr::from(Protocol::WebRTC), relay.with(Protocol::P2pCircuit)] {
        swarm.listen_on(address).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// What has happened, and who waits for more.
#[derive(Default)]
pub struct Seen {
    known: RefCell<Known>,
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
}

#[derive(Default)]
pub struct Known {
    connections: BTreeMap<ConnectionId, Connection>,
    failures: BTreeMap<ConnectionId, String>,
    listening: Vec<Multiaddr>,
}

pub struct Connection {
    peer: PeerId,
    address: Multiaddr,
    /// The agent version first.
    pub identified: Option<Vec<String>>,
    pub ping_ms: Option<f64>,
}

impl Connection {
    fn is_direct(&self) -> bool {
        webrtc::address::is_direct(&self.address)
    }
}

impl Seen {
    pub fn known(&self) -> Ref<'_, Known> {
        self.known.borrow()
    }

    /// Resolves when `wished` gives something.
    pub async fn until<T>(&self, what: &str, wished: impl Fn(&Known) -> Option<T>) -> Result<T, JsError> {
        let overdue = BrowserClock.sleep_ms(PATIENCE_MS);
        let waiting = Box::pin(async {
            loop {
                if let Some(found) = wished(&self.known.borrow()) {
                    return found;
                }
                let (sender, receiver) = oneshot::channel();
                self.waiting.borrow_mut().push(sender);
                // Dropped without a word it is as good: look again.
                let _ = receiver.await;
            }
        });
        match select(waiting, overdue).await {
            Either::Left((found, _)) => Ok(found),
            Either::Right(_) => Err(JsError::new(&format!("{what} did not come within {PATIENCE_MS} ms"))),
        }
    }

    /// Returns the connections that are of no more use: circuits to a peer that has spoken on a direct connection.
    fn note(&self, event: SwarmEvent<BehaviourEvent>) -> Vec<ConnectionId> {
        let spoken = self.known.borrow_mut().note(event);
        for waiting in self.waiting.take() {
            // It may be overdue.
            let _ = waiting.send(());
        }
        spoken.map_or_else(Vec::new, |peer| self.known.borrow().circuits(peer))
    }
}

impl Known {
    /// Returns a peer that has now spoken on a direct connection.
    fn note(&mut self, event: SwarmEvent<BehaviourEvent>) -> Option<PeerId> {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id: peer, connection_id, endpoint, .. } => {
                let address = endpoint.get_remote_address().clone();
                let connection = Connection { peer, address, identified: None, ping_ms: None };
                self.connections.insert(connection_id, connection);
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => drop(self.connections.remove(&connection_id)),
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.failures.insert(connection_id, words(&error));
            }
            SwarmEvent::NewListenAddr { address, .. } => self.listening.push(address),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { connection, result: Ok(time), .. })) => {
                let connection = self.connections.get_mut(&connection)?;
                connection.ping_ms.get_or_insert(time.as_secs_f64() * 1000.0);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                connection_id, info, ..
            })) => {
                let connection = self.connections.get_mut(&connection_id)?;
                let protocols = info.protocols.iter().map(ToString::to_string);
                connection.identified = Some([info.agent_version].into_iter().chain(protocols).collect());
                return connection.is_direct().then_some(connection.peer);
            }
            _ => {}
        }
        None
    }

    pub fn outcome(&self, dialed: ConnectionId) -> Option<Result<(), String>> {
        let failure = self.failures.get(&dialed).map(|why| Err(why.clone()));
        failure.or_else(|| self.connections.contains_key(&dialed).then_some(Ok(())))
    }

    /// Where we can be dialed.
    pub fn webrtc_address(&self) -> Option<Multiaddr> {
        self.listening.iter().find(|address| webrtc::address::is_direct(address)).cloned()
    }

    pub fn direct(&self, peer: PeerId) -> Option<&Connection> {
        self.connections.values().find(|connection| connection.peer == peer && connection.is_direct())
    }

    pub fn is_only_direct(&self, peer: PeerId) -> bool {
        self.direct(peer).is_some() && self.circuits(peer).is_empty()
    }

    fn circuits(&self, peer: PeerId) -> Vec<ConnectionId> {
        let is_circuit = |connection: &Connection| connection.peer == peer && !connection.is_direct();
        self.connections.iter().filter(|(_, connection)| is_circuit(connection)).map(|(id, _)| *id).collect()
    }

    pub fn paths(&self, peer: PeerId) -> Vec<String> {
        let to_peer = self.connections.values().filter(|connection| connection.peer == peer);
        to_peer.map(|connection| connection.address.to_string()).collect()
    }
}

/// The words of an error and of what caused it.
fn words(error: &DialError) -> String {
    let DialError::Transport(errors) = error else { return error.to_string() };
    let mut words = Vec::new();
    for (_, error) in errors {
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            words.push(error.to_string());
            cause = error.source();
        }
    }
    words.join("; ")
}
