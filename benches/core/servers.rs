//! Homeservers on memory disks, each with one user, driven through the API as a client would.
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use bytes::Bytes;
use futures::{FutureExt, executor::LocalPool, task::LocalSpawnExt};
use http::StatusCode;
use ruma::{OwnedEventId, RoomId};
use serde_json::{Value, json};
use warren::{
    api::{self, Origin},
    domain::identity::{DEFAULT_SUFFIX, PublicKey},
    homeserver::{Homeserver, Options, identity, inspect::InspectedRoom},
    ports::{Clock, Environment},
    storage::memory::MemoryDisk,
};

use super::{
    counted_store::{CountedStore, Counts},
    shell::{Inline, PoolTasks, SeededEntropy, SystemClock},
    wire::{End, Wire},
};

/// The loop that runs all homeservers of a benchmark, and the wire between them.
#[derive(Default)]
pub struct Servers {
    pool: LocalPool,
    pub wire: Wire,
    started: u64,
}

/// One homeserver and the access token of its user.
pub struct Server {
    pub homeserver: Rc<Homeserver>,
    pub key: PublicKey,
    pub disk: MemoryDisk,
    counts: Rc<Cell<Counts>>,
    token: String,
}

/// A request that was started and may not have been answered yet.
pub struct Pending(Rc<RefCell<Option<api::Response>>>);

impl Pending {
    pub fn is_answered(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// The answer's body; panics if there is none yet or it is an error.
    pub fn take(self) -> Value {
        json_of(self.0.take().expect("an answer"))
    }
}

impl Servers {
    pub fn start(&mut self) -> Server {
        self.started += 1;
        let (tasks, wire, seed) = (Rc::new(PoolTasks(self.pool.spawner())), self.wire.clone(), self.started << 32);
        let disk = MemoryDisk::default();
        let counts = Rc::<Cell<Counts>>::default();
        let store = Rc::new(CountedStore { inner: disk.open(), counts: counts.clone() });
        let (key, homeserver) = self.pool.run_until(async move {
            let entropy = Rc::new(SeededEntropy(Cell::new(seed)));
            let identity =
                identity::load_or_create(store.clone(), &*entropy, DEFAULT_SUFFIX).await.expect("an identity");
            let key = identity.public_key();
            let end = Rc::new(End { wire, key, name: identity.server_name().to_owned() });
            let (clock, offload) = (Rc::new(SystemClock), Rc::new(Inline));
            let environment =
                Environment { store, transport: end, clock, entropy, tasks, offload, push_gateways: None };
            let started = Homeserver::start(environment, Rc::new(identity), Options::default()).await;
            (key, started.expect("the homeserver starts"))
        });
        self.wire.attach(&homeserver);
        let mut server = Server { homeserver, key, disk, counts, token: String::new() };
        let body = json!({ "username": "ada", "auth": { "type": "m.login.dummy" } });
        let registered = self.client(&server, "POST", "/_matrix/client/v3/register", body);
        server.token = registered["access_token"].as_str().expect("a token").to_owned();
        server
    }

    /// A client's request; its answer must be 200.
    pub fn client(&mut self, server: &Server, method: &str, path: &str, body: Value) -> Value {
        let request = server.request(method, path, body.to_string());
        json_of(self.run(server, request, Origin::Client))
    }

    /// Runs one request to its answer, and everything it set off.
    pub fn run(&mut self, server: &Server, request: api::Request, origin: Origin) -> api::Response {
        let response = self.pool.run_until(api::handle(&server.homeserver, request, origin));
        self.settle();
        response
    }

    /// Starts a client's request and runs until everything waits.
    pub fn begin(&mut self, server: &Server, method: &str, path: &str) -> Pending {
        let slot = Rc::new(RefCell::new(None));
        let (homeserver, answered) = (server.homeserver.clone(), slot.clone());
        let request = server.request(method, path, "");
        let task = async move { api::handle(&homeserver, request, Origin::Client).await };
        let task = task.map(move |response| drop(answered.replace(Some(response))));
        self.pool.spawner().spawn_local(task).expect("the pool is there");
        self.settle();
        Pending(slot)
    }

    /// Runs until everything waits.
    pub fn settle(&mut self) {
        self.pool.run_until_stalled();
    }

    /// Runs everything for this long.
    pub fn sleep_ms(&mut self, duration_ms: u64) {
        self.pool.run_until(SystemClock.sleep_ms(duration_ms));
        self.settle();
    }

    /// What a room of `server` looks like, and the events of its state as they are stored.
    pub fn inspect(&mut self, server: &Server, room: &str) -> (InspectedRoom, BTreeMap<OwnedEventId, String>) {
        let room = RoomId::parse(room).expect("a room id");
        self.pool.run_until(async {
            let inspected = server.homeserver.inspect_room(&room).await.expect("a store").expect("a room");
            let mut events = BTreeMap::new();
            for id in inspected.state.values() {
                let event = server.homeserver.inspect_event(id).await.expect("a store").expect("an event of the state");
                events.insert(id.clone(), event.json);
            }
            (inspected, events)
        })
    }

    /// A new public room of `server`.
    pub fn create_room(&mut self, server: &Server) -> String {
        let answer = self.client(server, "POST", "/_matrix/client/v3/createRoom", json!({ "preset": "public_chat" }));
        answer["room_id"].as_str().expect("a room id").to_owned()
    }
}

impl Server {
    /// How often its store was asked, since the beginning.
    pub fn store_counts(&self) -> Counts {
        self.counts.get()
    }

    /// A request of this server's user.
    pub fn request(&self, method: &str, path: &str, body: impl Into<Bytes>) -> api::Request {
        let builder = http::Request::builder().method(method).uri(path);
        let builder = match self.token.as_str() {
            "" => builder,
            token => builder.header("authorization", format!("Bearer {token}")),
        };
        builder.body(body.into()).expect("a request")
    }

    /// A message of a usual length, the `number`th in its room.
    pub fn message(&self, room: &str, number: usize) -> api::Request {
        let text = format!("Message {number}: the quick brown fox jumps over the lazy dog, and the dog sleeps on.");
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/m{number}");
        self.request("PUT", &path, json!({ "msgtype": "m.text", "body": text }).to_string())
    }
}

pub fn json_of(response: api::Response) -> Value {
    let status = response.status();
    let body: Value = serde_json::from_slice(response.body()).expect("every answer is JSON");
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}
