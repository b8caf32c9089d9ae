//! Peer connections without a network, for tests of whatever is built on this crate.
//!
//! They keep the rules that matter: candidates are needed both ways, a description must carry the fingerprint of whom
//! it connects to, channels open in the order they are made in, and what arrives is delivered whether or not it is read.
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures::FutureExt;
use libp2p_identity::PeerId;

use super::{Call, PeerConnection, RtcBackend, RtcError, RtcEvent};
use crate::{
    signaling::{
        candidate::Candidate,
        session::ConnectionState::{self, Closed, Connected, Connecting, Failed},
    },
    stream::{Budget, Channel, ChannelError, Pipe},
};

/// Whom peer connections can reach: those of the same network. Clones are the same network.
#[derive(Clone, Default)]
pub struct MemoryNetwork(Arc<Mutex<Net>>);

#[derive(Default)]
struct Net {
    next: u64,
    nodes: BTreeMap<u64, Node>,
    paths: Paths,
    made: usize,
}

/// What becomes of attempts to connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paths {
    #[default]
    Open,
    /// They fail, as behind two symmetric NATs.
    Blocked,
    /// Nothing is ever heard of them.
    Silent,
}

/// One peer connection.
#[derive(Default)]
struct Node {
    fingerprint: u64,
    /// The other one and the fingerprint it should have, as its description says.
    remote: Option<(u64, u64)>,
    /// A candidate of the other one is known.
    candidate: bool,
    linked: bool,
    happened: VecDeque<Happened>,
    waker: Option<Waker>,
}

enum Happened {
    Found(Candidate),
    State(ConnectionState),
    Opened(u64),
    Message(u64, Vec<u8>),
    ChannelClosed(u64),
}

impl MemoryNetwork {
    pub fn set_paths(&self, paths: Paths) {
        self.net().paths = paths;
    }

    /// Peer connections that are not closed.
    pub fn open_connections(&self) -> usize {
        self.net().nodes.len()
    }

    /// Peer connections there have ever been.
    pub fn connections_made(&self) -> usize {
        self.net().made
    }

    /// Makes every connection notice that its path is gone.
    pub fn cut(&self) {
        self.net().nodes.values_mut().for_each(|node| node.tell(Happened::State(Failed)));
    }

    fn net(&self) -> MutexGuard<'_, Net> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RtcBackend for MemoryNetwork {
    fn connect(&mut self, _: &PeerId) -> Result<Box<dyn PeerConnection>, RtcError> {
        let mut net = self.net();
        let id = net.number();
        let fingerprint = net.number();
        net.made += 1;
        net.nodes.insert(id, Node { fingerprint, ..Node::default() });
        drop(net);
        let (network, budget) = (self.clone(), Arc::default());
        Ok(Box::new(MemoryConnection { id, network, budget, pipes: BTreeMap::new() }))
    }
}

struct MemoryConnection {
    id: u64,
    network: MemoryNetwork,
    budget: Arc<Budget>,
    pipes: BTreeMap<u64, Pipe>,
}

impl PeerConnection for MemoryConnection {
    fn make_offer(&mut self) -> Call<String> {
        self.describe()
    }

    fn make_answer(&mut self, offer: String) -> Call<String> {
        match self.apply(&offer) {
            Ok(()) => self.describe(),
            Err(error) => futures::future::err(error).boxed(),
        }
    }

    fn apply_answer(&mut self, answer: String) -> Call<()> {
        futures::future::ready(self.apply(&answer)).boxed()
    }

    fn add_candidate(&mut self, candidate: Candidate) -> Call<()> {
        let mut net = self.network.net();
        let of = candidate.username_fragment.and_then(|text| text.parse::<u64>().ok());
        let added = match net.nodes.get_mut(&self.id) {
            Some(node) if node.remote.is_none() => Err(RtcError("there is no remote description".to_owned())),
            Some(node) if node.remote.map(|(id, _)| id) == of => {
                node.candidate = true;
                net.link(self.id);
                Ok(())
            }
            _ => Err(RtcError("this candidate is somebody else's".to_owned())),
        };
        futures::future::ready(added).boxed()
    }

    fn open_channel(&mut self) -> Call<Pipe> {
        let mut net = self.network.net();
        let channel = net.number();
        let opened = net.tell_other(self.id, Happened::Opened(channel));
        drop(net);
        let opened = opened.then(|| self.pipe(channel)).ok_or_else(|| RtcError("there is no connection".to_owned()));
        futures::future::ready(opened).boxed()
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<RtcEvent> {
        loop {
            let happened = {
                let mut net = self.network.net();
                let Some(node) = net.nodes.get_mut(&self.id) else { return Poll::Pending };
                let Some(happened) = node.happened.pop_front() else {
                    node.waker = Some(context.waker().clone());
                    return Poll::Pending;
                };
                happened
            };
            match happened {
                Happened::Found(candidate) => return Poll::Ready(RtcEvent::Found(candidate)),
                Happened::State(state) => return Poll::Ready(RtcEvent::State(state)),
                Happened::Opened(channel) => return Poll::Ready(RtcEvent::Channel(self.pipe(channel))),
                Happened::Message(channel, message) => {
                    if let Some(pipe) = self.pipes.get(&channel) {
                        pipe.received(&message);
                    }
                }
                Happened::ChannelClosed(channel) => {
                    if let Some(pipe) = self.pipes.remove(&channel) {
                        pipe.closed();
                    }
                }
            }
        }
    }

    fn budget(&self) -> Arc<Budget> {
        self.budget.clone()
    }

    fn close(&mut self) {
        let mut net = self.network.net();
        net.tell_other(self.id, Happened::State(Closed));
        net.nodes.remove(&self.id);
        drop(net);
        std::mem::take(&mut self.pipes).into_values().for_each(|pipe| pipe.closed());
    }
}

impl MemoryConnection {
    fn pipe(&mut self, channel: u64) -> Pipe {
        let end = MemoryChannel { network: self.network.clone(), from: self.id, channel };
        let pipe = Pipe::new(Box::new(end), true, self.budget.clone());
        self.pipes.insert(channel, pipe.clone());
        pipe
    }

    fn describe(&self) -> Call<String> {
        let mut net = self.network.net();
        let Some(node) = net.nodes.get_mut(&self.id) else {
            return futures::future::err(RtcError("closed".to_owned())).boxed();
        };
        let sdp = format!(
            "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=ice-ufrag:{}\r\na=fingerprint:{}\r\n",
            self.id, node.fingerprint
        );
        node.tell(Happened::Found(Candidate {
            candidate: format!("candidate:1 1 udp 1 192.0.2.1 {} typ host", self.id),
            sdp_mid: Some("0".to_owned()),
            sdp_m_line_index: Some(0),
            username_fragment: Some(self.id.to_string()),
        }));
        futures::future::ok(sdp).boxed()
    }

    fn apply(&self, description: &str) -> Result<(), RtcError> {
        let value = |name: &str| description.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
        let (Some(remote), Some(fingerprint)) = (value("a=ice-ufrag:"), value("a=fingerprint:")) else {
            return Err(RtcError("the description makes no sense".to_owned()));
        };
        let mut net = self.network.net();
        let node = net.nodes.get_mut(&self.id).ok_or_else(|| RtcError("closed".to_owned()))?;
        node.remote = Some((remote, fingerprint));
        net.link(self.id);
        Ok(())
    }
}

impl Drop for MemoryConnection {
    fn drop(&mut self) {
        self.close();
    }
}

impl Net {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Connects `one` with whom it names, if both want and can.
    fn link(&mut self, one: u64) {
        let Some((two, two_expected)) = self.nodes.get(&one).and_then(|node| node.remote) else { return };
        let (Some(first), Some(second)) = (self.nodes.get(&one), self.nodes.get(&two)) else { return };
        let Some((_, one_expected)) = second.remote.filter(|(id, _)| *id == one) else { return };
        let ready = [first, second].iter().all(|node| node.candidate && !node.linked);
        if !ready || self.paths == Paths::Silent {
            return;
        }
        let genuine = first.fingerprint == one_expected && second.fingerprint == two_expected;
        let works = genuine && self.paths == Paths::Open;
        for id in [one, two] {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.linked = works;
                node.tell(Happened::State(Connecting));
                node.tell(Happened::State(if works { Connected } else { Failed }));
            }
        }
    }

    /// Tells the other end of `from`. Returns whether there is one.
    fn tell_other(&mut self, from: u64, happened: Happened) -> bool {
        let node = self.nodes.get(&from).filter(|node| node.linked);
        let Some((other, _)) = node.and_then(|node| node.remote) else { return false };
        let Some(other) = self.nodes.get_mut(&other).filter(|other| other.linked) else { return false };
        other.tell(happened);
        true
    }
}

impl Node {
    fn tell(&mut self, happened: Happened) {
        self.happened.push_back(happened);
        self.waker.take().into_iter().for_each(Waker::wake);
    }
}

struct MemoryChannel {
    network: MemoryNetwork,
    from: u64,
    channel: u64,
}

impl Channel for MemoryChannel {
    fn send(&mut self, message: &[u8]) -> Result<(), ChannelError> {
        let sent = self.network.net().tell_other(self.from, Happened::Message(self.channel, message.to_vec()));
        if sent { Ok(()) } else { Err(ChannelError("the connection is closed".to_owned())) }
    }

    fn buffered_bytes(&self) -> usize {
        0
    }

    fn close(&mut self) {
        let mut net = self.network.net();
        net.tell_other(self.from, Happened::ChannelClosed(self.channel));
        // And our own end forgets the channel in its turn.
        if let Some(node) = net.nodes.get_mut(&self.from) {
            node.tell(Happened::ChannelClosed(self.channel));
        }
    }
}
