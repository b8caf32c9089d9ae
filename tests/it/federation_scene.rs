//! What most hostile stories begin with: Alice's homeserver, a room of hers, and Eve, in it by a server that is but a key.
use std::rc::Rc;

use ruma::{OwnedUserId, RoomVersionId};
use serde_json::{Value, json};
use warren::domain::event::Pdu;

use crate::{
    federation_network::Network,
    federation_peer::{Peer, PeerRoom},
    harness::{TestServer, TestUser},
};

pub struct Scene {
    pub network: Network,
    pub server: TestServer,
    pub alice: TestUser,
    pub peer: Rc<Peer>,
    pub eve: OwnedUserId,
    pub room: String,
    /// The room as Eve's server knows it.
    pub known: PeerRoom,
}

impl Scene {
    pub fn new() -> Self {
        Self::of(RoomVersionId::V12)
    }

    pub fn of(version: RoomVersionId) -> Self {
        let network = Network::new();
        let (server, peer) = (network.server(), network.peer());
        let alice = server.register("alice");
        let eve = peer.user("eve");
        let room = server.create_room(&alice, json!({ "preset": "public_chat", "room_version": version }));
        let known = PeerRoom::join(&peer, &server, &room, &eve);
        peer.take_heard();
        Self { network, server, alice, peer, eve, room, known }
    }

    /// A message of Eve's on top of the room, not yet in it.
    pub fn message(&mut self, text: &str) -> Rc<Pdu> {
        self.event("m.room.message", None, json!({ "msgtype": "m.text", "body": text }))
    }

    pub fn event(&mut self, kind: &str, state_key: Option<&str>, content: Value) -> Rc<Pdu> {
        self.known.make(&self.peer, &self.eve, kind, state_key, content)
    }

    /// What Eve's server says is wrong with the event by Alice's.
    #[track_caller]
    pub fn send(&self, pdu: &Pdu) -> Option<String> {
        self.peer.send_pdu(&self.server, pdu)
    }

    /// The messages Alice sees.
    pub fn said(&self) -> Vec<String> {
        self.server.said_in(&self.alice, &self.room)
    }

    pub fn staged(&self) -> usize {
        self.server.staged_of(&self.room).len()
    }
}
