//! What carries requests between homeservers: late, twice, out of order, or not at all.
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::{Rc, Weak},
};

use bytes::Bytes;
use futures::{channel::oneshot, future::LocalBoxFuture};
use ruma::{OwnedServerName, ServerName};
use warren::{
    api::{self, Origin},
    domain::identity::{Identity, PublicKey},
    homeserver::Homeserver,
    ports::{Lane, Tasks, Transport, TransportError},
};

use super::{clock::SimTime, random::Random, tongue::Tongue};

pub const LATENCY_MIN_MS: u64 = 2;
pub const LATENCY_MAX_MS: u64 = 250;
/// When a request that got lost is given up.
const REQUEST_TIMEOUT_MS: u64 = 10_000;
/// A request that is late arrives when it was given up already, at most so long after it was sent.
const LATE_MAX_MS: u64 = 90_000;

/// How bad the network is, in percent.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub loss: u64,
    pub duplication: u64,
    /// Requests that arrive after they were given up.
    pub late: u64,
}

/// A request that was carried: who asked whom what.
#[derive(Clone, Debug)]
pub struct Carried {
    pub from: OwnedServerName,
    pub to: OwnedServerName,
    pub path: String,
    pub body: Bytes,
}

/// A homeserver that is up.
pub struct Station {
    pub homeserver: Weak<Homeserver>,
    pub tasks: Rc<dyn Tasks>,
}

struct State {
    stations: BTreeMap<OwnedServerName, Station>,
    /// Ordered pairs between which nothing gets through.
    cut: BTreeSet<(OwnedServerName, OwnedServerName)>,
    weather: Weather,
    log: Vec<String>,
    /// Every federation request, for oracles.
    carried: Vec<Carried>,
    /// Through which the one server that lies speaks.
    tongue: Option<Rc<Tongue>>,
}

#[derive(Clone)]
pub struct Network {
    state: Rc<RefCell<State>>,
    pub time: SimTime,
    random: Random,
    /// Whether the log is told while it is written: for who replays one seed.
    aloud: bool,
}

impl Network {
    pub fn new(time: SimTime, random: Random, weather: Weather) -> Self {
        let state = State {
            stations: BTreeMap::new(),
            cut: BTreeSet::new(),
            weather,
            log: Vec::new(),
            carried: Vec::new(),
            tongue: None,
        };
        Self { state: Rc::new(RefCell::new(state)), time, random, aloud: std::env::var_os("SEED").is_some() }
    }

    pub fn note(&self, line: String) {
        let line = format!("{:>8} {line}", self.time.elapsed_ms());
        if self.aloud {
            println!("{line}");
        }
        self.state.borrow_mut().log.push(line);
    }

    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.borrow_mut().log)
    }

    /// Every request since this was asked last.
    pub fn take_carried(&self) -> Vec<Carried> {
        std::mem::take(&mut self.state.borrow_mut().carried)
    }

    pub fn set_weather(&self, weather: Weather) {
        self.state.borrow_mut().weather = weather;
    }

    /// From now on a server speaks with this tongue.
    pub fn twist(&self, tongue: Rc<Tongue>) {
        self.state.borrow_mut().tongue = Some(tongue);
    }

    /// The tongue that a server speaks with, if it lies.
    fn tongue(&self, name: &ServerName) -> Option<Rc<Tongue>> {
        self.state.borrow().tongue.clone().filter(|tongue| tongue.identity.server_name() == name)
    }

    /// A request that a server makes without its homeserver, and whose answer it does not wait for.
    pub fn say(&self, identity: &Identity, to: &ServerName, request: http::Request<Bytes>) {
        let delay_ms = self.random.between(LATENCY_MIN_MS, LATENCY_MAX_MS);
        self.deliver_later(identity.server_name(), identity.public_key(), to, request, delay_ms);
    }

    pub fn go_up(&self, name: &ServerName, station: Station) {
        self.state.borrow_mut().stations.insert(name.to_owned(), station);
        self.meet_all(name);
    }

    pub fn go_down(&self, name: &ServerName) {
        self.state.borrow_mut().stations.remove(name);
    }

    /// Cuts one direction.
    pub fn cut(&self, from: &ServerName, to: &ServerName) {
        self.state.borrow_mut().cut.insert((from.to_owned(), to.to_owned()));
    }

    /// Mends every link, and those who can now hear each other notice.
    pub fn heal(&self) {
        self.state.borrow_mut().cut.clear();
        let names: Vec<_> = self.state.borrow().stations.keys().cloned().collect();
        names.iter().for_each(|name| self.meet_all(name));
    }

    /// Whether requests of one server get through to another. Their answers come back the same way, as over a connection
    /// that only one of them can make.
    fn reaches(&self, from: &ServerName, to: &ServerName) -> bool {
        let state = self.state.borrow();
        let both_up = state.stations.contains_key(from) && state.stations.contains_key(to);
        both_up && !state.cut.contains(&(from.to_owned(), to.to_owned()))
    }

    /// Tells `name` and each server it can reach that they are connected, each a little later.
    fn meet_all(&self, name: &ServerName) {
        let others: Vec<_> = self.state.borrow().stations.keys().filter(|other| *other != name).cloned().collect();
        for other in others {
            if self.reaches(name, &other) {
                self.introduce(name, &other);
            }
            if self.reaches(&other, name) {
                self.introduce(&other, name);
            }
        }
    }

    fn introduce(&self, to: &ServerName, peer: &ServerName) {
        let (network, to, peer) = (self.clone(), to.to_owned(), peer.to_owned());
        let delay_ms = self.random.between(LATENCY_MIN_MS, LATENCY_MAX_MS);
        let Some(tasks) = self.state.borrow().stations.get(&to).map(|station| station.tasks.clone()) else { return };
        let waiting = self.time.sleep(delay_ms);
        tasks.spawn(Box::pin(async move {
            waiting.await;
            let homeserver = network.state.borrow().stations.get(&to).and_then(|station| station.homeserver.upgrade());
            if let Some(homeserver) = homeserver.filter(|_| network.reaches(&to, &peer)) {
                homeserver.peer_connected(peer);
            }
        }));
    }

    fn latency(&self) -> LocalBoxFuture<'static, ()> {
        self.time.sleep(self.random.between(LATENCY_MIN_MS, LATENCY_MAX_MS))
    }

    async fn carry(
        self,
        from: OwnedServerName,
        key: PublicKey,
        to: OwnedServerName,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let weather = self.state.borrow().weather;
        let request = match self.tongue(&from) {
            Some(tongue) => tongue.twist_request(&to, request),
            None => request,
        };
        self.latency().await;
        if !self.reaches(&from, &to) {
            return Err(TransportError::Unreachable { server: to, reason: "no link".to_owned() });
        }
        let lost_on_the_way = self.random.chance(weather.loss);
        let late = self.random.chance(weather.late);
        let answer_lost = self.random.chance(weather.loss);
        let twice = self.random.chance(weather.duplication);
        if lost_on_the_way {
            self.time.sleep(REQUEST_TIMEOUT_MS).await;
            return Err(TransportError::TimedOut { server: to });
        }
        if late {
            let delay_ms = self.random.between(REQUEST_TIMEOUT_MS, LATE_MAX_MS);
            self.deliver_later(&from, key, &to, request, delay_ms);
            self.time.sleep(REQUEST_TIMEOUT_MS).await;
            return Err(TransportError::TimedOut { server: to });
        }
        if twice {
            let delay_ms = self.random.between(LATENCY_MIN_MS, LATENCY_MAX_MS);
            self.deliver_later(&from, key, &to, request.clone(), delay_ms);
        }
        let answer = self.deliver(&from, key, &to, request).await;
        self.latency().await;
        if answer_lost {
            self.time.sleep(REQUEST_TIMEOUT_MS).await;
            return Err(TransportError::TimedOut { server: to });
        }
        match answer {
            Some(answer) if self.reaches(&from, &to) => Ok(answer),
            _ => Err(TransportError::Interrupted { server: to, reason: "the link broke".to_owned() }),
        }
    }

    /// Nobody waits for the answer.
    fn deliver_later(
        &self,
        from: &ServerName,
        key: PublicKey,
        to: &ServerName,
        request: http::Request<Bytes>,
        delay_ms: u64,
    ) {
        let Some(tasks) = self.state.borrow().stations.get(to).map(|station| station.tasks.clone()) else { return };
        let (network, from, to) = (self.clone(), from.to_owned(), to.to_owned());
        tasks.spawn(Box::pin(async move {
            network.time.sleep(delay_ms).await;
            drop(network.deliver(&from, key, &to, request).await);
        }));
    }

    /// Runs the request on the other server, as one of its tasks: it dies with the server.
    fn deliver(
        &self,
        from: &ServerName,
        key: PublicKey,
        to: &ServerName,
        request: http::Request<Bytes>,
    ) -> LocalBoxFuture<'static, Option<http::Response<Bytes>>> {
        let (path, body) = (request.uri().path().to_owned(), request.body().clone());
        let size = body.len();
        self.note(format!("{} -> {} {} {path} {size}", short(from), short(to), request.method()));
        let carried = Carried { from: from.to_owned(), to: to.to_owned(), path: path.clone(), body };
        self.state.borrow_mut().carried.push(carried);
        let (sender, receiver) = oneshot::channel();
        let (tongue, time) = (self.tongue(to), self.time.clone());
        let state = self.state.borrow();
        let Some(station) = state.stations.get(to) else { return Box::pin(async { None }) };
        let homeserver = station.homeserver.clone();
        station.tasks.spawn(Box::pin(async move {
            let Some(homeserver) = homeserver.upgrade() else { return };
            let answer = api::handle(&homeserver, request, Origin::Peer(key)).await;
            let told = match tongue {
                Some(tongue) => tongue.twist_answer(&path, answer),
                None => Some(answer),
            };
            match told {
                Some(told) => drop(sender.send(told)),
                // Until who asked gives it up.
                None => time.sleep(REQUEST_TIMEOUT_MS).await,
            }
        }));
        Box::pin(async move { receiver.await.ok() })
    }
}

/// The end of the network at one server.
pub struct SimTransport {
    pub network: Network,
    pub name: OwnedServerName,
    pub key: PublicKey,
}

impl Transport for SimTransport {
    fn request(
        &self,
        destination: OwnedServerName,
        _lane: Lane,
        request: http::Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<http::Response<Bytes>, TransportError>> {
        Box::pin(self.network.clone().carry(self.name.clone(), self.key, destination, request))
    }

    fn connected(&self) -> Vec<OwnedServerName> {
        let others: Vec<_> = self.network.state.borrow().stations.keys().cloned().collect();
        others.into_iter().filter(|other| *other != self.name && self.network.reaches(&self.name, other)).collect()
    }

    fn add_address_hints(&self, _server: &ServerName, _addresses: Vec<String>) {}
}

/// Enough of a server's name to tell it from others.
pub fn short(name: &ServerName) -> &str {
    &name.as_str()[40..46]
}
