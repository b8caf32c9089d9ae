//! Homeservers and scripted peers that reach each other in one process, over links that tests break.
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::{Rc, Weak},
};

use bytes::Bytes;
use futures::{channel::oneshot, future::LocalBoxFuture};
use ruma::{OwnedServerName, ServerName};
use serde_json::Value;
use warren::{
    api::{self, Origin},
    domain::{identity::PublicKey, zone::Found},
    homeserver::{Homeserver, Options},
    ports::{Clock, Lane, Reach, Tasks, Transport, TransportError},
    storage::memory::MemoryDisk,
};

use crate::{
    fakes::PoolTasks,
    federation_peer::Peer,
    harness::{Answer, Pending, Surroundings, TestServer, TestUser, request},
    talk::{escaped, texts},
};

/// When a request that nobody answers is given up.
pub const REQUEST_TIMEOUT_MS: u64 = 30_000;
/// How much time may pass before a request must have been answered.
const PATIENCE_MS: u64 = 3_600_000;

/// What becomes of requests from one server to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    Up,
    /// There is no connection and none can be made.
    Down,
    /// Requests arrive and are carried out; answers never come.
    Mute,
    /// Answers take this many milliseconds.
    Slow(u64),
    /// Requests never arrive.
    Stalling,
    /// Whatever is asked, this is the answer; the other server hears nothing of it.
    Says(u16, Bytes),
    /// So for requests whose path contains the text; others get through.
    For(&'static str, Box<Link>),
}

/// One request that was sent over the network.
#[derive(Clone, Debug)]
pub struct Carried {
    pub path: String,
    pub body: Value,
}

enum Station {
    Homeserver { homeserver: Weak<Homeserver>, tasks: Rc<PoolTasks> },
    Peer(Rc<Peer>),
}

#[derive(Default)]
struct State {
    stations: RefCell<BTreeMap<OwnedServerName, Station>>,
    links: RefCell<BTreeMap<(OwnedServerName, OwnedServerName), Link>>,
    carried: RefCell<Vec<Carried>>,
    seeds: Cell<u64>,
    /// Whether servers with ordinary names are reached by no peer.
    web_is_elsewhere: Cell<bool>,
}

/// A network of homeservers on one loop and one clock.
#[derive(Clone)]
pub struct Network {
    pub surroundings: Surroundings,
    state: Rc<State>,
}

impl Network {
    pub fn new() -> Self {
        Self { surroundings: Surroundings::new(), state: Rc::default() }
    }

    /// Two homeservers with a user each.
    pub fn pair() -> (Self, (TestServer, TestUser), (TestServer, TestUser)) {
        let network = Self::new();
        let (a, b) = (network.server(), network.server());
        let (alice, bob) = (a.register("alice"), b.register("bob"));
        (network, (a, alice), (b, bob))
    }

    /// Homeservers that are all in one room of the first one, with a user each.
    pub fn in_one_room(&self, count: usize) -> (Vec<(TestServer, TestUser)>, String) {
        let servers: Vec<_> = (0..count)
            .map(|n| {
                let server = self.server();
                let user = server.register(&format!("user{n}"));
                (server, user)
            })
            .collect();
        let room = servers[0].0.public_room(&servers[0].1);
        for (server, user) in &servers[1..] {
            server.join_via(user, &room, servers[0].0.server_name()).ok();
        }
        self.settle();
        (servers, room)
    }

    pub fn server(&self) -> TestServer {
        self.server_on(MemoryDisk::default())
    }

    /// A homeserver on a disk that may hold a profile, as after a restart.
    pub fn server_on(&self, disk: MemoryDisk) -> TestServer {
        self.server_with(disk, Options::default())
    }

    pub fn server_with(&self, disk: MemoryDisk, options: Options) -> TestServer {
        let end = Rc::new(NetworkEnd { network: self.clone(), name: RefCell::default() });
        let server = TestServer::start_in(&self.surroundings, disk, end.clone(), self.next_seed(), options);
        end.name.replace(Some(server.server_name().to_owned()));
        let station =
            Station::Homeserver { homeserver: Rc::downgrade(&server.homeserver), tasks: server.tasks.clone() };
        self.state.stations.borrow_mut().insert(server.server_name().to_owned(), station);
        server
    }

    /// A server that is nothing but a key and what the test has it say.
    pub fn peer(&self) -> Rc<Peer> {
        let peer = Rc::new(Peer::new(self.next_seed() as u8));
        self.state.stations.borrow_mut().insert(peer.name().to_owned(), Station::Peer(peer.clone()));
        peer
    }

    /// As `peer`, by a name that says nothing of its key.
    pub fn peer_named(&self, name: &str) -> Rc<Peer> {
        let peer = Rc::new(Peer::named(self.next_seed() as u8, name));
        self.state.stations.borrow_mut().insert(peer.name().to_owned(), Station::Peer(peer.clone()));
        peer
    }

    /// From now on servers with ordinary names are on the web alone, which nobody here reaches.
    pub fn web_is_elsewhere(&self) {
        self.state.web_is_elsewhere.set(true);
    }

    fn next_seed(&self) -> u64 {
        self.state.seeds.set(self.state.seeds.get() + 1);
        self.state.seeds.get()
    }

    /// Stops a server dead: its tasks end where they stand, nothing it has in flight is ever written.
    pub fn stop(&self, server: TestServer) -> MemoryDisk {
        self.state.stations.borrow_mut().remove(server.server_name());
        server.tasks.stop();
        server.disk.clone()
    }

    /// Stops a server and starts it again on the same disk.
    pub fn restart(&self, server: TestServer) -> TestServer {
        let disk = self.stop(server);
        self.server_on(disk)
    }

    /// What becomes of requests between two servers, either way.
    pub fn link(&self, a: &ServerName, b: &ServerName, link: Link) {
        self.link_one_way(a, b, link.clone());
        self.link_one_way(b, a, link);
    }

    pub fn link_one_way(&self, from: &ServerName, to: &ServerName, link: Link) {
        self.state.links.borrow_mut().insert((from.to_owned(), to.to_owned()), link);
    }

    /// Mends the link between two homeservers and has both notice.
    pub fn reconnect(&self, a: &TestServer, b: &TestServer) {
        self.link(a.server_name(), b.server_name(), Link::Up);
        a.homeserver.peer_connected(b.server_name().to_owned());
        b.homeserver.peer_connected(a.server_name().to_owned());
        self.settle();
    }

    /// Cuts the link between two servers, either way.
    pub fn cut(&self, a: &TestServer, b: &TestServer) {
        self.link(a.server_name(), b.server_name(), Link::Down);
    }

    pub fn settle(&self) {
        self.surroundings.pool.borrow_mut().run_until_stalled();
    }

    pub fn advance(&self, ms: u64) {
        self.surroundings.clock.advance(ms);
        self.settle();
    }

    pub fn now_ms(&self) -> u64 {
        self.surroundings.clock.now_ms()
    }

    /// Runs until the request is answered, letting time pass where everybody waits for it.
    #[track_caller]
    pub fn patiently(&self, pending: &Pending) -> Answer {
        let clock = &self.surroundings.clock;
        let deadline_ms = clock.now_ms() + PATIENCE_MS;
        loop {
            self.settle();
            if let Some(answer) = pending.take() {
                return answer;
            }
            let due_ms = clock.next_due_ms().expect("a request waits for something other than time");
            assert!(due_ms < deadline_ms, "a request is not answered in an hour");
            self.advance(due_ms.saturating_sub(clock.now_ms()));
        }
    }

    /// Every request sent since the last call.
    pub fn take_carried(&self) -> Vec<Carried> {
        self.state.carried.take()
    }

    fn link_of(&self, from: &ServerName, to: &ServerName) -> Link {
        self.state.links.borrow().get(&(from.to_owned(), to.to_owned())).cloned().unwrap_or(Link::Up)
    }

    async fn carry(
        self,
        from: OwnedServerName,
        to: OwnedServerName,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let path = request.uri().to_string();
        self.state
            .carried
            .borrow_mut()
            .push(Carried { path: path.clone(), body: serde_json::from_slice(request.body()).unwrap_or_default() });
        let link = match self.link_of(&from, &to) {
            Link::For(part, link) if path.contains(part) => *link,
            Link::For(..) => Link::Up,
            link => link,
        };
        match link {
            Link::Down => Err(TransportError::Unreachable { server: to, reason: "the link is down".to_owned() }),
            Link::Says(status, body) => Ok(http::Response::builder().status(status).body(body).unwrap()),
            Link::Stalling => self.time_out(to).await,
            Link::Mute => {
                drop(self.deliver(&from, &to, request).await);
                self.time_out(to).await
            }
            Link::Slow(ms) => {
                let answer = self.deliver(&from, &to, request).await;
                self.surroundings.clock.sleep_ms(ms).await;
                answer.ok_or(TransportError::TimedOut { server: to })
            }
            Link::Up | Link::For(..) => match self.deliver(&from, &to, request).await {
                Some(response) => Ok(response),
                None => Err(TransportError::Unreachable { server: to, reason: "nobody is there".to_owned() }),
            },
        }
    }

    async fn time_out(&self, server: OwnedServerName) -> Result<http::Response<Bytes>, TransportError> {
        self.surroundings.clock.sleep_ms(REQUEST_TIMEOUT_MS).await;
        Err(TransportError::TimedOut { server })
    }

    /// Has the other server answer, as one of its tasks: an answer being made ends with the server.
    async fn deliver(
        &self,
        from: &ServerName,
        to: &ServerName,
        request: http::Request<Bytes>,
    ) -> Option<http::Response<Bytes>> {
        let key = PublicKey::of_server_name(from).expect("servers of the network certify themselves");
        let receiver = {
            let stations = self.state.stations.borrow();
            match stations.get(to)? {
                Station::Peer(peer) => return Some(peer.answer(&request)),
                Station::Homeserver { homeserver, tasks } => {
                    let (homeserver, (sender, receiver)) = (homeserver.upgrade()?, oneshot::channel());
                    tasks.spawn(Box::pin(async move {
                        let _nobody_waits = sender.send(api::handle(&homeserver, request, Origin::Peer(key)).await);
                    }));
                    receiver
                }
            }
        };
        receiver.await.ok()
    }
}

/// The end of the network at one homeserver.
struct NetworkEnd {
    network: Network,
    /// Known once the homeserver has its key.
    name: RefCell<Option<OwnedServerName>>,
}

impl Transport for NetworkEnd {
    fn request(
        &self,
        destination: OwnedServerName,
        _lane: Lane,
        request: http::Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<http::Response<Bytes>, TransportError>> {
        // What servers of the web publish is told by a notary, which is not played here.
        if let Reach::Never { reason } = self.reach(&destination)
            && !request.uri().path().starts_with("/_matrix/key/")
        {
            return Box::pin(async { Err(TransportError::NeverReachable { server: destination, reason }) });
        }
        match self.name.borrow().clone() {
            Some(name) => Box::pin(self.network.clone().carry(name, destination, request)),
            None => {
                let reason = "the homeserver is still starting".to_owned();
                Box::pin(async { Err(TransportError::Unreachable { server: destination, reason }) })
            }
        }
    }

    fn connected(&self) -> Vec<OwnedServerName> {
        let Some(name) = self.name.borrow().clone() else { return Vec::new() };
        let names: BTreeSet<_> = self.network.state.stations.borrow().keys().cloned().collect();
        let open = |other: &OwnedServerName| *other != name && self.network.link_of(&name, other) != Link::Down;
        names.into_iter().filter(open).collect()
    }

    fn reach(&self, server: &ServerName) -> Reach {
        if self.found(server) == Found::OnTheWeb {
            return Reach::Never { reason: "the web is elsewhere".to_owned() };
        }
        if self.connected().iter().any(|other| other == server) { Reach::Now } else { Reach::Later }
    }

    fn found(&self, server: &ServerName) -> Found {
        match Found::of(server) {
            Found::OnTheWeb if !self.network.state.web_is_elsewhere.get() => Found::OnBoth,
            found => found,
        }
    }

    fn known_addresses(&self, server: &ServerName) -> Vec<String> {
        vec![address_of(server)]
    }

    fn add_address_hints(&self, _server: &ServerName, _addresses: Vec<String>) {}
}

/// Where the network reaches a server.
pub fn address_of(server: &ServerName) -> String {
    format!("/dns4/{}.example/tcp/443/wss", &server.as_str()[..20])
}

impl TestServer {
    /// Joins a room through another server.
    pub fn join_via(&self, user: &TestUser, room: &str, via: &ServerName) -> Answer {
        let answer = self.post(&join_path(room, via), &user.token, serde_json::json!({}));
        self.settle();
        answer
    }

    /// Starts to join a room through another server.
    pub fn start_join(&self, user: &TestUser, room: &str, via: &ServerName) -> Pending {
        let pending = self.queue(request("POST", &join_path(room, via), Some(&user.token), "{}"));
        self.settle();
        pending
    }

    /// Invites, kicks, bans or unbans somebody of any server.
    pub fn act(&self, user: &TestUser, room: &str, action: &str, target: &str) -> Answer {
        let path = format!("/_matrix/client/v3/rooms/{}/{action}", escaped(room));
        let answer = self.post(&path, &user.token, serde_json::json!({ "user_id": target }));
        self.settle();
        answer
    }

    /// Leaves a room or declines an invite.
    pub fn try_leave(&self, user: &TestUser, room: &str) -> Answer {
        let path = format!("/_matrix/client/v3/rooms/{}/leave", escaped(room));
        let answer = self.post(&path, &user.token, serde_json::json!({}));
        self.settle();
        answer
    }

    /// What a first sync tells of a room the user is in.
    pub fn told_of(&self, user: &TestUser, room: &str) -> Value {
        self.sync(user, None, "")["rooms"]["join"][room].clone()
    }

    /// The texts of the messages a user gets to see of a room, oldest first.
    pub fn said_in(&self, user: &TestUser, room: &str) -> Vec<String> {
        let mut said = texts(&self.messages(user, room, "dir=b&limit=100")["chunk"]);
        said.reverse();
        said
    }

    /// The room's state as this server sees it, by inspection.
    pub fn state_of(&self, room: &str) -> BTreeMap<(String, String), String> {
        let room = self.inspected(room).unwrap_or_else(|| panic!("{room} is not here"));
        room.state.into_iter().map(|(key, id)| (key, id.to_string())).collect()
    }

    pub fn heads_of(&self, room: &str) -> BTreeSet<String> {
        self.inspected(room).map(|room| room.heads.iter().map(ToString::to_string).collect()).unwrap_or_default()
    }

    pub fn staged_of(&self, room: &str) -> BTreeSet<String> {
        self.inspected(room).map(|room| room.staged.iter().map(ToString::to_string).collect()).unwrap_or_default()
    }

    pub fn is_resident(&self, room: &str) -> bool {
        self.inspected(room).is_some_and(|room| room.resident)
    }

    pub fn inspected(&self, room: &str) -> Option<warren::homeserver::inspect::InspectedRoom> {
        let room = ruma::RoomId::parse(room).unwrap();
        self.run(self.homeserver.inspect_room(&room)).unwrap()
    }

    pub fn inspected_event(&self, event: &str) -> Option<warren::homeserver::inspect::InspectedEvent> {
        let event = ruma::EventId::parse(event).unwrap();
        self.run(self.homeserver.inspect_event(&event)).unwrap()
    }

    /// The membership this server sees a user to have, from the event.
    pub fn membership(&self, room: &str, user: &str) -> Option<String> {
        let state = self.state_of(room);
        let event = self.inspected_event(state.get(&("m.room.member".to_owned(), user.to_owned()))?)?;
        let event: Value = serde_json::from_str(&event.json).unwrap();
        Some(event["content"]["membership"].as_str()?.to_owned())
    }
}

pub fn join_path(room: &str, via: &ServerName) -> String {
    format!("/_matrix/client/v3/join/{}?via={via}", escaped(room))
}
