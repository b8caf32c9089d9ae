//! What is refused of other servers is said in the log, by which rule, and the room goes on.
use std::{
    fmt::Debug,
    sync::{Arc, Mutex, Once},
};

use serde_json::{Value, json};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};
use warren::homeserver::refusals::REFUSED;

use crate::{
    federation_network::Network,
    federation_peer::{Peer, PeerRoom, object, value},
    federation_scene::Scene,
    harness::{TestServer, TestUser},
    talk::next_txn,
};

/// Keeps what is said of refusals, a line each.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == REFUSED
    }

    fn event(&self, event: &Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                self.0 += &format!("{}={value:?} ", field.name());
            }
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Has somebody listen in the whole process, before anything is said. Else what another test's thread says for the first time
/// just while one of these begins to listen would be taken for something that nobody wants to hear.
pub fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| drop(tracing::subscriber::set_global_default(Log::default())));
}

/// Eve's scene, and Bob of an honest server.
struct Siege {
    scene: Scene,
    there: TestServer,
    bob: TestUser,
}

impl Siege {
    fn new() -> Self {
        let scene = Scene::new();
        let there = scene.network.server();
        let bob = there.register("bob");
        there.join_via(&bob, &scene.room, scene.server.server_name()).ok();
        scene.network.settle();
        let mut siege = Self { scene, there, bob };
        siege.catch_up();
        siege
    }

    /// What Eve makes next follows the room as it is.
    fn catch_up(&mut self) {
        let heads = self.scene.server.heads_of(&self.scene.room);
        self.scene.known.heads = heads.iter().map(|id| id.as_str().try_into().unwrap()).collect();
    }

    fn send(&self, pdus: &[Value], edus: &[Value]) {
        self.scene.peer.send(&self.scene.server, &next_txn().to_string(), pdus, edus);
        self.scene.network.settle();
    }

    fn edu(&self, kind: &str, content: Value) {
        self.send(&[], &[json!({ "edu_type": kind, "content": content })]);
    }

    /// Both honest users say something that both hear.
    fn goes_on(&self) {
        let (server, room) = (&self.scene.server, &self.scene.room);
        server.say(&self.scene.alice, room, "Alice goes on");
        self.scene.network.settle();
        self.there.say(&self.bob, room, "and so does Bob");
        self.scene.network.settle();
        for said in [server.said_in(&self.scene.alice, room), self.there.said_in(&self.bob, room)] {
            assert!(said.ends_with(&["Alice goes on".to_owned(), "and so does Bob".to_owned()]), "{said:?}");
        }
    }

    fn deny_eve(&mut self) {
        let acl = json!({ "allow": ["*"], "deny": [self.scene.peer.name()] });
        self.scene.server.set_state(&self.scene.alice, &self.scene.room, "m.room.server_acl", "", acl);
        self.scene.network.settle();
        self.catch_up();
    }

    /// An event that follows what only Eve's server could give.
    fn far_away(&mut self) -> Value {
        let hidden = self.scene.message("hidden");
        self.scene.known.push(&hidden);
        let answer = json!({ "origin": self.scene.peer.name(), "origin_server_ts": 1, "pdus": [value(&hidden)] });
        self.scene.peer.says("GET", hidden.event_id.as_str().trim_start_matches('$'), 200, answer);
        value(&self.scene.message("far away"))
    }
}

/// What Eve does, and the rule that it breaks.
type Attack = (&'static str, fn(&mut Siege));

const ATTACKS: &[Attack] = &[
    ("You are not", |siege| {
        let Scene { network, server, peer, .. } = &siege.scene;
        let other = network.peer();
        let path = "/_matrix/federation/v1/send/1";
        server.send_as(other.key(), peer.request(server.server_name(), "PUT", path, &json!({})));
    }),
    ("The signature does not hold", |siege| {
        let Scene { network, server, peer, .. } = &siege.scene;
        let other = network.peer();
        let path = "/_matrix/federation/v1/send/1";
        server.send_as(peer.key(), other.request_as(peer.name(), server.server_name(), "PUT", path, &json!({})));
    }),
    ("another origin", |siege| {
        let other = siege.scene.network.peer();
        let body = json!({ "origin": other.name(), "origin_server_ts": 1, "pdus": [], "edus": [] });
        siege.scene.peer.ask(&siege.scene.server, "PUT", "/_matrix/federation/v1/send/1", body);
    }),
    ("larger than", |siege| {
        let padding = json!({ "padding": "x".repeat(9 << 20) });
        siege.scene.peer.ask(&siege.scene.server, "PUT", "/_matrix/federation/v1/send/1", padding);
    }),
    ("a transaction holds", |siege| siege.send(&vec![json!({}); 51], &[])),
    ("missing field `room_id`", |siege| siege.send(&[json!({ "type": "m.room.message" })], &[])),
    ("not in that room", |siege| {
        let Scene { peer, eve, .. } = &siege.scene;
        let mut nowhere = PeerRoom::create(peer, eve, &ruma::RoomVersionId::V12);
        let said = nowhere.say(peer, eve, "where am I?");
        siege.send(&[value(&said)], &[]);
    }),
    ("the event is larger", |siege| {
        let mut large = value(&siege.scene.message("large"));
        large["content"]["body"] = json!("x".repeat(70_000));
        siege.send(&[large], &[]);
    }),
    ("malformed event", |siege| {
        let mut odd = object(value(&siege.scene.message("odd")));
        odd.insert("depth".to_owned(), "deep".into());
        siege.send(&[serde_json::to_value(odd).unwrap()], &[]);
    }),
    ("signature check failed", |siege| {
        let mut altered = value(&siege.scene.message("altered"));
        altered["depth"] = json!(7);
        siege.send(&[altered], &[]);
    }),
    ("rejected", |siege| {
        let levels = json!({ "users": { siege.scene.eve.as_str(): 100 } });
        let coup = siege.scene.event("m.room.power_levels", Some(""), levels);
        siege.send(&[value(&coup)], &[]);
    }),
    ("membership is not", |siege| {
        // Allowed when it was made, and not now.
        let late = siege.scene.message("late");
        siege.scene.server.act(&siege.scene.alice, &siege.scene.room, "kick", siege.scene.eve.as_str()).ok();
        siege.scene.network.settle();
        siege.send(&[value(&late)], &[]);
    }),
    ("denied by the room's ACL", |siege| {
        siege.deny_eve();
        let said = siege.scene.message("let me in");
        siege.send(&[value(&said)], &[]);
    }),
    ("your server is denied", |siege| {
        siege.deny_eve();
        let path = format!("/_matrix/federation/v1/make_join/{}/{}?ver=12", siege.scene.room, siege.scene.eve);
        siege.scene.peer.ask(&siege.scene.server, "GET", &path, Value::Null);
    }),
    ("too many events of this room wait", |siege| {
        for n in 0..=warren::homeserver::rooms::ingest::STAGED_PDUS_PER_SERVER_MAX {
            siege.scene.known.heads = vec![format!("$unknown{n}").try_into().unwrap()];
            let event = siege.scene.message("waiting");
            siege.send(&[value(&event)], &[]);
        }
    }),
    ("not asked for", |siege| {
        let unasked = siege.scene.message("by the way");
        let far = siege.far_away();
        siege.scene.peer.says("POST", "/get_missing_events/", 200, json!({ "events": [value(&unasked)] }));
        siege.send(&[far], &[]);
    }),
    ("invalid type: integer `5`", |siege| {
        let far = siege.far_away();
        siege.scene.peer.says("GET", "/state_ids/", 200, json!({ "pdu_ids": 5, "auth_chain_ids": [] }));
        siege.send(&[far], &[]);
    }),
    ("another event than the one asked for", |siege| {
        let (other, far) = (siege.scene.message("other"), siege.far_away());
        let answer = json!({ "origin": siege.scene.peer.name(), "origin_server_ts": 1, "pdus": [value(&other)] });
        siege.scene.peer.says("GET", "/event/", 200, answer);
        siege.send(&[far], &[]);
    }),
    ("names one place twice", |siege| {
        let far = siege.far_away();
        let ids: Vec<_> = siege.scene.known.state.values().collect();
        siege.scene.peer.says(
            "GET",
            "/state_ids/",
            200,
            json!({ "pdu_ids": ([ids.clone(), ids].concat()), "auth_chain_ids": [] }),
        );
        siege.send(&[far], &[]);
    }),
    ("an EDU of no type", |siege| siege.send(&[], &[json!({ "content": {} })])),
    ("an EDU m.typing", |siege| siege.edu("m.typing", json!({ "room_id": 5 }))),
    ("the user is another server's", |siege| {
        let content = json!({ "room_id": siege.scene.room, "user_id": siege.scene.alice.id, "typing": true });
        siege.edu("m.typing", content);
    }),
    ("the user is not in the room", |siege| {
        let stranger = siege.scene.peer.user("stranger");
        siege.edu("m.typing", json!({ "room_id": siege.scene.room, "user_id": stranger, "typing": true }));
    }),
    ("it is none of online", |siege| {
        let update = json!({ "user_id": siege.scene.eve, "presence": "asleep", "last_active_ago": 1 });
        siege.edu("m.presence", json!({ "push": [update] }));
    }),
    ("no user of such an id", |siege| {
        let odd = format!("@\u{e9}ve:{}", siege.scene.peer.name());
        siege.edu("m.typing", json!({ "room_id": siege.scene.room, "user_id": odd, "typing": true }));
    }),
    ("missing field `data`", |siege| {
        let receipts = json!({ siege.scene.eve.as_str(): {} });
        siege.edu("m.receipt", json!({ &siege.scene.room: { "m.read": receipts } }));
    }),
    ("it does not name one event", |siege| {
        let data = json!({ "data": { "ts": 1 }, "event_ids": ["$a", "$b"] });
        let receipts = json!({ siege.scene.eve.as_str(): data });
        siege.edu("m.receipt", json!({ &siege.scene.room: { "m.read": receipts } }));
    }),
    ("its thread is neither", |siege| {
        let data = json!({ "data": { "ts": 1, "thread_id": "root" }, "event_ids": ["$a"] });
        let receipts = json!({ siege.scene.eve.as_str(): data });
        siege.edu("m.receipt", json!({ &siege.scene.room: { "m.read": receipts } }));
    }),
    ("the presence of a user", |siege| siege.edu("m.presence", json!({ "push": [{ "user_id": 5 }] }))),
    ("100 users at most", |siege| {
        let update = json!({ "user_id": siege.scene.eve, "presence": "online", "last_active_ago": 1 });
        siege.edu("m.presence", json!({ "push": vec![update; 101] }));
    }),
    ("an EDU m.direct_to_device", |siege| siege.edu("m.direct_to_device", json!([]))),
    ("the sender is another server's user", |siege| {
        let sender = &siege.scene.alice.id;
        let content = json!({ "sender": sender, "type": "t", "message_id": "id", "messages": {} });
        siege.edu("m.direct_to_device", content);
    }),
    ("the id of a message", |siege| {
        let content = json!({ "sender": siege.scene.eve, "type": "t", "message_id": "", "messages": {} });
        siege.edu("m.direct_to_device", content);
    }),
    ("the type of a message", |siege| {
        let content = json!({ "sender": siege.scene.eve, "type": "", "message_id": "id", "messages": {} });
        siege.edu("m.direct_to_device", content);
    }),
    ("an EDU m.device_list_update", |siege| siege.edu("m.device_list_update", json!({ "user_id": 5 }))),
    ("an update of the devices of", |siege| {
        let content = json!({ "user_id": siege.scene.alice.id, "device_id": "D", "stream_id": 1 });
        siege.edu("m.device_list_update", content);
    }),
    ("shares no room", |siege| {
        let stranger = siege.scene.peer.user("stranger");
        siege.edu("m.device_list_update", json!({ "user_id": stranger, "device_id": "D", "stream_id": 1 }));
    }),
    ("an EDU m.signing_key_update", |siege| siege.edu("m.signing_key_update", json!({ "user_id": 5 }))),
    ("the key is not for what it is sent as", |siege| {
        let eve = &siege.scene.eve;
        siege.edu("m.signing_key_update", json!({ "user_id": eve, "master_key": { "user_id": eve } }));
    }),
    ("the presence of", |siege| {
        let update = json!({ "user_id": siege.scene.alice.id, "presence": "online", "last_active_ago": 1 });
        siege.edu("m.presence", json!({ "push": [update] }));
    }),
];

#[test]
fn every_refusal_is_said_with_its_rule_and_the_room_goes_on() {
    for (rule, attack) in ATTACKS {
        let log = Log::default();
        let _listening = tracing::subscriber::set_default(log.clone());
        let mut siege = Siege::new();
        log.take();
        attack(&mut siege);
        let lines = log.take();
        let of_eve = |line: &String| line.contains(&*siege.scene.peer.key().label()) || line.contains("You are not");
        assert!(lines.iter().any(|line| line.contains(rule) && of_eve(line)), "{rule}: {lines:#?}");
        siege.goes_on();
    }
}

#[test]
fn who_lies_about_a_room_we_join_is_named() {
    let log = Log::default();
    let _listening = tracing::subscriber::set_default(log.clone());
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let bob = server.register("bob");
    peer.says(
        "GET",
        "/make_join/",
        200,
        json!({ "room_version": "12", "event": { "type": "m.room.topic", "depth": 1 } }),
    );
    server.join_via(&bob, "!somewhere", peer.name()).is_error(502, "M_UNKNOWN");
    let lines = log.take();
    assert!(
        lines.iter().any(|line| line.contains("the template is for another") && line.contains(peer.name().as_str())),
        "{lines:?}"
    );
}

#[test]
fn nobody_makes_up_lines_of_the_log_or_fills_it() {
    let log = Log::default();
    let _listening = tracing::subscriber::set_default(log.clone());
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let knock = |peer: &Peer, n: usize| {
        let request = crate::harness::request("GET", &format!("/_matrix/federation/v1/nothing{n}"), None, "");
        server.send_as(peer.key(), request).is_error(404, "M_UNRECOGNIZED");
    };
    (0..2_000).for_each(|n| knock(&peer, n));
    assert_eq!(log.take().len(), 500);
    // Others are still heard of, and how many were not said.
    knock(&network.peer(), 0);
    assert!(matches!(&log.take()[..], [line] if line.contains("unsaid=1500")));
    server.advance(1_000);
    (0..20).for_each(|n| knock(&peer, n));
    assert_eq!(log.take().len(), 10);
    let body = json!({ "origin": peer.name(), "origin_server_ts": 1, "pdus": [{ "room_id": "!a\nWARN all is well" }], "edus": [] });
    server.advance(1_000);
    peer.ask(&server, "PUT", "/_matrix/federation/v1/send/1", body).ok();
    let lines = log.take();
    assert!(!lines.is_empty() && lines.iter().all(|line| !line.contains('\n') && line.len() < 1_000), "{lines:?}");
}
