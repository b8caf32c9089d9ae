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
    domain::identity::PublicKey,
    homeserver::Homeserver,
    ports::{Lane, Tasks, Transport, TransportError},
};

use super::{clock::SimTime, random::Random};

const LATENCY_MIN_MS: u64 = 2;
const LATENCY_MAX_MS: u64 = 250;
/// When a request that got lost is given up.
const REQUEST_TIMEOUT_MS: u64 = 10_000;

/// How bad the network is, in percent.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub loss: u64,
    pub duplication: u64,
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
    /// Every federation request by destination, for oracles: server, path, body.
    pub carried: Vec<(OwnedServerName, OwnedServerName, String, Bytes)>,
}

#[derive(Clone)]
pub struct Network {
    state: Rc<RefCell<State>>,
    pub time: SimTime,
    random: Random,
}

impl Network {
    pub fn new(time: SimTime, random: Random, weather: Weather) -> Self {
        let state =
            State { stations: BTreeMap::new(), cut: BTreeSet::new(), weather, log: Vec::new(), carried: Vec::new() };
        Self { state: Rc::new(RefCell::new(state)), time, random }
    }

    pub fn note(&self, line: String) {
        let elapsed = self.time.elapsed_ms();
        self.state.borrow_mut().log.push(format!("{elapsed:>8} {line}"));
    }

    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.borrow_mut().log)
    }

    pub fn carried(&self) -> Vec<(OwnedServerName, OwnedServerName, String, Bytes)> {
        self.state.borrow().carried.clone()
    }

    pub fn set_weather(&self, weather: Weather) {
        self.state.borrow_mut().weather = weather;
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

    fn linked(&self, a: &ServerName, b: &ServerName) -> bool {
        let state = self.state.borrow();
        let both_up = state.stations.contains_key(a) && state.stations.contains_key(b);
        let open = |from: &ServerName, to: &ServerName| !state.cut.contains(&(from.to_owned(), to.to_owned()));
        both_up && open(a, b) && open(b, a)
    }

    /// Tells `name` and each server it can reach that they are connected, each a little later.
    fn meet_all(&self, name: &ServerName) {
        let others: Vec<_> = self.state.borrow().stations.keys().filter(|other| *other != name).cloned().collect();
        for other in others {
            if self.linked(name, &other) {
                self.introduce(name, &other);
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
            if let Some(homeserver) = homeserver.filter(|_| network.linked(&to, &peer)) {
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
        self.latency().await;
        if !self.linked(&from, &to) {
            return Err(TransportError::Unreachable { server: to, reason: "no link".to_owned() });
        }
        let lost_on_the_way = self.random.chance(weather.loss);
        let answer_lost = self.random.chance(weather.loss);
        let twice = self.random.chance(weather.duplication);
        if lost_on_the_way {
            self.time.sleep(REQUEST_TIMEOUT_MS).await;
            return Err(TransportError::TimedOut { server: to });
        }
        if twice {
            let again = self.deliver(&from, key, &to, clone_of(&request));
            let late = self.latency();
            let tasks = self.state.borrow().stations.get(&to).map(|station| station.tasks.clone());
            if let Some(tasks) = tasks {
                tasks.spawn(Box::pin(async move {
                    late.await;
                    drop(again.await);
                }));
            }
        }
        let answer = self.deliver(&from, key, &to, request).await;
        self.latency().await;
        if answer_lost {
            self.time.sleep(REQUEST_TIMEOUT_MS).await;
            return Err(TransportError::TimedOut { server: to });
        }
        match answer {
            Some(answer) if self.linked(&from, &to) => Ok(answer),
            _ => Err(TransportError::Interrupted { server: to, reason: "the link broke".to_owned() }),
        }
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
        self.state.borrow_mut().carried.push((from.to_owned(), to.to_owned(), path, body));
        let (sender, receiver) = oneshot::channel();
        let state = self.state.borrow();
        let Some(station) = state.stations.get(to) else { return Box::pin(async { None }) };
        let homeserver = station.homeserver.clone();
        station.tasks.spawn(Box::pin(async move {
            let Some(homeserver) = homeserver.upgrade() else { return };
            let _ = sender.send(api::handle(&homeserver, request, Origin::Peer(key)).await);
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
        others.into_iter().filter(|other| *other != self.name && self.network.linked(&self.name, other)).collect()
    }

    fn add_address_hints(&self, _server: &ServerName, _addresses: Vec<String>) {}
}

fn clone_of(request: &http::Request<Bytes>) -> http::Request<Bytes> {
    request.clone()
}

/// Enough of a server's name to tell it from others.
pub fn short(name: &ServerName) -> &str {
    &name.as_str()[40..46]
}
