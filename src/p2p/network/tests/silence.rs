//! The watch over connections, on a clock of its own: whoever is silent is given up, and whoever merely stood
//! still is not.
use super::*;
use crate::p2p::{
    connections::Path,
    network::silence::{DOUBT_MS, SILENT_MAX_MS, watch},
    virtual_time::VirtualTime,
};

/// As often as pings are sent.
const PING_MS: u64 = 5_000;
const HOUR_MS: u64 = 3_600_000;
const PEER_SEED: u8 = 41;

/// A network that does not run, with one connection that is watched.
struct Watched {
    time: Rc<VirtualTime>,
    network: Network,
    commands: RefCell<mpsc::UnboundedReceiver<Command>>,
    peer: PeerId,
    connection: ConnectionId,
}

impl Watched {
    fn new(time: &Rc<VirtualTime>) -> Rc<Self> {
        let identity = Rc::new(Identity::from_seed([40; 32], DEFAULT_SUFFIX).unwrap());
        let keypair = Keypair::ed25519_from_bytes(identity.seed()).unwrap();
        let options = NetworkOptions {
            identity,
            relays: Vec::new(),
            rtc: None,
            has_ice_servers: false,
            gateway: None,
            direct_peers_max: DIRECT_PEERS_MAX,
            clock: time.clone(),
            entropy: Rc::new(RealTime),
            tasks: time.clone(),
        };
        let network = Network::new(options, base(&keypair), swarm::Config::without_executor());
        let commands = network.0.prepared.take().unwrap().commands;
        let peer = Keypair::ed25519_from_bytes([PEER_SEED; 32]).unwrap().public().to_peer_id();
        let name = Identity::from_seed([PEER_SEED; 32], DEFAULT_SUFFIX).unwrap().server_name().to_owned();
        let connection = ConnectionId::new_unchecked(1);
        network.0.connections.borrow_mut().established(peer, connection, Path::Direct, true, time.now_ms());
        network.0.homeservers.borrow_mut().insert(peer, name);
        watch(&network.0, peer, connection);
        Rc::new(Self { time: time.clone(), network, commands: RefCell::new(commands), peer, connection })
    }

    fn answers_a_ping(&self) {
        self.network.0.connections.borrow_mut().proven(self.peer, self.connection, self.time.now_ms());
    }

    fn is_connected(&self) -> bool {
        self.network.0.connections.borrow().is_connected(&self.peer)
    }

    /// Whether the swarm was told to close it, since the last time this was asked.
    fn was_closed(&self) -> bool {
        let command = self.commands.borrow_mut().try_recv().ok();
        command.is_some_and(|command| matches!(command, Command::Close(closed) if closed == self.connection))
    }

    async fn pass(&self, duration_ms: u64) {
        self.time.sleep_ms(duration_ms).await;
    }
}

/// Runs `story` with a watched connection.
fn watched(story: impl AsyncFnOnce(Rc<Watched>) + 'static) {
    let time = VirtualTime::new();
    let connection = Watched::new(&time);
    time.run(async move { story(connection).await });
}

#[test]
fn a_peer_that_is_silent_is_given_up_and_looked_for() {
    watched(async |connection| {
        for _ in 0..3 {
            connection.pass(PING_MS).await;
            connection.answers_a_ping();
        }
        connection.pass(SILENT_MAX_MS + DOUBT_MS - 1).await;
        assert!(connection.is_connected() && !connection.was_closed());
        connection.pass(2).await;
        assert!(!connection.is_connected() && connection.was_closed());
        // The last one said it was a homeserver, so it is looked for; nobody knows where it is.
        connection.pass(HOUR_MS).await;
        assert!(!connection.was_closed(), "once is enough");
        let known = connection.network.0.known.borrow_mut().note(connection.peer, |_| false).clone();
        assert_eq!(known.unreached.map(|unreached| unreached.cause), Some(Cause::NoAddress));
    });
}

#[test]
fn a_peer_that_answers_is_kept_even_if_now_and_then_late() {
    watched(async |connection| {
        for late_ms in [0, 0, SILENT_MAX_MS, 0, SILENT_MAX_MS + DOUBT_MS - PING_MS - 1].repeat(20) {
            connection.pass(PING_MS + late_ms).await;
            connection.answers_a_ping();
            assert!(connection.is_connected() && !connection.was_closed(), "{late_ms} ms late");
        }
    });
}

#[test]
fn who_stood_still_gives_the_peer_the_time_to_answer() {
    watched(async |connection| {
        for _ in 0..3 {
            connection.pass(PING_MS).await;
            connection.answers_a_ping();
            // The lid is shut: the clock goes on, and nothing else does. The next ping is answered.
            connection.time.stand_still(HOUR_MS);
            connection.pass(DOUBT_MS - 1).await;
            assert!(connection.is_connected() && !connection.was_closed());
            connection.answers_a_ping();
            connection.pass(SILENT_MAX_MS - 1).await;
            assert!(connection.is_connected() && !connection.was_closed());
            connection.answers_a_ping();
        }
        // The peer was not there any more when we came back.
        connection.time.stand_still(HOUR_MS);
        connection.pass(DOUBT_MS + 1).await;
        assert!(!connection.is_connected() && connection.was_closed());
    });
}

#[test]
fn silence_means_nothing_where_pings_are_not_understood() {
    watched(async |connection| {
        connection.network.0.connections.borrow_mut().is_mute(connection.peer, connection.connection);
        connection.pass(HOUR_MS).await;
        assert!(connection.is_connected() && !connection.was_closed());
    });
}

#[test]
fn the_watch_ends_with_its_connection_and_with_the_network() {
    watched(async |connection| {
        connection.network.0.connections.borrow_mut().closed(connection.peer, connection.connection);
        connection.pass(HOUR_MS).await;
        assert!(!connection.was_closed());
    });
    watched(async |connection| {
        connection.network.stop();
        connection.pass(HOUR_MS).await;
        assert!(connection.is_connected() && !connection.was_closed());
    });
}
