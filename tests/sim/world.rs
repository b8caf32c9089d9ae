//! Homeservers, the people on them, and the loop that runs all of it in virtual time.
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

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
    domain::identity::Identity,
    homeserver::{Homeserver, Options, identity},
    ports::{Environment, Offload, Tasks, offload::Computation},
};

use super::{
    clock::{SimTime, SkewedClock},
    disk::{Doom, SimDisk},
    network::{Network, SimTransport, Station, Weather, short},
    random::Random,
};

/// So often time may move in one run; one that goes on for longer goes in circles.
const STEPS_MAX: u64 = 5_000_000;

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
    identity: Rc<Identity>,
}

/// Somebody with an account, and a session of theirs.
pub struct User {
    pub id: OwnedUserId,
    token: String,
}

/// One homeserver and its people, up or down.
pub struct Server {
    pub name: OwnedServerName,
    /// At least one. The first follows the room through `/sync`.
    pub users: Vec<User>,
    disk: SimDisk,
    skew_ms: Rc<Cell<i64>>,
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
    skew_max_ms: u64,
    /// How often time has moved.
    pub steps: u64,
    /// Servers that ended since somebody asked, by crash or loss of power, and whether it was the latter.
    ended: Vec<(usize, bool)>,
}

impl World {
    pub fn new(seed: u64, weather: Weather, skew_max_ms: u64) -> Self {
        let random = Random::new(seed);
        let time = SimTime::new();
        let network = Network::new(time.clone(), random.fork(), weather);
        Self {
            pool: LocalPool::new(),
            time,
            network,
            random,
            servers: Vec::new(),
            skew_max_ms,
            steps: 0,
            ended: Vec::new(),
        }
    }

    /// A new homeserver with so many users; answers its index.
    pub fn add_server(&mut self, users: usize) -> usize {
        let index = self.servers.len();
        let disk = SimDisk::default();
        let skew_ms = Rc::new(Cell::new(self.draw_skew_ms()));
        let (name, running) = self.boot(&disk, skew_ms.clone()).expect("nothing stops a new server");
        let running = Some(running);
        self.servers.push(Server { name, users: Vec::new(), disk, skew_ms, running, lost_power: false });
        for user in 0..users {
            let body = json!({ "username": format!("user{index}-{user}"), "auth": { "type": "m.login.dummy" } });
            let registered = self.ask_with(index, "POST", "/_matrix/client/v3/register", None, body);
            let (_, registered) = registered.expect("a new server answers");
            let text = |field: &str| registered[field].as_str().expect("registration succeeds").to_owned();
            let id = text("user_id").try_into().expect("a user id");
            self.servers[index].users.push(User { id, token: text("access_token") });
        }
        index
    }

    fn draw_skew_ms(&self) -> i64 {
        self.random.below(2 * self.skew_max_ms) as i64 - self.skew_max_ms as i64
    }

    /// `None` if it died while it started.
    fn boot(&mut self, disk: &SimDisk, skew_ms: Rc<Cell<i64>>) -> Option<(OwnedServerName, Running)> {
        let tasks = Rc::new(SimTasks { spawner: self.pool.spawner(), handles: RefCell::default() });
        let clock = Rc::new(SkewedClock { time: self.time.clone(), skew_ms });
        let entropy = Rc::new(self.random.fork());
        let store = disk.open(self.time.clone(), self.random.fork());
        let network = self.network.clone();
        let starting_tasks = tasks.clone();
        let starting = async move {
            let identity = identity::load_or_create(store.clone(), &*entropy, "alt").await.expect("an identity");
            let identity = Rc::new(identity);
            let (name, key) = (identity.server_name().to_owned(), identity.public_key());
            let transport = Rc::new(SimTransport { network, name: name.clone(), key });
            let tasks = starting_tasks;
            let environment =
                Environment { store, transport, clock, entropy, tasks, offload: Rc::new(Inline), push_gateways: None };
            let homeserver = Homeserver::start(environment, identity.clone(), Options::default()).await;
            (name, homeserver.expect("the homeserver starts"), identity)
        };
        let Some((name, homeserver, identity)) = self.run(&tasks, disk, Box::pin(starting)) else {
            tasks.stop();
            disk.cut_off();
            return None;
        };
        let station = Station { homeserver: Rc::downgrade(&homeserver), tasks: tasks.clone() };
        self.network.go_up(&name, station);
        Some((name, Running { homeserver, tasks, identity }))
    }

    /// Stops a server dead; with `power_loss` some of its relaxed commits are gone as well.
    pub fn crash(&mut self, index: usize, power_loss: bool) {
        let server = &mut self.servers[index];
        let Some(running) = server.running.take() else { return };
        self.network.go_down(&server.name);
        running.tasks.stop();
        server.disk.cut_off();
        let at_stake = server.disk.relaxed_commits();
        let lost = if power_loss && at_stake > 0 { 1 + self.random.below(at_stake as u64) as usize } else { 0 };
        server.disk.lose(lost);
        server.lost_power |= lost > 0;
        self.ended.push((index, lost > 0));
        let how = if lost > 0 { format!("loses power and {lost} commits") } else { "crashes".to_owned() };
        self.network.note(format!("{} {how}", short(&self.servers[index].name)));
    }

    /// The server is to die in one of its next commits.
    pub fn doom(&mut self, index: usize, doom: Option<Doom>) {
        self.servers[index].disk.set_doom(doom);
    }

    /// Servers that crashed since this was asked last, and whether that cost them commits.
    pub fn take_ended(&mut self) -> Vec<(usize, bool)> {
        std::mem::take(&mut self.ended)
    }

    /// Ends the servers that died in a commit.
    fn bury_the_dead(&mut self) {
        for index in 0..self.servers.len() {
            let struck = self.servers[index].disk.struck().filter(|_| self.is_up(index));
            if let Some(doom) = struck {
                self.network.note(format!("{} dies in a commit", short(&self.servers[index].name)));
                self.crash(index, doom.power_loss);
            }
        }
    }

    pub fn restart(&mut self, index: usize) {
        if self.servers[index].running.is_none() {
            let (disk, skew_ms) = (self.servers[index].disk.clone(), self.servers[index].skew_ms.clone());
            let running = self.boot(&disk, skew_ms);
            let how = if running.is_some() { "is back" } else { "dies while it starts" };
            self.network.note(format!("{} {how}", short(&self.servers[index].name)));
            self.servers[index].running = running.map(|(_, running)| running);
        }
    }

    pub fn is_up(&self, index: usize) -> bool {
        self.servers[index].running.is_some()
    }

    /// Sets a server's clock to something else.
    pub fn jump_clock(&mut self, index: usize) {
        let skew_ms = self.draw_skew_ms();
        self.servers[index].skew_ms.set(skew_ms);
        self.network.note(format!("the clock of {} is off by {skew_ms} ms", short(&self.servers[index].name)));
    }

    pub fn homeserver(&self, index: usize) -> Rc<Homeserver> {
        self.servers[index].running.as_ref().expect("the server is up").homeserver.clone()
    }

    /// With the key that the server signs with.
    pub fn identity(&self, index: usize) -> Rc<Identity> {
        self.servers[index].running.as_ref().expect("the server is up").identity.clone()
    }

    /// A request of the server's first user; `None` if it is down, or dies of it.
    pub fn ask(&mut self, index: usize, method: &str, path: &str, body: Value) -> Option<(u16, Value)> {
        self.ask_as(index, 0, method, path, body)
    }

    /// A request of one of the server's users.
    pub fn ask_as(&mut self, index: usize, user: usize, method: &str, path: &str, body: Value) -> Option<(u16, Value)> {
        let token = self.servers[index].users[user].token.clone();
        self.ask_with(index, method, path, Some(token), body)
    }

    fn ask_with(
        &mut self,
        index: usize,
        method: &str,
        path: &str,
        token: Option<String>,
        body: Value,
    ) -> Option<(u16, Value)> {
        let server = &self.servers[index];
        let (running, disk) = (server.running.as_ref()?, server.disk.clone());
        let (homeserver, tasks) = (running.homeserver.clone(), running.tasks.clone());
        let answer = self.run(&tasks, &disk, request(homeserver, method, path, token, body));
        self.bury_the_dead();
        answer
    }

    /// Starts a request of one of the server's users without waiting for it; the answer goes to the log.
    pub fn start(&mut self, index: usize, user: usize, method: &str, path: &str, body: Value) {
        let server = &self.servers[index];
        let Some(running) = &server.running else { return };
        let what = format!("{} {method} {}", short(&server.name), path.split('?').next().unwrap_or(path));
        let token = Some(server.users[user].token.clone());
        let answer = request(running.homeserver.clone(), method, path, token, body);
        let network = self.network.clone();
        running.tasks.spawn(Box::pin(async move {
            let (status, body) = answer.await;
            network.note(format!("{what} = {status} {}", body["errcode"].as_str().unwrap_or_default()));
        }));
    }

    /// Starts a request of the server's first user; what it came to is found in what this returns: status and when.
    pub fn begin(&mut self, index: usize, method: &str, path: &str, body: Value) -> Rc<Cell<Option<(u16, u64)>>> {
        let server = &self.servers[index];
        let running = server.running.as_ref().expect("the server is up");
        let answer = request(running.homeserver.clone(), method, path, Some(server.users[0].token.clone()), body);
        let (came_to, time) = (Rc::new(Cell::new(None)), self.time.clone());
        let slot = came_to.clone();
        running.tasks.spawn(Box::pin(async move { slot.set(Some((answer.await.0, time.elapsed_ms()))) }));
        came_to
    }

    /// Runs `future` to its end in virtual time, or until the server whose task it is has died.
    fn run<T: 'static>(
        &mut self,
        tasks: &Rc<SimTasks>,
        disk: &SimDisk,
        future: LocalBoxFuture<'static, T>,
    ) -> Option<T> {
        let slot = Rc::new(RefCell::new(None));
        let result = slot.clone();
        tasks.spawn(Box::pin(async move { *result.borrow_mut() = Some(future.await) }));
        loop {
            self.pool.run_until_stalled();
            if let Some(result) = slot.borrow_mut().take() {
                return Some(result);
            }
            if disk.struck().is_some() {
                return None;
            }
            self.bury_the_dead();
            assert!(self.advance(u64::MAX), "a request waits for nothing");
        }
    }

    /// Time moves to the next thing that waits for it, if that comes by `until_ms`.
    fn advance(&mut self, until_ms: u64) -> bool {
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "it does not come to an end: time has moved {STEPS_MAX} times");
        self.time.advance(until_ms)
    }

    /// Lets `duration_ms` of virtual time pass.
    pub fn pass(&mut self, duration_ms: u64) {
        let until_ms = self.time.now_ms() + duration_ms;
        loop {
            self.pool.run_until_stalled();
            self.bury_the_dead();
            if !self.advance(until_ms) {
                break;
            }
        }
        self.pool.run_until_stalled();
        self.bury_the_dead();
    }
}

fn request(
    homeserver: Rc<Homeserver>,
    method: &str,
    path: &str,
    token: Option<String>,
    body: Value,
) -> LocalBoxFuture<'static, (u16, Value)> {
    let mut builder = http::Request::builder().method(method).uri(path);
    if let Some(token) = token {
        builder = builder.header("authorization", format!("Bearer {token}"));
    }
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let request = builder.body(body).expect("a valid request");
    Box::pin(async move {
        let (parts, body) = api::handle(&homeserver, request, Origin::Client).await.into_parts();
        (parts.status.as_u16(), serde_json::from_slice(&body).unwrap_or_default())
    })
}
