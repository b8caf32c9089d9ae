//! Clients that only know what `/sync` and `/messages` told them must know their rooms exactly as they are, whatever was
//! done and whenever they looked.
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    harness::{TestServer, TestUser},
    talk::{escaped, filter, ids, list, next_batch, next_txn},
};

const USERS: usize = 3;
const ROOMS: usize = 2;

#[derive(Clone, Debug)]
enum Act {
    Say { user: usize, room: usize },
    Name { user: usize, room: usize },
    Join { user: usize, room: usize },
    Leave { user: usize, room: usize },
    Kick { user: usize, room: usize, target: usize },
    Invite { user: usize, room: usize, target: usize },
    Redact { user: usize, room: usize, back: usize },
    Read { user: usize, room: usize, back: usize },
    Sync { user: usize },
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let (user, room, target) = (0..USERS, 0..ROOMS, 0..USERS);
    prop_oneof![
        8 => (user.clone(), room.clone()).prop_map(|(user, room)| Act::Say { user, room }),
        2 => (user.clone(), room.clone()).prop_map(|(user, room)| Act::Name { user, room }),
        3 => (user.clone(), room.clone()).prop_map(|(user, room)| Act::Join { user, room }),
        1 => (user.clone(), room.clone()).prop_map(|(user, room)| Act::Leave { user, room }),
        1 => (user.clone(), room.clone(), target.clone()).prop_map(|(user, room, target)| Act::Kick { user, room, target }),
        1 => (user.clone(), room.clone(), target).prop_map(|(user, room, target)| Act::Invite { user, room, target }),
        1 => (user.clone(), room.clone(), 0..4usize).prop_map(|(user, room, back)| Act::Redact { user, room, back }),
        2 => (user.clone(), room, 0..4usize).prop_map(|(user, room, back)| Act::Read { user, room, back }),
        5 => user.prop_map(|user| Act::Sync { user }),
        1 => Just(Act::Restart),
    ]
}

/// How a client likes its syncs.
#[derive(Clone, Debug)]
struct Taste {
    limit: usize,
    state_after: bool,
    lazy: bool,
}

fn taste() -> impl Strategy<Value = Taste> {
    (prop_oneof![Just(1usize), Just(3), Just(100)], any::<bool>(), any::<bool>())
        .prop_map(|(limit, state_after, lazy)| Taste { limit, state_after, lazy })
}

#[derive(Default)]
struct KnownRoom {
    joined: bool,
    state: BTreeMap<(String, String), String>,
    timeline: Vec<String>,
    /// By type and user.
    receipts: BTreeMap<(String, String), String>,
    unread: u64,
}

impl KnownRoom {
    fn apply_state(&mut self, events: &Value) {
        for event in list(events) {
            let text = |field: &str| event[field].as_str().unwrap().to_owned();
            self.state.insert((text("type"), text("state_key")), text("event_id"));
        }
    }

    fn apply_receipts(&mut self, ephemeral: &Value) {
        for event in list(ephemeral).iter().filter(|event| event["type"] == "m.receipt") {
            for (event_id, kinds) in event["content"].as_object().unwrap() {
                for (kind, users) in kinds.as_object().unwrap() {
                    for user in users.as_object().unwrap().keys() {
                        self.receipts.insert((kind.clone(), user.clone()), event_id.clone());
                    }
                }
            }
        }
    }
}

/// A client that remembers what it was told and nothing else.
struct Client {
    user: TestUser,
    taste: Taste,
    since: Option<String>,
    rooms: BTreeMap<String, KnownRoom>,
    invited: BTreeSet<String>,
}

impl Client {
    fn sync(&mut self, server: &TestServer) {
        let Taste { limit, state_after, lazy } = self.taste;
        let query = filter(json!({
            "room": { "timeline": { "limit": limit }, "state": { "lazy_load_members": lazy } },
        }));
        let after = if state_after { "&org.matrix.msc4222.use_state_after=true" } else { "" };
        let answer = server.sync(&self.user, self.since.as_deref(), &format!("{query}{after}"));
        let section = |name: &str| answer["rooms"][name].as_object().cloned().unwrap_or_default();
        for (room, _) in section("invite") {
            // Who is invited is in no longer, whatever happened in between.
            if let Some(known) = self.rooms.get_mut(&room) {
                known.joined = false;
            }
            self.invited.insert(room);
        }
        for (room, told) in section("join") {
            self.invited.remove(&room);
            self.apply(server, &room, &told, true);
        }
        for (room, told) in section("leave") {
            self.invited.remove(&room);
            self.apply(server, &room, &told, false);
        }
        self.since = Some(next_batch(&answer));
    }

    fn apply(&mut self, server: &TestServer, room: &str, told: &Value, joined: bool) {
        let fresh = !self.rooms.get(room).is_some_and(|known| known.joined);
        if fresh {
            self.rooms.insert(room.to_owned(), KnownRoom::default());
        }
        let timeline = &told["timeline"];
        let gap = match timeline["limited"] == true {
            // What lies between this timeline and what the client knows.
            true => self.fill(server, room, timeline["prev_batch"].as_str().unwrap(), fresh),
            false => Vec::new(),
        };
        let known = self.rooms.entry(room.to_owned()).or_default();
        known.joined = joined;
        known.timeline.extend(gap);
        known.timeline.extend(ids(&timeline["events"]));
        match told.get("org.matrix.msc4222.state_after") {
            Some(state) => known.apply_state(&state["events"]),
            None => {
                known.apply_state(&told["state"]["events"]);
                let states = list(&timeline["events"]).iter().filter(|event| event["state_key"].is_string());
                known.apply_state(&states.cloned().collect());
            }
        }
        known.apply_receipts(&told["ephemeral"]["events"]);
        if let Some(count) = told["unread_notifications"]["notification_count"].as_u64() {
            known.unread = count;
        }
    }

    fn fill(&self, server: &TestServer, room: &str, prev_batch: &str, fresh: bool) -> Vec<String> {
        let to = self.since.as_ref().filter(|_| !fresh).map(|since| format!("&to={since}")).unwrap_or_default();
        let mut gap = Vec::new();
        let mut from = Some(prev_batch.to_owned());
        while let Some(place) = from {
            let page = server.messages(&self.user, room, &format!("dir=b&limit=3&from={place}{to}"));
            gap.extend(ids(&page["chunk"]));
            from = page["end"].as_str().map(ToOwned::to_owned);
        }
        gap.reverse();
        gap
    }

    /// Holds what the client knows against what the server says when asked directly.
    fn check(&self, server: &TestServer, truth: &Truth) {
        let path = "/_matrix/client/v3/joined_rooms";
        let joined = server.get(path, &self.user.token).ok()["joined_rooms"].clone();
        let joined: BTreeSet<String> = list(&joined).iter().map(|room| room.as_str().unwrap().to_owned()).collect();
        let known: BTreeSet<String> =
            self.rooms.iter().filter(|(_, known)| known.joined).map(|(room, _)| room.clone()).collect();
        assert_eq!(known, joined, "{} knows where it is", self.user.id);
        for room in joined {
            let known = &self.rooms[&room];
            let page = server.messages(&self.user, &room, "dir=f&limit=500");
            assert_eq!(known.timeline, ids(&page["chunk"]), "{} in {room}", self.user.id);
            self.check_state(server, &room, known);
            assert_eq!(known.unread, truth.unread(&self.user, &room, list(&page["chunk"])), "{} unread", self.user.id);
            let expected = truth.receipts.get(&room).cloned().unwrap_or_default();
            assert_eq!(known.receipts, expected, "{} receipts in {room}", self.user.id);
        }
    }

    fn check_state(&self, server: &TestServer, room: &str, known: &KnownRoom) {
        let state = server.get(&format!("/_matrix/client/v3/rooms/{}/state", escaped(room)), &self.user.token).ok();
        let mut expected = KnownRoom::default();
        expected.apply_state(&state);
        if !self.taste.lazy {
            assert_eq!(known.state, expected.state, "{} in {room}", self.user.id);
            return;
        }
        for (place, event) in &known.state {
            assert_eq!(expected.state.get(place), Some(event), "{} in {room}: {place:?}", self.user.id);
        }
        for place in expected.state.keys().filter(|(kind, key)| kind != "m.room.member" || *key == self.user.id) {
            assert!(known.state.contains_key(place), "{} in {room}: {place:?}", self.user.id);
        }
    }
}

/// What the test did, as far as answers do not tell.
#[derive(Default)]
struct Truth {
    /// By room, then type and user.
    receipts: BTreeMap<String, BTreeMap<(String, String), String>>,
}

impl Truth {
    /// Messages of others since the user last spoke, read or was away.
    fn unread(&self, user: &TestUser, room: &str, timeline: &[Value]) -> u64 {
        let receipt = self.receipts.get(room).and_then(|room| room.get(&("m.read".to_owned(), user.id.clone())));
        let mut joined = false;
        let mut unread = 0;
        for event in timeline {
            let own = event["sender"] == user.id.as_str();
            if event["type"] == "m.room.member" && event["state_key"] == user.id.as_str() {
                joined = event["content"]["membership"] == "join";
                if !joined {
                    unread = 0;
                }
            } else if event.get("state_key").is_none() && own {
                unread = 0;
            } else if event["type"] == "m.room.message" && joined {
                // What was taken back is not unread.
                unread += u64::from(event["content"].get("body").is_some());
            }
            if receipt.is_some_and(|receipt| event["event_id"] == receipt.as_str()) {
                unread = 0;
            }
        }
        unread
    }
}

struct World {
    server: TestServer,
    users: Vec<TestUser>,
    rooms: Vec<String>,
    truth: Truth,
    names: usize,
}

impl World {
    fn new() -> Self {
        let server = TestServer::new();
        let users: Vec<_> = (0..USERS).map(|n| server.register(&format!("user{n}"))).collect();
        let rooms = ["shared", "invited"].map(|visibility| {
            let visibility = json!({ "history_visibility": visibility });
            let state = json!([{ "type": "m.room.history_visibility", "content": visibility }]);
            server.create_room(&users[0], json!({ "preset": "public_chat", "initial_state": state }))
        });
        Self { server, users, rooms: rooms.into(), truth: Truth::default(), names: 0 }
    }

    /// Tries something. That it may be refused is part of the game.
    fn act(&mut self, act: &Act, clients: &mut [Client]) {
        match act {
            Act::Say { user, room } => {
                let path = format!("send/m.room.message/{}", next_txn());
                self.put(*user, *room, &path, json!({ "msgtype": "m.text", "body": "x" }));
            }
            Act::Name { user, room } => {
                self.names += 1;
                self.put(*user, *room, "state/m.room.name", json!({ "name": self.names.to_string() }));
            }
            Act::Join { user, room } => self.post(*user, *room, "join", json!({})),
            Act::Leave { user, room } => self.post(*user, *room, "leave", json!({})),
            Act::Kick { user, room, target } => {
                self.post(*user, *room, "kick", json!({ "user_id": self.users[*target].id }));
            }
            Act::Invite { user, room, target } => {
                self.post(*user, *room, "invite", json!({ "user_id": self.users[*target].id }));
            }
            Act::Redact { user, room, back } => {
                let Some(event) = self.recent(*user, *room, *back) else { return };
                self.put(
                    *user,
                    *room,
                    &format!("redact/{}/{}", escaped(event["event_id"].as_str().unwrap()), next_txn()),
                    json!({}),
                );
            }
            Act::Read { user, room, back } => self.read(*user, *room, *back),
            Act::Sync { user } => clients[*user].sync(&self.server),
            Act::Restart => self.server = TestServer::on(self.server.disk.clone()),
        }
    }

    fn put(&self, user: usize, room: usize, rest: &str, body: Value) {
        let path = format!("/_matrix/client/v3/rooms/{}/{rest}", escaped(&self.rooms[room]));
        self.server.put(&path, &self.users[user].token, body);
    }

    fn post(&self, user: usize, room: usize, rest: &str, body: Value) {
        let path = format!("/_matrix/client/v3/rooms/{}/{rest}", escaped(&self.rooms[room]));
        self.server.post(&path, &self.users[user].token, body);
    }

    /// One of the latest events of a room that the user is in.
    fn recent(&self, user: usize, room: usize, back: usize) -> Option<Value> {
        let path = format!("/_matrix/client/v3/rooms/{}/messages?dir=b&limit=4", escaped(&self.rooms[room]));
        let answer = self.server.get(&path, &self.users[user].token);
        (answer.status == 200).then(|| list(&answer.body["chunk"]).get(back).cloned()).flatten()
    }

    fn read(&mut self, user: usize, room: usize, back: usize) {
        let Some(event) = self.recent(user, room, back) else { return };
        let event = event["event_id"].as_str().unwrap();
        let (user, room) = (&self.users[user], &self.rooms[room]);
        let all = self.server.messages(user, room, "dir=f&limit=500");
        let place = |id: &str| ids(&all["chunk"]).iter().position(|other| other == id);
        if self.server.read(user, room, "m.read", event, json!({})).status != 200 {
            return;
        }
        let receipts = self.truth.receipts.entry(room.clone()).or_default();
        let latest = receipts.entry(("m.read".to_owned(), user.id.clone())).or_insert_with(|| event.to_owned());
        if place(event) > place(latest) {
            *latest = event.to_owned();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_client_knows_its_rooms_as_they_are(
        acts in prop::collection::vec(act(), 1..70),
        tastes in prop::collection::vec(taste(), USERS),
    ) {
        let mut world = World::new();
        let users = world.users.iter().cloned().zip(tastes);
        let mut clients: Vec<Client> = users
            .map(|(user, taste)| Client { user, taste, since: None, rooms: BTreeMap::new(), invited: BTreeSet::new() })
            .collect();
        for act in &acts {
            world.act(act, &mut clients);
        }
        for client in &mut clients {
            client.sync(&world.server);
            client.check(&world.server, &world.truth);
        }
    }
}
