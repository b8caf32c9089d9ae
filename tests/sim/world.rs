//! Homeservers, the people on them, and the loop that runs all of it in virtual time.
use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use futures::{
    executor::{LocalPool, LocalSpawner},
    future::{AbortHandle, LocalBoxFuture, abortable, ready},
    task::LocalSpawnExt,
};
use ruma::{OwnedServerName, OwnedUserId};
use serde_json::{Value, json};
use warren::{
    api::{self, Origin},
    homeserver::{Homeserver, Options, identity},
    ports::{Environment, Offload, Tasks, offload::Computation},
};

use super::{
    clock::{SimTime, SkewedClock},
    disk::SimDisk,
    network::{Network, SimTransport, Station, Weather, short},
    random::Random,
};

/// Clocks are off by up to this much either way.
const SKEW_MAX_MS: u64 = 5_000;

/// The tasks of one run of one server; they end with it.
struct SimTasks {
    spawner: LocalSpawner,
    handles: RefCell<Vec<AbortHandle>>,
}

impl Tasks for SimTasks {
    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        let (task, handle) = abortable(task);
        self.handles.borrow_mut().push(handle);
        self.spawner
            .spawn_local(async move {
                let _ended_or_stopped = task.await;
            })
            .expect("the pool outlives the servers");
    }
}

impl SimTasks {
    fn stop(&self) {
        self.handles.borrow_mut().drain(..).for_each(|handle| handle.abort());
    }
}

struct Inline;

impl Offload for Inline {
    fn run(&self, work: Computation) -> LocalBoxFuture<'static, Vec<u8>> {
        Box::pin(ready(work()))
    }
}

struct Running {
    homeserver: Rc<Homeserver>,
    tasks: Rc<SimTasks>,
}

/// One homeserver with one user, up or down.
pub struct Server {
    pub name: OwnedServerName,
    pub user: OwnedUserId,
    token: String,
    disk: SimDisk,
    skew_ms: i64,
    running: Option<Running>,
    /// Whether a crash has cost it acknowledged but relaxed commits.
    pub lost_power: bool,
}

pub struct World {
    pool: LocalPool,
    pub time: SimTime,
    pub network: Network,
    pub random: Random,
    pub servers: Vec<Server>,
}

impl World {
    pub fn new(seed: u64, server_count: usize, weather: Weather) -> Self {
        let random = Random::new(seed);
        let time = SimTime::new();
        let network = Network::new(time.clone(), random.fork(), weather);
        let mut world = Self { pool: LocalPool::new(), time, network, random, servers: Vec::new() };
        for index in 0..server_count {
            world.add_server(index);
        }
        world
    }

    fn add_server(&mut self, index: usize) {
        let skew_ms = self.random.below(2 * SKEW_MAX_MS) as i64 - SKEW_MAX_MS as i64;
        let disk = SimDisk::default();
        let (name, running) = self.boot(&disk, skew_ms);
        let body = json!({ "username": format!("user{index}"), "auth": { "type": "m.login.dummy" } });
        let homeserver = running.homeserver.clone();
        let registered = self.run(request(homeserver, "POST", "/_matrix/client/v3/register", None, body));
        let (_, registered) = registered.expect("a new server answers");
        let text = |field: &str| registered[field].as_str().expect("registration succeeds").to_owned();
        let user = text("user_id").try_into().expect("a user id");
        let token = text("access_token");
        self.servers.push(Server { name, user, token, disk, skew_ms, running: Some(running), lost_power: false });
    }

    fn boot(&mut self, disk: &SimDisk, skew_ms: i64) -> (OwnedServerName, Running) {
        let tasks = Rc::new(SimTasks { spawner: self.pool.spawner(), handles: RefCell::default() });
        let clock = Rc::new(SkewedClock { time: self.time.clone(), skew_ms });
        let entropy = Rc::new(self.random.fork());
        let store = disk.open(self.time.clone(), self.random.fork());
        let network = self.network.clone();
        let starting_tasks = tasks.clone();
        let starting = async move {
            let identity = identity::load_or_create(store.clone(), &*entropy, "alt").await.expect("an identity");
            let (name, key) = (identity.server_name().to_owned(), identity.public_key());
            let transport = Rc::new(SimTransport { network, name: name.clone(), key });
            let tasks = starting_tasks;
            let environment =
                Environment { store, transport, clock, entropy, tasks, offload: Rc::new(Inline), push_gateways: None };
            let homeserver = Homeserver::start(environment, Rc::new(identity), Options::default()).await;
            (name, homeserver.expect("the homeserver starts"))
        };
        let (name, homeserver) = self.run(Box::pin(async move { Some(starting.await) })).expect("it starts");
        let station = Station { homeserver: Rc::downgrade(&homeserver), tasks: tasks.clone() };
        self.network.go_up(&name, station);
        (name, Running { homeserver, tasks })
    }

    /// Stops a server dead; with `power_loss` its relaxed commits are gone as well.
    pub fn crash(&mut self, index: usize, power_loss: bool) {
        let server = &mut self.servers[index];
        let Some(running) = server.running.take() else { return };
        self.network.go_down(&server.name);
        running.tasks.stop();
        server.disk.cut_off();
        let lost = power_loss && server.disk.lose_relaxed();
        server.lost_power |= lost;
        let how = if lost { "loses power" } else { "crashes" };
        self.network.note(format!("{} {how}", short(&self.servers[index].name)));
    }

    pub fn restart(&mut self, index: usize) {
        if self.servers[index].running.is_none() {
            let (disk, skew_ms) = (self.servers[index].disk.clone(), self.servers[index].skew_ms);
            let (_, running) = self.boot(&disk, skew_ms);
            self.network.note(format!("{} is back", short(&self.servers[index].name)));
            self.servers[index].running = Some(running);
        }
    }

    pub fn is_up(&self, index: usize) -> bool {
        self.servers[index].running.is_some()
    }

    pub fn homeserver(&self, index: usize) -> Rc<Homeserver> {
        self.servers[index].running.as_ref().expect("the server is up").homeserver.clone()
    }

    /// A request of the server's user; `None` if it is down.
    pub fn ask(&mut self, index: usize, method: &str, path: &str, body: Value) -> Option<(u16, Value)> {
        let homeserver = self.servers[index].running.as_ref()?.homeserver.clone();
        let token = self.servers[index].token.clone();
        self.run(request(homeserver, method, path, Some(token), body))
    }

    /// Starts a request of the server's user without waiting for it; the answer goes to the log.
    pub fn start(&mut self, index: usize, method: &str, path: &str, body: Value) {
        let Some(running) = &self.servers[index].running else { return };
        let what = format!("{} {method} {}", short(&self.servers[index].name), path.split('?').next().unwrap_or(path));
        let answer = request(running.homeserver.clone(), method, path, Some(self.servers[index].token.clone()), body);
        let network = self.network.clone();
        running.tasks.spawn(Box::pin(async move {
            if let Some((status, body)) = answer.await {
                network.note(format!("{what} = {status} {}", body["errcode"].as_str().unwrap_or_default()));
            }
        }));
    }

    /// Runs `future` to its end in virtual time.
    fn run<T: 'static>(&mut self, future: LocalBoxFuture<'static, Option<T>>) -> Option<T> {
        let slot = Rc::new(RefCell::new(None));
        let result = slot.clone();
        let task = async move { *result.borrow_mut() = Some(future.await) };
        self.pool.spawner().spawn_local(task).expect("the pool runs");
        loop {
            self.pool.run_until_stalled();
            if let Some(result) = slot.borrow_mut().take() {
                return result;
            }
            assert!(self.time.advance(u64::MAX), "a request waits for nothing");
        }
    }

    /// Lets `duration_ms` of virtual time pass.
    pub fn pass(&mut self, duration_ms: u64) {
        let until_ms = self.time.now_ms() + duration_ms;
        loop {
            self.pool.run_until_stalled();
            if !self.time.advance(until_ms) {
                break;
            }
        }
        self.pool.run_until_stalled();
    }
}

fn request(
    homeserver: Rc<Homeserver>,
    method: &str,
    path: &str,
    token: Option<String>,
    body: Value,
) -> LocalBoxFuture<'static, Option<(u16, Value)>> {
    let mut builder = http::Request::builder().method(method).uri(path);
    if let Some(token) = token {
        builder = builder.header("authorization", format!("Bearer {token}"));
    }
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let request = builder.body(body).expect("a valid request");
    Box::pin(async move {
        let (parts, body) = api::handle(&homeserver, request, Origin::Client).await.into_parts();
        Some((parts.status.as_u16(), serde_json::from_slice(&body).unwrap_or_default()))
    })
}
