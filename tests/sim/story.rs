//! One run: people meet in a room, the network misbehaves, servers die; then all is well again and everybody must agree.
use ruma::{OwnedEventId, OwnedRoomId};
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use super::{
    audience::Audience,
    network::{Weather, short},
    oracle,
    random::Random,
    world::World,
};

const MINUTE_MS: u64 = 60_000;

pub struct Report {
    pub log: Vec<String>,
    /// Whether servers really disagreed about the room at some time.
    pub diverged: bool,
}

/// A message whose sender was told that it is sent.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub event_id: OwnedEventId,
    pub server: usize,
}

pub struct Story {
    pub world: World,
    random: Random,
    pub room_id: OwnedRoomId,
    pub sent: Vec<Acknowledged>,
    /// Servers whose user was in the room all the time.
    pub faithful: Vec<bool>,
    partitioned: bool,
    diverged: bool,
    transactions: u64,
    /// What everybody in the room has read in the end.
    pub last_read: Option<OwnedEventId>,
    /// Who follows all this through `/sync`.
    audience: Audience,
}

pub fn run(seed: u64) -> Report {
    // With RUST_LOG set, the servers tell what they do.
    let _ = tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).without_time().try_init();
    let random = Random::new(seed ^ 0xC0FF_EE00);
    let servers = random.between(3, 6) as usize;
    let weather = Weather { loss: random.below(8), duplication: random.below(15) };
    let world = World::new(seed, servers, weather);
    let mut story = Story::begin(world, random);
    let actions = story.random.between(25, 50);
    for _ in 0..actions {
        story.act();
        let pause_ms = story.random.below(3_000);
        story.world.pass(pause_ms);
        story.audience.listen(&mut story.world);
        story.diverged |= oracle::disagree(&mut story);
    }
    story.make_peace();
    oracle::check(&mut story);
    let present = oracle::present(&mut story);
    story.audience.check(&mut story.world, &present);
    let state = oracle::fingerprint(&mut story);
    story.world.network.note(state);
    Report { log: story.world.network.take_log(), diverged: story.diverged }
}

impl Story {
    fn begin(mut world: World, random: Random) -> Self {
        let version = *random.pick(&["10", "11", "12"]);
        let create = json!({ "preset": "public_chat", "name": "A room", "room_version": version });
        let (status, body) = world.ask(0, "POST", "/_matrix/client/v3/createRoom", create).expect("server 0 is up");
        assert_eq!(status, 200, "{body}");
        let room_id: OwnedRoomId = body["room_id"].as_str().expect("a room id").try_into().expect("a room id");
        let count = world.servers.len();
        let audience = Audience::new(room_id.as_str(), count);
        let mut story = Self {
            audience,
            world,
            random,
            room_id,
            sent: Vec::new(),
            faithful: vec![true; count],
            partitioned: false,
            diverged: false,
            transactions: 0,
            last_read: None,
        };
        for index in 1..count {
            story.join_until_in(index);
        }
        // Everybody can do everything, so that everybody can disagree about everything.
        let mut users: serde_json::Map<String, Value> =
            story.world.servers[1..].iter().map(|server| (server.user.to_string(), json!(100))).collect();
        if version != "12" {
            users.insert(story.world.servers[0].user.to_string(), json!(100));
        }
        let path = story.path("state/m.room.power_levels/");
        let (status, body) = story.world.ask(0, "PUT", &path, json!({ "users": users })).expect("server 0 is up");
        assert_eq!(status, 200, "{body}");
        story.world.pass(2_000);
        story
    }

    fn path(&self, rest: &str) -> String {
        format!("/_matrix/client/v3/rooms/{}/{rest}", self.room_id)
    }

    fn act(&mut self) {
        let index = self.random.below(self.world.servers.len() as u64) as usize;
        match self.random.below(100) {
            0..45 => self.send(index),
            45..58 => self.change_state(index),
            58..63 => self.change_power(index),
            63..68 => self.sanction(index),
            68..73 => self.leave_or_join(index),
            73..78 => self.redact(index),
            78..86 => self.part(),
            86..91 => self.mend(),
            91..97 => self.crash(index),
            _ => (0..self.world.servers.len()).for_each(|index| self.world.restart(index)),
        }
    }

    fn send(&mut self, index: usize) {
        self.transactions += 1;
        let path = self.path(&format!("send/m.room.message/txn{}", self.transactions));
        let content = json!({ "msgtype": "m.text", "body": format!("message {}", self.transactions) });
        // Two of the same transaction are one message.
        let twice = self.random.chance(20);
        let first = self.world.ask(index, "PUT", &path, content.clone());
        let second = if twice { self.world.ask(index, "PUT", &path, content) } else { None };
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
        self.world.start(index, "PUT", &path, content);
    }

    fn change_power(&mut self, index: usize) {
        let path = self.path("state/m.room.power_levels/");
        let Some((200, mut levels)) = self.world.ask(index, "GET", &path, Value::Null) else { return };
        let target = self.random.pick(&self.world.servers).user.to_string();
        let level = *self.random.pick(&[0, 50, 100]);
        if let Some(users) = levels["users"].as_object_mut() {
            users.insert(target, json!(level));
        }
        self.world.start(index, "PUT", &path, levels);
    }

    fn sanction(&mut self, index: usize) {
        let target = self.random.below(self.world.servers.len() as u64) as usize;
        if target == index || target == 0 {
            return;
        }
        let action = *self.random.pick(&["kick", "ban", "unban"]);
        let body = json!({ "user_id": self.world.servers[target].user });
        let path = self.path(action);
        self.faithful[target] = false;
        self.world.start(index, "POST", &path, body);
    }

    fn leave_or_join(&mut self, index: usize) {
        self.faithful[index] = false;
        if self.random.chance(40) {
            let path = self.path("leave");
            self.world.start(index, "POST", &path, json!({}));
        } else {
            let path = self.join_path(index);
            self.world.start(index, "POST", &path, json!({}));
        }
    }

    fn redact(&mut self, index: usize) {
        if self.sent.is_empty() {
            return;
        }
        let target = self.random.pick(&self.sent).event_id.clone();
        self.transactions += 1;
        let path = self.path(&format!("redact/{target}/txn{}", self.transactions));
        self.world.start(index, "PUT", &path, json!({}));
    }

    fn part(&mut self) {
        let names: Vec<_> = self.world.servers.iter().map(|server| server.name.clone()).collect();
        let side: Vec<bool> = names.iter().map(|_| self.random.chance(50)).collect();
        let one_way = self.random.chance(25);
        for (a, a_side) in names.iter().zip(&side) {
            for (b, b_side) in names.iter().zip(&side) {
                if a != b && a_side != b_side && (!one_way || *a_side) {
                    self.world.network.cut(a, b);
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

    fn crash(&mut self, index: usize) {
        let power_loss = self.random.chance(50);
        if self.world.is_up(index) {
            self.world.crash(index, power_loss);
            if power_loss {
                self.audience.forget(index);
            }
        } else {
            self.world.restart(index);
        }
    }

    fn join_path(&self, index: usize) -> String {
        let via: Vec<String> = self
            .world
            .servers
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .map(|(_, server)| format!("via={}", server.name))
            .collect();
        format!("/_matrix/client/v3/join/{}?{}", self.room_id, via.join("&"))
    }

    fn join_until_in(&mut self, index: usize) {
        let path = self.join_path(index);
        for _ in 0..20 {
            let (status, body) = self.world.ask(index, "POST", &path, json!({})).expect("the server is up");
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
        self.world.network.set_weather(Weather { loss: 0, duplication: 0 });
        (0..self.world.servers.len()).for_each(|index| self.world.restart(index));
        self.world.network.heal();
        self.world.pass(20 * MINUTE_MS);
        for index in 0..self.world.servers.len() {
            self.send(index);
            self.world.pass(MINUTE_MS);
        }
        self.world.pass(5 * MINUTE_MS);
        self.read_while_apart();
    }

    /// Everybody reads the last message while nobody hears of it; then they meet.
    fn read_while_apart(&mut self) {
        let Some(last) = self.sent.last().map(|sent| sent.event_id.clone()) else { return };
        let names: Vec<_> = self.world.servers.iter().map(|server| server.name.clone()).collect();
        names.iter().for_each(|a| names.iter().for_each(|b| self.world.network.cut(a, b)));
        let path = self.path(&format!("receipt/m.read/{last}"));
        for index in 0..names.len() {
            self.world.ask(index, "POST", &path, json!({}));
        }
        self.world.pass(MINUTE_MS);
        self.world.network.heal();
        self.world.pass(MINUTE_MS);
        self.last_read = Some(last);
    }
}
