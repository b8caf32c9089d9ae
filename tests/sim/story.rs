//! One run: people meet in a room, the network misbehaves, servers die, one may lie; then all is well again and everybody
//! must agree.
use std::rc::Rc;

use ruma::{EventId, OwnedEventId, OwnedRoomId};
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use super::{
    audience::Audience,
    disk::Doom,
    liar::Liar,
    network::{Carried, Weather, short},
    oracle::{self, Verdicts},
    plan::Plan,
    random::Random,
    world::World,
};

const MINUTE_MS: u64 = 60_000;
/// A server that is to die does so in one of its next commits.
const DOOM_COMMITS_MAX: u64 = 30;

pub struct Report {
    pub log: Vec<String>,
    /// Verdicts on the events of the room, by whoever has them.
    pub verdicts: Verdicts,
    /// How often time moved.
    pub steps: u64,
}

/// A message whose sender was told that it is sent.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub event_id: OwnedEventId,
    pub server: usize,
}

pub struct Story {
    pub world: World,
    pub plan: Plan,
    random: Random,
    pub room_id: OwnedRoomId,
    pub sent: Vec<Acknowledged>,
    /// By server and user: who was in the room all the time.
    faithful: Vec<Vec<bool>>,
    partitioned: bool,
    /// Whether servers disagreed about the room at some time.
    diverged: bool,
    transactions: u64,
    /// What everybody in the room has read in the end.
    pub last_read: Option<OwnedEventId>,
    /// Who follows all this through `/sync`.
    audience: Audience,
    /// Every transaction that was carried.
    pub carried: Vec<Carried>,
    /// A server that is never in the room.
    pub stranger: usize,
    /// A server that is in the room and lies.
    pub liar: Option<Rc<Liar>>,
}

pub fn run(seed: u64) -> Report {
    // With RUST_LOG set, the servers tell what they do.
    let _ = tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).without_time().try_init();
    let mut story = Story::begin(Plan::draw(seed));
    story.fall_out();
    for _ in 0..story.plan.actions {
        story.act();
        if let Some(liar) = story.liar.clone() {
            liar.speak(&mut story);
        }
        let pause_ms = story.random.below(3_000);
        story.world.pass(pause_ms);
        story.look();
    }
    // A network that never disagreed proves nothing about agreeing.
    assert!(story.diverged, "the servers agreed all the time");
    story.make_peace();
    story.rest();
    oracle::check(&mut story);
    let present = oracle::present(&mut story);
    story.audience.check(&mut story.world, &present);
    let state = oracle::fingerprint(&mut story);
    story.world.network.note(state);
    let verdicts = oracle::verdicts(&mut story);
    Report { log: story.world.network.take_log(), verdicts, steps: story.world.steps }
}

impl Story {
    fn begin(plan: Plan) -> Self {
        let random = Random::new(plan.seed ^ 0xC0FF_EE00);
        let mut world = World::new(plan.seed, plan.weather, plan.skew_max_ms);
        world.network.note(format!("{plan:?}"));
        (0..plan.servers).for_each(|_| _ = world.add_server(plan.users));
        let ghosts = (plan.ghosts > 0).then(|| world.add_server(plan.ghosts));
        let stranger = world.add_server(1);
        let create = json!({ "preset": "public_chat", "name": "A room", "room_version": plan.room_version });
        let (status, body) = world.ask(0, "POST", "/_matrix/client/v3/createRoom", create).expect("server 0 is up");
        assert_eq!(status, 200, "{body}");
        let room_id: OwnedRoomId = body["room_id"].as_str().expect("a room id").try_into().expect("a room id");
        let mut story = Self {
            audience: Audience::new(room_id.as_str(), plan.servers),
            faithful: vec![vec![true; plan.users]; plan.servers],
            world,
            plan,
            random,
            room_id,
            sent: Vec::new(),
            partitioned: false,
            diverged: false,
            transactions: 0,
            last_read: None,
            carried: Vec::new(),
            stranger,
            liar: None,
        };
        if let Some(ghosts) = ghosts {
            (0..story.plan.ghosts).for_each(|user| story.join_until_in(ghosts, user));
            story.world.crash(ghosts, false);
        }
        story.make_stranger_known();
        for user in 0..story.plan.users {
            (0..story.plan.servers)
                .filter(|server| (*server, user) != (0, 0))
                .for_each(|s| story.join_until_in(s, user));
        }
        let liar = story.plan.liar.map(|_| story.world.add_server(1));
        liar.into_iter().for_each(|server| story.join_until_in(server, 0));
        story.share_power(liar);
        story.liar = liar.map(|server| Rc::new(Liar::begin(&mut story, server)));
        story
    }

    /// One of each server can do everything, so that they can disagree about everything.
    fn share_power(&mut self, liar: Option<usize>) {
        let first = usize::from(self.plan.room_version == "12");
        let levels = (first..self.plan.servers).map(|server| (server, 100)).chain(liar.zip(self.plan.liar));
        let users: serde_json::Map<String, Value> =
            levels.map(|(server, level)| (self.world.servers[server].users[0].id.to_string(), json!(level))).collect();
        let path = self.path("state/m.room.power_levels/");
        let (status, body) = self.world.ask(0, "PUT", &path, json!({ "users": users })).expect("server 0 is up");
        assert_eq!(status, 200, "{body}");
        let told = |story: &mut Self, server| {
            let (_, levels) = story.world.ask(server, "GET", &path, Value::Null).expect("everybody is up");
            levels["users"][story.world.servers[server].users[0].id.as_str()] == 100
        };
        for server in 1..self.plan.servers {
            (0..100)
                .find(|_| {
                    told(self, server) || {
                        self.world.pass(1_000);
                        false
                    }
                })
                .expect("it is told within minutes");
        }
    }

    /// Server 1 shares another room with the stranger, so that they meet and talk.
    fn make_stranger_known(&mut self) {
        let create = json!({ "preset": "public_chat", "name": "Another room" });
        let (_, body) = self.world.ask(1, "POST", "/_matrix/client/v3/createRoom", create).expect("server 1 is up");
        let room_id = body["room_id"].as_str().expect("a room id").to_owned();
        let path = format!("/_matrix/client/v3/join/{room_id}?via={}", self.world.servers[1].name);
        for _ in 0..20 {
            if let Some((200, _)) = self.world.ask(self.stranger, "POST", &path, json!({})) {
                return;
            }
        }
        panic!("the stranger cannot join another room");
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/_matrix/client/v3/rooms/{}/{rest}", self.room_id)
    }

    /// Somebody may be out of the room from now on.
    pub fn put_out(&mut self, server: usize, user: usize) {
        self.faithful[server][user] = false;
    }

    /// Whether a user of the server was in the room all the time.
    pub fn is_faithful(&self, server: usize) -> bool {
        self.faithful[server].contains(&true)
    }

    /// What is to be seen after each step.
    fn look(&mut self) {
        self.audience.listen(&mut self.world);
        for (server, lost) in self.world.take_ended() {
            if lost && server < self.plan.servers {
                self.audience.forget(server);
            }
        }
        self.diverged |= oracle::watch(self);
        self.keep_carried();
    }

    fn keep_carried(&mut self) {
        let stranger = &self.world.servers[self.stranger].name;
        let carried = self.world.network.take_carried().into_iter();
        self.carried.extend(carried.filter(|carried| carried.path.contains("/send/") || carried.to == *stranger));
    }

    /// Two sides that do not hear each other say different things of the room, first of all.
    fn fall_out(&mut self) {
        let other = 1 + self.random.below(self.plan.servers as u64 - 1) as usize;
        let side: Vec<bool> =
            (0..self.plan.servers).map(|s| s == other || (s != 0 && self.random.chance(50))).collect();
        self.cut(&side, false);
        for server in [0, other] {
            let path = self.path("state/m.room.topic/");
            let topic = json!({ "topic": format!("what {server} says") });
            let (status, body) = self.world.ask(server, "PUT", &path, topic).expect("everybody is up");
            assert_eq!(status, 200, "{body}");
        }
        self.world.pass(1_000);
        self.look();
    }

    fn act(&mut self) {
        let server = self.random.below(self.plan.servers as u64) as usize;
        let user = self.random.below(self.plan.users as u64) as usize;
        match self.random.below(100) {
            0..45 => self.send(server, user),
            45..58 => self.change_state(server),
            58..63 => self.change_power(server),
            63..68 => self.sanction(server),
            68..73 => self.leave_or_join(server, user),
            73..77 => self.redact(server, user),
            77..85 => self.part(),
            85..90 => self.mend(),
            90..95 => self.crash(server),
            95..97 => self.world.jump_clock(server),
            _ => (0..self.plan.servers).for_each(|server| self.world.restart(server)),
        }
    }

    fn send(&mut self, index: usize, user: usize) {
        self.transactions += 1;
        let path = self.path(&format!("send/m.room.message/txn{}", self.transactions));
        let content = json!({ "msgtype": "m.text", "body": format!("message {}", self.transactions) });
        // Two of the same transaction are one message.
        let twice = self.random.chance(20);
        let first = self.world.ask_as(index, user, "PUT", &path, content.clone());
        let second = if twice { self.world.ask_as(index, user, "PUT", &path, content) } else { None };
        if let (Some((200, first)), Some((200, second))) = (&first, &second) {
            assert_eq!(first, second, "one transaction, one event");
        }
        if let Some((200, body)) = first {
            let event_id = body["event_id"].as_str().expect("an event id").try_into().expect("an event id");
            self.sent.push(Acknowledged { event_id, server: index });
        }
    }

    fn change_state(&mut self, index: usize) {
        let (kind, content) = match self.random.below(3) {
            0 => ("m.room.name", json!({ "name": format!("name {}", self.random.below(1000)) })),
            1 => ("m.room.topic", json!({ "topic": format!("topic {}", self.random.below(1000)) })),
            _ => ("org.example.counter", json!({ "count": self.random.below(1000) })),
        };
        let path = self.path(&format!("state/{kind}/"));
        self.world.start(index, 0, "PUT", &path, content);
    }

    fn change_power(&mut self, index: usize) {
        let path = self.path("state/m.room.power_levels/");
        let Some((200, mut levels)) = self.world.ask(index, "GET", &path, Value::Null) else { return };
        let target = self.random.pick(&self.world.servers[..self.plan.servers]).users[0].id.to_string();
        let level = *self.random.pick(&[0, 50, 100]);
        if let Some(users) = levels["users"].as_object_mut() {
            users.insert(target, json!(level));
        }
        self.world.start(index, 0, "PUT", &path, levels);
    }

    fn sanction(&mut self, index: usize) {
        let target = self.random.below(self.plan.servers as u64) as usize;
        let user = self.random.below(self.plan.users as u64) as usize;
        if target == index || (target, user) == (0, 0) {
            return;
        }
        let action = *self.random.pick(&["kick", "ban", "unban"]);
        let body = json!({ "user_id": self.world.servers[target].users[user].id });
        let path = self.path(action);
        self.faithful[target][user] = false;
        self.world.start(index, 0, "POST", &path, body);
    }

    fn leave_or_join(&mut self, index: usize, user: usize) {
        self.faithful[index][user] = false;
        let path = if self.random.chance(40) { self.path("leave") } else { self.join_path(index) };
        self.world.start(index, user, "POST", &path, json!({}));
    }

    fn redact(&mut self, index: usize, user: usize) {
        if self.sent.is_empty() {
            return;
        }
        let target = self.random.pick(&self.sent).event_id.clone();
        self.transactions += 1;
        let path = self.path(&format!("redact/{}/txn{}", escaped(&target), self.transactions));
        self.world.start(index, user, "PUT", &path, json!({}));
    }

    fn part(&mut self) {
        let side: Vec<bool> = (0..self.plan.servers).map(|_| self.random.chance(50)).collect();
        let one_way = self.random.chance(25);
        self.cut(&side, one_way);
    }

    fn cut(&mut self, side: &[bool], one_way: bool) {
        for (a, a_side) in side.iter().enumerate() {
            for (b, b_side) in side.iter().enumerate() {
                if a != b && a_side != b_side && (!one_way || *a_side) {
                    self.world.network.cut(&self.world.servers[a].name, &self.world.servers[b].name);
                }
            }
        }
        self.partitioned = true;
        let drawn: String = side.iter().map(|side| if *side { 'x' } else { 'o' }).collect();
        self.world.network.note(format!("the network parts: {drawn}{}", if one_way { " one way" } else { "" }));
    }

    fn mend(&mut self) {
        if std::mem::take(&mut self.partitioned) {
            self.world.network.note("the network mends".to_owned());
            self.world.network.heal();
        }
    }

    /// Now, or in the middle of one of the next commits.
    fn crash(&mut self, index: usize) {
        let power_loss = self.random.chance(50);
        if !self.world.is_up(index) {
            self.world.restart(index);
        } else if self.random.chance(40) {
            self.world.crash(index, power_loss);
        }
        if self.random.chance(60) {
            let commits_left = self.random.below(DOOM_COMMITS_MAX);
            self.world.doom(index, Some(Doom { commits_left, written: self.random.chance(50), power_loss }));
        }
    }

    fn join_path(&self, index: usize) -> String {
        let via: Vec<String> = self.world.servers[..self.plan.servers]
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .map(|(_, server)| format!("via={}", server.name))
            .collect();
        format!("/_matrix/client/v3/join/{}?{}", self.room_id, via.join("&"))
    }

    fn join_until_in(&mut self, index: usize, user: usize) {
        let path = self.join_path(index);
        for _ in 0..20 {
            let (status, body) = self.world.ask_as(index, user, "POST", &path, json!({})).expect("the server is up");
            if status == 200 {
                return;
            }
            let line = format!("{} cannot join yet: {status} {body}", short(&self.world.servers[index].name));
            self.world.network.note(line);
            self.world.pass(5_000);
        }
        panic!("server {index} cannot join");
    }

    /// Everything works again; everybody hears of it, says a word, and there is time.
    fn make_peace(&mut self) {
        self.world.network.note("peace".to_owned());
        self.world.network.set_weather(Weather { loss: 0, duplication: 0, late: 0 });
        for index in 0..self.plan.servers {
            self.world.doom(index, None);
            self.world.restart(index);
        }
        self.world.network.heal();
        self.world.pass(20 * MINUTE_MS);
        self.look();
        // Without a further word.
        oracle::nothing_sent_is_lost(self);
        for index in 0..self.plan.servers {
            self.send(index, 0);
            self.world.pass(MINUTE_MS);
        }
        if self.liar.is_some() {
            self.say_anew();
        }
        self.world.pass(5 * MINUTE_MS);
        self.read_while_apart();
    }

    /// What was lied about is said again by whoever may: after that, all who are honest must agree.
    fn say_anew(&mut self) {
        for (kind, content) in [
            ("m.room.name", json!({ "name": "the name" })),
            ("m.room.topic", json!({ "topic": "the topic" })),
            ("org.example.counter", json!({ "count": 1_000 })),
        ] {
            let path = self.path(&format!("state/{kind}/"));
            for index in 0..self.plan.servers {
                self.world.ask(index, "PUT", &path, content.clone());
                self.world.pass(MINUTE_MS);
            }
        }
    }

    /// Everybody reads the last message while nobody hears of it; then they meet.
    fn read_while_apart(&mut self) {
        let Some(last) = self.sent.last().map(|sent| sent.event_id.clone()) else { return };
        let servers = &self.world.servers[..self.plan.servers];
        let names: Vec<_> = servers.iter().map(|server| server.name.clone()).collect();
        names.iter().for_each(|a| names.iter().for_each(|b| self.world.network.cut(a, b)));
        let path = self.path(&format!("receipt/m.read/{}", escaped(&last)));
        for index in 0..names.len() {
            self.world.ask(index, "POST", &path, json!({}));
        }
        self.world.pass(MINUTE_MS);
        self.world.network.heal();
        self.world.pass(MINUTE_MS);
        self.last_read = Some(last);
    }

    /// Nothing happens for an hour.
    fn rest(&mut self) {
        self.world.pass(10 * MINUTE_MS);
        self.keep_carried();
        self.world.pass(60 * MINUTE_MS);
        oracle::stays_silent(self, &self.world.network.take_carried());
    }
}

/// An event id as a segment of a path: in room version 3 it may contain slashes.
fn escaped(event_id: &EventId) -> String {
    percent_encoding::utf8_percent_encode(event_id.as_str(), percent_encoding::NON_ALPHANUMERIC).to_string()
}
