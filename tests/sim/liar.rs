//! What the server that lies says of its own accord: events that are forged, forbidden, misplaced or not what was signed.
use std::{collections::BTreeMap, rc::Rc};

use futures::executor::block_on;
use ruma::{
    CanonicalJsonObject, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedUserId, UInt,
    canonical_json::try_from_json_map, room_version_rules::RoomVersionRules,
};
use serde_json::{Value, json};
use warren::{
    domain::{
        event::{
            Pdu,
            draft::{self, Draft, Position, auth_types},
            reference,
        },
        identity::{Identity, SELF_KEY_VERSION},
        room_version::rules,
    },
    homeserver::{Homeserver, inspect::InspectedState},
};

use super::{
    network::short,
    random::Random,
    story::Story,
    tongue::{Tongue, alter},
};

/// What an event may cite (server-server API).
const PREVS_MAX: usize = 20;
/// The largest depth there is.
const DEPTH_MAX: u64 = (1 << 53) - 1;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

pub struct Liar {
    pub server: usize,
    tongue: Rc<Tongue>,
    random: Random,
    rules: RoomVersionRules,
}

/// Where an event claims to be.
struct Place {
    prevs: Vec<OwnedEventId>,
    state: InspectedState,
}

impl Liar {
    /// Server `server` of the story, which is in the room, lies from now on.
    pub fn begin(story: &mut Story, server: usize) -> Self {
        let random = Random::new(story.plan.seed ^ 0x11AA_0000);
        let tongue = Rc::new(Tongue::new(story.world.identity(server), random.fork()));
        let version = story.plan.room_version.as_str().try_into().expect("a room version");
        let liar = Self { server, tongue, random, rules: rules(&version).expect("it is supported") };
        liar.learn_another_room(story);
        story.world.network.twist(liar.tongue.clone());
        liar
    }

    /// Events of a room that nobody else is in, to be told where they do not belong.
    fn learn_another_room(&self, story: &mut Story) {
        let create = json!({ "preset": "public_chat", "room_version": story.plan.room_version });
        let created = story.world.ask(self.server, "POST", "/_matrix/client/v3/createRoom", create);
        let (_, created) = created.expect("it is up");
        let room_id: ruma::OwnedRoomId = created["room_id"].as_str().expect("a room id").try_into().expect("a room id");
        let homeserver = story.world.homeserver(self.server);
        let room = block_on(homeserver.inspect_room(&room_id)).expect("the store reads").expect("it made it");
        for event_id in room.state.into_values() {
            if let Some(pdu) = self.known(&homeserver, &event_id) {
                self.tongue.learn(event_id, json_of(&pdu));
            }
        }
    }

    /// Says something.
    pub fn speak(&self, story: &mut Story) {
        match self.random.below(10) {
            0..2 => {
                let path = story.path(&format!("send/m.room.message/honest{}", self.random.next()));
                story.world.start(
                    self.server,
                    0,
                    "PUT",
                    &path,
                    json!({ "msgtype": "m.text", "body": "an honest word" }),
                );
            }
            2..4 => self.repeat(story),
            _ => self.make_up(story),
        }
    }

    /// Sends a transaction again, to whom it was sent or to somebody else.
    fn repeat(&self, story: &mut Story) {
        let Some((to, request)) = self.tongue.spoken() else { return };
        let somebody = self.random.pick(&story.world.servers[..story.plan.servers]).name.clone();
        let to = if self.random.chance(70) { to } else { somebody };
        story.world.network.note(format!("the liar repeats itself to {}", short(&to)));
        story.world.network.say(&self.tongue.identity, &to, request);
    }

    fn make_up(&self, story: &mut Story) {
        let homeserver = story.world.homeserver(self.server);
        let mut pdus: Vec<Value> = Vec::new();
        for _ in 0..self.random.between(1, 4) {
            let Some(mut event) = self.event(story, &homeserver) else { continue };
            if self.random.chance(15) {
                alter(&mut event);
            }
            pdus.push(event);
        }
        // Something that somebody else said, as it was or not.
        if self.random.chance(30) {
            let known = judged(story, &homeserver);
            let theirs = self.known(&homeserver, self.random.pick(&known));
            pdus.extend(theirs.map(|pdu| json_of(&pdu)));
        }
        if self.random.chance(20) {
            pdus.extend(self.tongue.tale().map(|(_, event)| event));
            pdus.iter_mut().rev().take(1).filter(|_| self.random.chance(50)).for_each(alter);
        }
        let now_ms = story.world.time.now_ms();
        for index in 0..story.plan.servers {
            if self.random.chance(50) {
                let to = story.world.servers[index].name.clone();
                let request = self.tongue.transaction(&to, now_ms, &pdus);
                story.world.network.say(&self.tongue.identity, &to, request);
            }
        }
    }

    /// An event that it made up, somewhere in the room.
    fn event(&self, story: &mut Story, homeserver: &Homeserver) -> Option<Value> {
        let place = self.place(story, homeserver)?;
        let (sender, kind, state_key, content) = self.claim(story);
        let signer = if sender.server_name() == self.tongue.identity.server_name() {
            self.tongue.identity.clone()
        } else {
            let seed = self.tongue.identity.seed();
            Rc::new(Identity::signing_as(seed, sender.server_name().to_owned(), SELF_KEY_VERSION))
        };
        let room_id = Some(story.room_id.clone());
        let draft = Draft { room_id, sender, kind: kind.into(), state_key, content: object(content), redacts: None };
        let auth_events = self.auth_events(&draft, &place, &judged(story, homeserver));
        let cited: Vec<_> = place.prevs.iter().chain(&auth_events).cloned().collect();
        let now_ms = story.world.time.now_ms() - DAY_MS / 2 + self.random.below(DAY_MS);
        let position = Position {
            hashes: self.hashes(homeserver, &cited),
            prev_events: place.prevs,
            auth_events,
            depth: *self.random.pick(&[0, 1, 30, 30, 30, DEPTH_MAX]),
            origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::try_from(now_ms).expect("a time")),
        };
        let pdu = draft::seal(draft, position, &signer, &self.rules).ok()?;
        story.world.network.note(format!("the liar makes up {} {} of {}", pdu.event_id, pdu.kind, pdu.sender));
        let event = json_of(&pdu);
        self.tongue.learn(pdu.event_id, event.clone());
        Some(event)
    }

    /// After what is newest, after something old, after what it made up, or after what nobody has.
    fn place(&self, story: &Story, homeserver: &Homeserver) -> Option<Place> {
        let room = block_on(homeserver.inspect_room(&story.room_id)).expect("the store reads")?;
        let mut prevs: Vec<_> = room.heads.into_iter().take(PREVS_MAX - 1).collect();
        let mut state = room.state;
        let nowhere = format!("${}", "x".repeat(42)) + &self.random.below(10).to_string();
        let nowhere: OwnedEventId = nowhere.try_into().expect("an event id");
        match self.random.below(10) {
            0..4 => {}
            4..7 => {
                let old = self.random.pick(&judged(story, homeserver)).clone();
                let event = block_on(homeserver.inspect_event(&old)).expect("the store reads");
                state = event.and_then(|event| event.state_before).unwrap_or(state);
                prevs = vec![old];
            }
            7 => prevs = self.tongue.tale().into_iter().map(|(id, _)| id).collect(),
            8 => prevs = vec![nowhere],
            _ => prevs.push(nowhere),
        }
        Some(Place { prevs, state })
    }

    /// Who says what: often what it may say, as often what it may not, or what somebody else would have to.
    fn claim(&self, story: &mut Story) -> (OwnedUserId, &'static str, Option<String>, Value) {
        let own = story.world.servers[self.server].users[0].id.clone();
        let target = self.random.below(story.plan.servers as u64) as usize;
        let user = self.random.below(story.plan.users as u64) as usize;
        let somebody = story.world.servers[target].users[user].id.clone();
        let words = |said: u64| json!({ "msgtype": "m.text", "body": format!("tale {said}") });
        let said = self.random.below(1_000);
        match self.random.below(12) {
            0..4 => (own, "m.room.message", None, words(said)),
            4 => (own, "m.room.topic", Some(String::new()), json!({ "topic": format!("tale {said}") })),
            5 => (own, "org.example.counter", Some(String::new()), json!({ "count": said })),
            6 => {
                let users = json!({ own.as_str(): 100, somebody.as_str(): 0 });
                (own, "m.room.power_levels", Some(String::new()), json!({ "users": users }))
            }
            7 => {
                if story.plan.liar > Some(0) {
                    story.put_out(target, user);
                }
                let membership = *self.random.pick(&["ban", "leave"]);
                (own, "m.room.member", Some(somebody.to_string()), json!({ "membership": membership }))
            }
            8 => (own.clone(), "m.room.member", Some(own.to_string()), json!({ "membership": "join", "tale": said })),
            9 => (somebody, "m.room.message", None, words(said)),
            10 => (somebody.clone(), "m.room.member", Some(somebody.to_string()), json!({ "membership": "leave" })),
            _ => (own.clone(), "m.room.create", Some(String::new()), json!({ "creator": own, "room_version": "11" })),
        }
    }

    /// What authorizes the event at its place, or something else.
    fn auth_events(&self, draft: &Draft, place: &Place, known: &[OwnedEventId]) -> Vec<OwnedEventId> {
        let Draft { kind, sender, state_key, content, .. } = draft;
        let types = auth_types(kind, sender, state_key.as_deref(), content, &self.rules.authorization);
        let types = types.unwrap_or_default().into_iter();
        let mut cited: Vec<_> =
            types.filter_map(|(kind, key)| place.state.get(&(kind.to_string(), key)).cloned()).collect();
        match self.random.below(8) {
            0 => drop(cited.pop()),
            1 => cited.push(self.random.pick(known).clone()),
            2 => cited.extend(self.tongue.tale().map(|(id, _)| id)),
            _ => {}
        }
        cited
    }

    /// What room versions 1 and 2 want beside the ids of events.
    fn hashes(&self, homeserver: &Homeserver, ids: &[OwnedEventId]) -> BTreeMap<OwnedEventId, String> {
        if !reference::has_hashes(&self.rules) {
            return BTreeMap::new();
        }
        let hash = |id: &OwnedEventId| {
            self.known(homeserver, id).map_or_else(|| "A".repeat(43), |pdu| pdu.reference_hash(&self.rules))
        };
        ids.iter().map(|id| (id.clone(), hash(id))).collect()
    }

    fn known(&self, homeserver: &Homeserver, event_id: &OwnedEventId) -> Option<Pdu> {
        let event = block_on(homeserver.inspect_event(event_id)).expect("the store reads")?;
        Pdu::from_canonical(event_id.clone(), event.json, &self.rules).ok()
    }
}

/// The events of the room that it has, in a fixed order.
fn judged(story: &Story, homeserver: &Homeserver) -> Vec<OwnedEventId> {
    block_on(homeserver.inspect_verdicts(&story.room_id)).expect("the store reads").into_keys().collect()
}

fn json_of(pdu: &Pdu) -> Value {
    serde_json::from_str(pdu.json()).expect("an event is JSON")
}

fn object(json: Value) -> CanonicalJsonObject {
    let Value::Object(map) = json else { panic!("content is an object: {json}") };
    try_from_json_map(map).expect("it is canonical")
}
