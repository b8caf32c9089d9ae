//! Whatever another server sends, asks and answers, signed or not, the homeserver answers, keeps little of it, and honest users
//! talk on.
//!
//! `PROPTEST_CASES=1000 cargo test --test it any_peer_request` goes on for longer; `docs/security.md` says how long it has been
//! run. A failure prints the shortest conversation that it found.
use std::{cell::Cell, rc::Rc};

use proptest::{collection::vec, prelude::*, sample::Index};
use ruma::signatures::hash_and_sign_event;
use serde_json::{Value, json};
use warren::{
    api::{self, Origin},
    homeserver::rooms::ingest::STAGED_PDUS_PER_ROOM_MAX,
};

use crate::{
    federation_peer::{object, value as json_of},
    federation_scene::Scene,
    harness::{TestServer, TestUser, request},
    made_up::{Names, cases, escaped, object_of, text, value},
    talk::next_txn,
};

/// Longer than a homeserver waits for a peer that does not answer.
const LONG_MS: u64 = 200_000;
const TRIES_MAX: usize = 20;
/// What one conversation may leave on the disk: 40 events as large as any may be, and what is kept of each beside it.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// One change of a JSON value, at a place in it.
#[derive(Clone, Debug)]
enum Change {
    Drop(Index),
    Set(Index, Value),
    /// What is at one place goes to another as well.
    Copy(Index, Index),
}

/// How an event is signed once it was changed.
#[derive(Clone, Copy, Debug)]
enum Signing {
    /// As before the change.
    Kept,
    /// Anew, hash and all: it is what Eve's server says.
    Anew,
    /// Not at all.
    Without,
}

#[derive(Clone, Debug)]
struct MadeEvent {
    /// Which of the events that Eve could honestly make; see `Conversation::event`.
    kind: u8,
    changes: Vec<Change>,
    signing: Signing,
    /// Whether it is what comes next in Eve's room: later ones follow it.
    kept: bool,
}

#[derive(Clone, Debug)]
enum Turn {
    Send {
        events: Vec<MadeEvent>,
        edus: Vec<(u8, Vec<Change>)>,
        changes: Vec<Change>,
    },
    /// A body that the operation has, changed, or one that makes no sense.
    Ask {
        operation: Index,
        path: Vec<Option<String>>,
        query: Vec<(String, String)>,
        changes: Vec<Change>,
        body: Option<Value>,
        is_signed: bool,
    },
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<Index>().prop_map(Change::Drop),
        (any::<Index>(), value()).prop_map(|(at, value)| Change::Set(at, value)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Copy(from, to)),
    ]
}

fn few_changes() -> impl Strategy<Value = Vec<Change>> {
    prop_oneof![1 => Just(Vec::new()), 3 => vec(change(), 1..4)]
}

fn made_event() -> impl Strategy<Value = MadeEvent> {
    let signing = prop_oneof![1 => Just(Signing::Kept), 4 => Just(Signing::Anew), 1 => Just(Signing::Without)];
    (0..12_u8, few_changes(), signing, any::<bool>()).prop_map(|(kind, changes, signing, kept)| MadeEvent {
        kind,
        changes,
        signing,
        kept,
    })
}

fn turn() -> impl Strategy<Value = Turn> {
    let edu = (0..7_u8, few_changes());
    let whole = prop_oneof![4 => Just(Vec::new()), 1 => vec(change(), 1..3)];
    let send = (vec(made_event(), 0..4), vec(edu, 0..3), whole).prop_map(|(events, edus, changes)| Turn::Send {
        events,
        edus,
        changes,
    });
    let path = vec(prop_oneof![3 => Just(None), 1 => text().prop_map(Some)], 4);
    let names =
        proptest::sample::select(&["ver", "event_id", "v", "limit", "ts", "dir", "user_id", "field", "room_alias"]);
    let query = vec((names.prop_map(str::to_owned), text()), 0..4);
    let body = prop_oneof![2 => Just(None), 1 => object_of(value()).prop_map(|body| Some(body.into()))];
    let ask = (any::<Index>(), path, query, few_changes(), body, prop::bool::weighted(0.95)).prop_map(
        |(operation, path, query, changes, body, is_signed)| Turn::Ask {
            operation,
            path,
            query,
            changes,
            body,
            is_signed,
        },
    );
    prop_oneof![3 => send, 2 => ask]
}

/// Every place in a value, as a JSON pointer, the whole last.
fn places(value: &Value) -> Vec<String> {
    fn walk(value: &Value, at: String, places: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    walk(field, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), places);
                }
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(n, item)| walk(item, format!("{at}/{n}"), places));
            }
            _ => {}
        }
        places.push(at);
    }
    let mut places_found = Vec::new();
    walk(value, String::new(), &mut places_found);
    places_found
}

fn apply(changes: &[Change], names: &Names, changed: &mut Value) {
    for change in changes {
        let places = places(changed);
        match change {
            Change::Drop(at) => {
                let at: &String = at.get(&places);
                let Some((parent, last)) = at.rsplit_once('/') else { continue };
                match changed.pointer_mut(parent) {
                    Some(Value::Object(fields)) => {
                        fields.remove(&last.replace("~1", "/").replace("~0", "~"));
                    }
                    Some(Value::Array(items)) => drop(items.remove(last.parse().unwrap())),
                    _ => unreachable!("a place is in an object or an array"),
                }
            }
            Change::Set(at, value) => {
                let at: &String = at.get(&places);
                *changed.pointer_mut(at).unwrap() = names.in_value(value);
            }
            Change::Copy(from, to) => {
                let (from, to): (&String, &String) = (from.get(&places), to.get(&places));
                let copied = changed.pointer(from).unwrap().clone();
                *changed.pointer_mut(to).unwrap() = copied;
            }
        }
    }
    make_canonical(changed);
}

/// What is not canonical JSON cannot even be signed: numbers become some that are.
fn make_canonical(value: &mut Value) {
    const MAX: i64 = (1 << 53) - 1;
    match value {
        Value::Number(number) => {
            let whole = number.as_i64().unwrap_or(number.as_f64().unwrap_or_default() as i64);
            *value = whole.clamp(-MAX, MAX).into();
        }
        Value::Array(items) => items.iter_mut().for_each(make_canonical),
        Value::Object(fields) => fields.values_mut().for_each(make_canonical),
        _ => {}
    }
}

struct Conversation {
    scene: Scene,
    there: TestServer,
    bob: TestUser,
    names: Names,
}

impl Conversation {
    /// Alice's room, Bob of another homeserver in it, and Eve, whose server answers nonsense.
    fn new(answers: Vec<(u16, Value)>) -> Self {
        let scene = Scene::new();
        let there = scene.network.server();
        let bob = there.register("bob");
        there.join_via(&bob, &scene.room, scene.server.server_name()).ok();
        let event = scene.server.say(&scene.alice, &scene.room, "hello");
        scene.network.settle();
        let names = Names(vec![
            ("{alias}", format!("#x:{}", scene.server.server_name())),
            ("{server}", scene.server.server_name().to_string()),
            ("{peer}", scene.peer.name().to_string()),
            ("{alice}", scene.alice.id.clone()),
            ("{bob}", bob.id.clone()),
            ("{eve}", scene.eve.to_string()),
            ("{room}", scene.room.clone()),
            ("{private}", "!private".to_owned()),
            ("{event}", event),
            ("{since}", "s".to_owned()),
        ]);
        let turn = Cell::new(0);
        let answers: Vec<(u16, Value)> =
            answers.into_iter().map(|(status, answer)| (status, names.in_value(&answer))).collect();
        let answers = Rc::new(answers);
        for method in ["GET", "POST", "PUT"] {
            let (answers, turn) = (answers.clone(), turn.clone());
            scene.peer.on(method, "/_matrix/", move |request| {
                turn.set(turn.get() + 1);
                match answers.get(turn.get() % (answers.len() + 1)) {
                    Some(answer) if !request.uri().path().contains("/send/") => answer.clone(),
                    _ => (404, json!({ "errcode": "M_NOT_FOUND", "error": "no" })),
                }
            });
        }
        Self { scene, there, bob, names }
    }

    /// An event such as Eve could honestly make, on top of what her server knows.
    fn event(&mut self, made: &MadeEvent) -> Value {
        let (scene, bob) = (&mut self.scene, self.bob.id.clone());
        let (alice, eve) = (scene.alice.id.clone(), scene.eve.to_string());
        let event = match made.kind {
            0 | 1 => scene.message("hm"),
            2 => scene.event("m.room.member", Some(&eve), json!({ "membership": "join", "displayname": "Eve" })),
            3 => scene.event("m.room.member", Some(&eve), json!({ "membership": "leave" })),
            4 => scene.event("m.room.member", Some(&alice), json!({ "membership": "ban" })),
            5 => scene.event("m.room.member", Some(&bob), json!({ "membership": "invite" })),
            6 => scene.event("m.room.power_levels", Some(""), json!({ "users": { (eve): 100 }, "events": {}, "ban": 0 })),
            7 => scene.event("m.room.redaction", None, json!({ "redacts": self.names.meant_by("{event}") })),
            8 => scene.event("m.room.server_acl", Some(""), json!({ "allow": [], "deny": ["*"] })),
            9 => scene.event("m.room.create", Some(""), json!({ "room_version": "12" })),
            10 => scene.event("m.reaction", None, json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": self.names.meant_by("{event}"), "key": "x" } })),
            _ => scene.event("m.room.join_rules", Some(""), json!({ "join_rule": "restricted", "allow": [{ "type": "m.room_membership", "room_id": scene.room.clone() }] })),
        };
        if made.kept {
            scene.known.push(&event);
        }
        let mut changed = json_of(&event);
        apply(&made.changes, &self.names, &mut changed);
        self.signed(changed, made.signing)
    }

    fn signed(&self, mut event: Value, signing: Signing) -> Value {
        match signing {
            Signing::Kept => return event,
            Signing::Without => drop(event.as_object_mut().map(|event| event.remove("signatures"))),
            Signing::Anew if event.is_object() => {
                let mut anew = object(event.clone());
                anew.retain(|field, _| field != "signatures" && field != "hashes");
                let keys = self.scene.peer.identity.key_pair();
                let rules = &self.scene.known.rules.redaction;
                if hash_and_sign_event(self.scene.peer.name().as_str(), keys, &mut anew, rules).is_ok() {
                    event = serde_json::to_value(&anew).unwrap();
                }
            }
            Signing::Anew => {}
        }
        event
    }

    fn edu(&self, kind: u8, changes: &[Change]) -> Value {
        let Scene { room, eve, .. } = &self.scene;
        let (room, eve) = (room.as_str(), eve.as_str());
        let event = self.names.meant_by("{event}");
        let mut edu = match kind {
            0 => json!({ "edu_type": "m.typing", "content": { "room_id": room, "user_id": eve, "typing": true } }),
            1 => {
                json!({ "edu_type": "m.receipt", "content": { (room): { "m.read": { (eve): { "data": { "ts": 1 }, "event_ids": [event] } } } } })
            }
            2 => {
                json!({ "edu_type": "m.presence", "content": { "push": [{ "user_id": eve, "presence": "online", "last_active_ago": 1 }] } })
            }
            3 => {
                json!({ "edu_type": "org.warren.heads", "content": { "rooms": { (room): [event, "$unknown"] }, "absent": [self.names.meant_by("{server}")] } })
            }
            4 => {
                let keys = json!({ "user_id": eve, "device_id": "D", "algorithms": [], "keys": {}, "signatures": {} });
                json!({ "edu_type": "m.device_list_update", "content": { "user_id": eve, "device_id": "D", "stream_id": 2, "prev_id": [1], "keys": keys } })
            }
            5 => {
                let master = json!({ "user_id": eve, "usage": ["master"], "keys": { "ed25519:K": "K" } });
                json!({ "edu_type": "m.signing_key_update", "content": { "user_id": eve, "master_key": master } })
            }
            _ => {
                json!({ "edu_type": "m.direct_to_device", "content": { "sender": eve, "type": "x", "message_id": "1", "messages": {} } })
            }
        };
        apply(changes, &self.names, &mut edu);
        edu
    }

    /// The body that an operation takes, as Eve's server would honestly send it.
    fn body(&mut self, path: &str) -> Value {
        let membership = match path {
            path if path.contains("send_join") => "join",
            path if path.contains("send_leave") => "leave",
            path if path.contains("send_knock") => "knock",
            path if path.contains("/invite/") => "invite",
            path if path.contains("get_missing_events") => {
                let event = self.names.meant_by("{event}");
                return json!({ "earliest_events": [], "latest_events": [event], "limit": 10, "min_depth": 0 });
            }
            path if path.contains("publicRooms") => {
                return json!({ "limit": 5, "filter": { "generic_search_term": "x" } });
            }
            path if path.contains("/key/") => return json!({ "server_keys": { "example.org": {} } }),
            _ => return json!({}),
        };
        let target =
            if membership == "invite" { self.scene.alice.id.clone() } else { self.scene.peer.user("dan").to_string() };
        let sender = if membership == "invite" { self.scene.eve.clone() } else { self.scene.peer.user("dan") };
        let Scene { peer, known, .. } = &mut self.scene;
        let event =
            json_of(&known.make(peer, &sender, "m.room.member", Some(&target), json!({ "membership": membership })));
        if membership == "invite" {
            json!({ "room_version": "12", "event": event, "invite_room_state": [] })
        } else {
            event
        }
    }

    fn take(&mut self, turn: &Turn) {
        match turn {
            Turn::Send { events, edus, changes } => {
                let pdus: Vec<Value> = events.iter().map(|event| self.event(event)).collect();
                let edus: Vec<Value> = edus.iter().map(|(kind, changes)| self.edu(*kind, changes)).collect();
                let mut body =
                    json!({ "origin": self.scene.peer.name(), "origin_server_ts": 1, "pdus": pdus, "edus": edus });
                apply(changes, &self.names, &mut body);
                self.ask("PUT", &format!("/_matrix/federation/v1/send/{}", next_txn()), &body, true);
            }
            Turn::Ask { operation, path, query, changes, body, is_signed } => {
                let operations = operations();
                let operation = operation.get(&operations);
                let mut given = path.iter();
                let segments: Vec<String> = operation
                    .path
                    .split('/')
                    .map(|segment| match segment.strip_prefix('{') {
                        None => segment.to_owned(),
                        Some(variable) => {
                            let fitting = || fitting(variable.trim_end_matches('}')).to_owned();
                            let chosen = given.next().cloned().flatten().unwrap_or_else(fitting);
                            escaped(&self.names.meant_by(&chosen))
                        }
                    })
                    .collect();
                let query = query.iter().map(|(name, text)| format!("{name}={}", escaped(&self.names.meant_by(text))));
                let uri = format!("{}?{}", segments.join("/"), query.collect::<Vec<_>>().join("&"));
                let mut sent = Value::Null;
                if operation.method != "GET" {
                    sent = body.clone().unwrap_or_else(|| self.body(operation.path));
                    apply(changes, &self.names, &mut sent);
                }
                self.ask(&operation.method, &uri, &sent, *is_signed);
            }
        }
    }

    fn ask(&self, method: &str, uri: &str, body: &Value, is_signed: bool) {
        let Scene { server, peer, network, .. } = &self.scene;
        let request = if is_signed {
            peer.request(server.server_name(), method, uri, body)
        } else {
            request(method, uri, None, if body.is_null() { String::new() } else { body.to_string() })
        };
        let pending = server.queue_as(Origin::Peer(peer.key()), request);
        network.settle();
        let answer = (0..TRIES_MAX).find_map(|_| {
            let answer = pending.take();
            if answer.is_none() {
                network.advance(LONG_MS);
            }
            answer
        });
        let answer = answer.unwrap_or_else(|| panic!("{method} {uri} was not answered"));
        let status = answer.status.as_u16();
        assert_ne!(status, 500, "{method} {uri}: {}", answer.body);
        assert!(status < 400 || answer.body["errcode"].is_string(), "{method} {uri}: {status} {}", answer.body);
    }

    /// Both honest users say something that both hear.
    fn honest_users_talk_on(&self) {
        let Scene { server, alice, room, network, .. } = &self.scene;
        for n in 0..2 {
            server.say(alice, room, &format!("Alice talks on {n}"));
            network.settle();
            self.there.say(&self.bob, room, &format!("so does Bob {n}"));
            network.settle();
        }
        for said in [server.said_in(alice, room), self.there.said_in(&self.bob, room)] {
            for text in ["Alice talks on 0", "so does Bob 0", "Alice talks on 1", "so does Bob 1"] {
                assert!(said.iter().any(|said| said == text), "{text} was not heard: {said:?}");
            }
        }
        assert_eq!(server.membership(room, &alice.id).as_deref(), Some("join"));
        assert!(self.scene.staged() <= STAGED_PDUS_PER_ROOM_MAX);
    }
}

fn operations() -> Vec<api::Operation> {
    let of_servers = |path: &str| path.starts_with("/_matrix/federation") || path.starts_with("/_matrix/key");
    api::operations().into_iter().filter(|operation| of_servers(operation.path)).collect()
}

/// What a variable of a path usually holds.
fn fitting(variable: &str) -> &'static str {
    match variable {
        "room_id" => "{room}",
        "user_id" => "{eve}",
        "event_id" => "{event}",
        "server_name" => "{server}",
        _ => "x",
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 1_000, ..ProptestConfig::with_cases(cases(20)) })]

    #[test]
    fn leaves_honest_users_a_room_to_talk_in(
        conversation in vec(turn(), 1..15),
        answers in vec((proptest::sample::select(vec![200, 200, 200, 403, 500]), value()), 0..6),
    ) {
        let mut scene = Conversation::new(answers);
        let before = scene.scene.server.disk.bytes_stored();
        for turn in &conversation {
            scene.take(turn);
        }
        let kept = scene.scene.server.disk.bytes_stored().saturating_sub(before);
        assert!(kept <= KEPT_BYTES_MAX, "{kept} bytes were kept");
        scene.honest_users_talk_on();
    }
}
