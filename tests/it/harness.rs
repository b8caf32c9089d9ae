//! One homeserver on a memory disk, driven by requests.
use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use futures::{FutureExt, executor::LocalPool};
use http::{HeaderMap, StatusCode};
use ruma::ServerName;
use serde_json::{Value, json};
use warren::{
    api::{self, Origin},
    domain::identity::{DEFAULT_SUFFIX, PublicKey},
    homeserver::{Homeserver, Options, identity},
    ports::{Environment, PushGateways, StoreError, Tasks, Transport},
    storage::memory::MemoryDisk,
};

use crate::fakes::{FakeClock, FakeGateways, FaultyStore, Inline, NobodyThere, PoolTasks, SeededEntropy};

/// An answer: status, headers, and the body as JSON (`null` if it is empty).
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The `errcode` of an error, or "".
    pub fn errcode(&self) -> &str {
        self.body["errcode"].as_str().unwrap_or_default()
    }

    /// The body, if the status is 200; panics with the body otherwise.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// Panics unless the answer is this error.
    #[track_caller]
    pub fn is_error(&self, status: u16, errcode: &str) {
        assert_eq!((self.status.as_u16(), self.errcode()), (status, errcode), "{}", self.body);
        assert!(self.body["error"].as_str().is_some_and(|text| !text.is_empty()), "an error says what happened");
    }
}

/// A request that has been started and may not have been answered yet.
pub struct Pending(Rc<RefCell<Option<Answer>>>);

impl Pending {
    /// The answer, if there is one by now.
    pub fn take(&self) -> Option<Answer> {
        self.0.borrow_mut().take()
    }
}

/// A user of the homeserver with one device.
#[derive(Clone, Debug)]
pub struct TestUser {
    pub id: String,
    pub device: String,
    pub token: String,
}

/// What homeservers of one test share: the loop that runs them, and time.
#[derive(Clone)]
pub struct Surroundings {
    pub pool: Rc<RefCell<LocalPool>>,
    pub clock: Rc<FakeClock>,
    /// `None` where gateways are out of reach, as in a tab.
    pub gateways: Option<Rc<FakeGateways>>,
}

impl Surroundings {
    pub fn new() -> Self {
        Self { pool: Rc::new(RefCell::new(LocalPool::new())), clock: FakeClock::new(), gateways: Some(Rc::default()) }
    }
}

/// One homeserver and the loop that runs it.
pub struct TestServer {
    pub homeserver: Rc<Homeserver>,
    pub clock: Rc<FakeClock>,
    /// What carries its requests, unless it is part of a network.
    pub transport: Rc<NobodyThere>,
    pub gateways: Rc<FakeGateways>,
    pub disk: MemoryDisk,
    pub store: Rc<FaultyStore>,
    pub tasks: Rc<PoolTasks>,
    pool: Rc<RefCell<LocalPool>>,
}

impl TestServer {
    pub fn new() -> Self {
        Self::on(MemoryDisk::default())
    }

    /// A homeserver on a disk that may hold a profile already, as after a restart.
    pub fn on(disk: MemoryDisk) -> Self {
        Self::with(disk, Options::default())
    }

    pub fn with(disk: MemoryDisk, options: Options) -> Self {
        let transport = Rc::new(NobodyThere::default());
        let server = Self::start_in(&Surroundings::new(), disk, transport.clone(), 0, options);
        Self { transport, ..server }
    }

    /// A homeserver among others. Equal `seed`s make equal keys.
    pub fn start_in(
        surroundings: &Surroundings,
        disk: MemoryDisk,
        transport: Rc<dyn Transport>,
        seed: u64,
        options: Options,
    ) -> Self {
        crate::refusals::listen();
        let Surroundings { pool, clock, gateways } = surroundings.clone();
        let tasks = Rc::new(PoolTasks::new(pool.borrow().spawner()));
        let store = Rc::new(FaultyStore::new(disk.open()));
        let environment = Environment {
            store: store.clone(),
            transport,
            clock: clock.clone(),
            entropy: Rc::new(SeededEntropy::new(seed)),
            tasks: tasks.clone(),
            offload: Rc::new(Inline),
            push_gateways: gateways.clone().map(|gateways| gateways as Rc<dyn PushGateways>),
        };
        let homeserver = pool.borrow_mut().run_until(async {
            let identity =
                identity::load_or_create(environment.store.clone(), &*environment.entropy, DEFAULT_SUFFIX).await;
            Homeserver::start(environment, Rc::new(identity.unwrap()), options).await.unwrap()
        });
        Self {
            homeserver,
            clock,
            transport: Rc::default(),
            gateways: gateways.unwrap_or_default(),
            disk,
            store,
            tasks,
            pool,
        }
    }

    pub fn server_name(&self) -> &ServerName {
        self.homeserver.server_name()
    }

    /// A client's request, run to its answer.
    pub fn request(&self, method: &str, path: &str, token: Option<&str>, body: Value) -> Answer {
        self.send(request(method, path, token, body.to_string()))
    }

    pub fn get(&self, path: &str, token: &str) -> Answer {
        self.send(request("GET", path, Some(token), ""))
    }

    pub fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.request("POST", path, Some(token), body)
    }

    pub fn put(&self, path: &str, token: &str, body: Value) -> Answer {
        self.request("PUT", path, Some(token), body)
    }

    pub fn delete(&self, path: &str, token: &str) -> Answer {
        self.send(request("DELETE", path, Some(token), ""))
    }

    /// Any request of a client, as it stands.
    #[track_caller]
    pub fn send(&self, request: api::Request) -> Answer {
        self.answered(self.queue_as(Origin::Client, request))
    }

    /// A request that came by the connection of a peer, as it stands.
    #[track_caller]
    pub fn send_as(&self, peer: PublicKey, request: api::Request) -> Answer {
        self.answered(self.queue_as(Origin::Peer(peer), request))
    }

    /// A request that came from `origin`, as it stands.
    #[track_caller]
    pub fn send_by(&self, origin: Origin, request: api::Request) -> Answer {
        self.answered(self.queue_as(origin, request))
    }

    /// A request that came by a gateway, as it stands.
    #[track_caller]
    pub fn send_through(&self, gateway: PublicKey, request: api::Request) -> Answer {
        self.answered(self.queue_as(Origin::Gateway(gateway), request))
    }

    #[track_caller]
    fn answered(&self, pending: Pending) -> Answer {
        self.settle();
        pending.take().expect("the request waits for something that does not come by itself")
    }

    /// From now on commits fail with `fault`, or succeed again.
    pub fn set_fault(&self, fault: Option<StoreError>) {
        self.store.fault.replace(fault);
    }

    /// From now on every operation of the store takes a while, each another, as the seed says.
    pub fn make_slow(&self, seed: u64) {
        self.store.slowness.set(Some(seed));
    }

    /// How often the store was read since the start.
    pub fn reads(&self) -> usize {
        self.store.reads.get()
    }

    /// Starts a request that may wait, such as a long poll, and runs until everything waits.
    pub fn start(&self, method: &str, path: &str, token: Option<&str>) -> Pending {
        let pending = self.queue(request(method, path, token, ""));
        self.settle();
        pending
    }

    /// Has a request ready to run beside others; the next `settle` runs it.
    pub fn queue(&self, request: api::Request) -> Pending {
        self.queue_as(Origin::Client, request)
    }

    pub fn queue_as(&self, origin: Origin, request: api::Request) -> Pending {
        let slot = Rc::new(RefCell::new(None));
        let answered = slot.clone();
        let answering = answer(self.homeserver.clone(), request, origin);
        self.tasks.spawn(Box::pin(answering.map(move |answer| drop(answered.replace(Some(answer))))));
        Pending(slot)
    }

    /// Runs until everything waits.
    pub fn settle(&self) {
        self.pool.borrow_mut().run_until_stalled();
    }

    /// Moves the clock and runs until everything waits.
    pub fn advance(&self, ms: u64) {
        self.clock.advance(ms);
        self.settle();
    }

    /// Runs `future`, and whatever tasks are ready, until it is done.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.pool.borrow_mut().run_until(future)
    }

    /// Polls `future` this often at most, running other tasks a step at a time in between.
    pub fn run_a_little<T>(&self, polls: usize, future: &mut (impl Future<Output = T> + Unpin)) {
        for _ in 0..polls {
            if future.now_or_never().is_some() {
                return;
            }
            self.pool.borrow_mut().try_run_one();
        }
    }

    /// Registers a user without a password.
    pub fn register(&self, username: &str) -> TestUser {
        self.register_as(json!({ "username": username }))
    }

    pub fn register_with_password(&self, username: &str, password: &str) -> TestUser {
        self.register_as(json!({ "username": username, "password": password }))
    }

    fn register_as(&self, mut body: Value) -> TestUser {
        body["auth"] = json!({ "type": "m.login.dummy" });
        let body = self.request("POST", "/_matrix/client/v3/register", None, body).ok();
        let text = |field: &str| body[field].as_str().unwrap().to_owned();
        TestUser { id: text("user_id"), device: text("device_id"), token: text("access_token") }
    }
}

/// A request with a body as it goes over the wire.
pub fn request(method: &str, path: &str, token: Option<&str>, body: impl Into<Bytes>) -> api::Request {
    let mut builder = http::Request::builder().method(method).uri(path);
    if let Some(token) = token {
        builder = builder.header("authorization", format!("Bearer {token}"));
    }
    builder.body(body.into()).unwrap()
}

async fn answer(homeserver: Rc<Homeserver>, request: api::Request, origin: Origin) -> Answer {
    let (parts, body) = api::handle(&homeserver, request, origin).await.into_parts();
    let body = match &*body {
        b"" => Value::Null,
        bytes => serde_json::from_slice(bytes).expect("every answer with a body is JSON"),
    };
    Answer { status: parts.status, headers: parts.headers, body }
}
