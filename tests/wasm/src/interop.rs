//! A libp2p peer on `libp2p-webrtc-p2p`, for a page or a worker to drive: what js-libp2p is held against.
mod echo;
mod speed;
mod swarm;

use std::rc::Rc;

use futures::channel::{mpsc, oneshot};
use libp2p::{Multiaddr, PeerId, identity::Keypair, swarm::ConnectionId};
use libp2p_stream::Control;
use libp2p_webrtc_p2p::backend::{
    browser::{BrokeredBackend, WindowBackend},
    ice::IceConfiguration,
};
use wasm_bindgen::prelude::*;
use web_sys::MessagePort;

use self::swarm::{Command, Known, Seen};

#[wasm_bindgen]
pub struct InteropPeer {
    id: PeerId,
    address: Multiaddr,
    commands: mpsc::UnboundedSender<Command>,
    seen: Rc<Seen>,
    streams: Control,
}

#[wasm_bindgen]
impl InteropPeer {
    /// Resolves when it holds a reservation at `relay`. A worker passes the port of its page's broker.
    pub async fn start(relay: String, broker: Option<MessagePort>) -> Result<InteropPeer, JsError> {
        warren_browser::logging::install("warn");
        let relay: Multiaddr = relay.parse()?;
        let key = Keypair::generate_ed25519();
        let swarm = match broker {
            Some(port) => swarm::build(&key, BrokeredBackend::new(port, IceConfiguration::default())),
            None => swarm::build(&key, WindowBackend::new(IceConfiguration::default())),
        };
        let streams = swarm.behaviour().streams.new_control();
        echo::serve(streams.clone())?;
        speed::serve(streams.clone())?;
        let (commands, receiver) = mpsc::unbounded();
        let seen = Rc::<Seen>::default();
        wasm_bindgen_futures::spawn_local(swarm::run(swarm, receiver, seen.clone()));

        let dialed = ask(&commands, |answer| Command::Dial(relay.clone(), answer)).await?;
        established(&seen, dialed).await?;
        ask(&commands, |answer| Command::ListenBehind(relay, answer)).await?;
        let address = seen.until("a reservation", |known| known.webrtc_address()).await?;
        Ok(Self { id: key.public().to_peer_id(), address, commands, seen, streams })
    }

    #[wasm_bindgen(getter)]
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// Where it can be dialed.
    #[wasm_bindgen(getter)]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Resolves when there is a direct connection.
    pub async fn dial(&self, address: String) -> Result<(), JsError> {
        let address = address.parse()?;
        let dialed = ask(&self.commands, |answer| Command::Dial(address, answer)).await?;
        established(&self.seen, dialed).await
    }

    /// What the peer said of itself over the direct connection: its agent version, and its protocols.
    pub async fn identified(&self, peer: String) -> Result<Vec<String>, JsError> {
        let peer: PeerId = peer.parse()?;
        self.seen.until("its identify", |known| known.direct(peer)?.identified.clone()).await
    }

    /// The time of the first ping over the direct connection, in milliseconds.
    pub async fn ping(&self, peer: String) -> Result<f64, JsError> {
        let peer: PeerId = peer.parse()?;
        self.seen.until("a ping", |known| known.direct(peer)?.ping_ms).await
    }

    /// Sends so many bytes, closes its half, and reads them all back.
    pub async fn echo(&self, peer: String, bytes: usize) -> Result<(), JsError> {
        let peer = self.only_direct(peer).await?;
        echo::through(self.streams.clone(), peer, bytes).await
    }

    /// As [`speed::round_trips`].
    #[wasm_bindgen(js_name = roundTrips)]
    pub async fn round_trips(
        &self,
        peer: String,
        bytes: usize,
        samples: usize,
        each: usize,
    ) -> Result<Vec<f64>, JsError> {
        let peer = self.only_direct(peer).await?;
        speed::round_trips(self.streams.clone(), peer, bytes, samples, each).await
    }

    /// As [`speed::openings`].
    pub async fn openings(&self, peer: String, count: usize) -> Result<Vec<f64>, JsError> {
        let peer = self.only_direct(peer).await?;
        speed::openings(self.streams.clone(), peer, count).await
    }

    /// As [`speed::bulk`].
    pub async fn bulk(&self, peer: String, bytes: usize, with_credit: bool) -> Result<f64, JsError> {
        let peer = self.only_direct(peer).await?;
        speed::bulk(self.streams.clone(), peer, bytes, with_credit).await
    }

    /// The remote addresses of all connections to the peer.
    pub fn paths(&self, peer: String) -> Result<Vec<String>, JsError> {
        let peer: PeerId = peer.parse()?;
        Ok(self.seen.known().paths(peer))
    }

    /// Resolves when there is no connection to the peer any more.
    pub async fn part(&self, peer: String) -> Result<(), JsError> {
        let peer: PeerId = peer.parse()?;
        ask(&self.commands, |answer| Command::Part(peer, answer)).await?;
        self.seen.until("the end of all connections", |known| known.paths(peer).is_empty().then_some(())).await
    }

    /// Streams are opened on any connection of a peer: the direct one has to be the only one.
    async fn only_direct(&self, peer: String) -> Result<PeerId, JsError> {
        let peer: PeerId = peer.parse()?;
        self.seen.until("the end of the circuit", |known| known.is_only_direct(peer).then_some(())).await?;
        Ok(peer)
    }
}

async fn ask<T>(
    commands: &mpsc::UnboundedSender<Command>,
    command: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Command,
) -> Result<T, JsError> {
    let (answer, answered) = oneshot::channel();
    commands.unbounded_send(command(answer))?;
    answered.await?.map_err(|why| JsError::new(&why))
}

async fn established(seen: &Seen, dialed: ConnectionId) -> Result<(), JsError> {
    let outcome = |known: &Known| known.outcome(dialed);
    seen.until("a connection", outcome).await?.map_err(|why| JsError::new(&why))
}
