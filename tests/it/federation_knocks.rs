//! Knocking across servers: through any that is in the room, answered by any, and what hostile servers make of it.
use ruma::{OwnedUserId, RoomVersionId};
use serde_json::{Value, json};
use warren::domain::{
    event::{Pdu, draft::seal_template},
    room_version::SUPPORTED,
};

use crate::{
    federation_network::{Link, Network},
    federation_peer::{Peer, PeerRoom, object, value},
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, list, next_batch},
};

fn door(server: &TestServer, user: &TestUser, version: &RoomVersionId) -> String {
    let join_rules = json!({ "type": "m.room.join_rules", "state_key": "", "content": { "join_rule": "knock" } });
    server.create_room(user, json!({ "name": "Den", "room_version": version, "initial_state": [join_rules] }))
}

fn knock(server: &TestServer, user: &TestUser, room: &str, via: &TestServer) -> Answer {
    let path = format!("/_matrix/client/v3/knock/{}?via={}", escaped(room), via.server_name());
    let answer = server.post(&path, &user.token, json!({ "reason": "it rains" }));
    server.settle();
    answer
}

fn shown_in(server: &TestServer, user: &TestUser, room: &str) -> Vec<String> {
    let rooms = server.sync(user, None, "")["rooms"].clone();
    let sections = ["join", "invite", "knock"].into_iter();
    sections.filter(|section| rooms[section].get(room).is_some()).map(ToOwned::to_owned).collect()
}

#[test]
fn a_knock_goes_through_a_server_in_the_room_and_is_answered_from_there() {
    for version in SUPPORTED.into_iter().filter(|version| version.rules().unwrap().authorization.knocking) {
        let (network, (a, alice), (b, bob)) = Network::pair();
        let room = door(&a, &alice, &version);
        knock(&b, &bob, &room, &a).ok();
        assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("knock"));
        let told = b.sync(&bob, None, "")["rooms"]["knock"][&room]["knock_state"]["events"].clone();
        let content =
            |kind: &str| list(&told).iter().find(|event| event["type"] == kind).map(|event| &event["content"]);
        assert_eq!(content("m.room.name"), Some(&json!({ "name": "Den" })));
        assert_eq!(content("m.room.member"), Some(&json!({ "membership": "knock", "reason": "it rains" })));
        assert!(b.inspected(&room).is_none(), "who knocks has no part in the room");
        let b = network.restart(b);
        assert_eq!(shown_in(&b, &bob, &room), ["knock"]);
        a.act(&alice, &room, "invite", &bob.id).ok();
        network.settle();
        assert_eq!(shown_in(&b, &bob, &room), ["invite"]);
        b.join(&bob, &room);
        assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("join"));
    }
}

#[test]
fn a_knock_is_turned_down_from_any_server_in_the_room() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let c = network.server();
    let carol = c.register("carol");
    let room = door(&a, &alice, &RoomVersionId::V12);
    a.act(&alice, &room, "invite", &carol.id).ok();
    c.join(&carol, &room);
    a.set_state(&alice, &room, "m.room.power_levels", "", json!({ "users": { &carol.id: 50 }, "kick": 50 }));
    network.settle();
    knock(&b, &bob, &room, &a).ok();
    let since = next_batch(&b.sync(&bob, None, ""));
    c.act(&carol, &room, "kick", &bob.id).ok();
    network.settle();
    assert!(b.sync(&bob, Some(&since), "")["rooms"]["leave"].get(&room).is_some());
    assert!(shown_in(&b, &bob, &room).is_empty());
    knock(&b, &bob, &room, &a).ok();
    assert_eq!(shown_in(&b, &bob, &room), ["knock"]);
}

#[test]
fn a_knock_is_taken_back_even_while_nobody_answers() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = door(&a, &alice, &RoomVersionId::V12);
    knock(&b, &bob, &room, &a).ok();
    b.try_leave(&bob, &room).ok();
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("leave"));
    assert!(shown_in(&b, &bob, &room).is_empty());
    knock(&b, &bob, &room, &a).ok();
    network.cut(&a, &b);
    b.try_leave(&bob, &room).ok();
    assert!(shown_in(&b, &bob, &room).is_empty());
}

#[test]
fn a_knock_goes_on_to_the_next_server_and_tells_what_the_room_says() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let useless = network.peer();
    network.link(b.server_name(), useless.name(), Link::Down);
    let room = door(&a, &alice, &RoomVersionId::V12);
    let path = |vias: &str| format!("/_matrix/client/v3/knock/{}?{vias}", escaped(&room));
    let both = path(&format!("via={}&via={}", a.server_name(), useless.name()));
    let pending = b.queue(crate::harness::request("POST", &both, Some(&bob.token), "{}"));
    network.patiently(&pending).ok();
    a.act(&alice, &room, "ban", &bob.id).ok();
    network.settle();
    // The refusal of a server in the room says more than that another is away.
    let pending = b.queue(crate::harness::request("POST", &both, Some(&bob.token), "{}"));
    network.patiently(&pending).is_error(403, "M_FORBIDDEN");
    b.post(&path(""), &bob.token, json!({})).is_error(404, "M_NOT_FOUND");
}

/// Alice's homeserver with a room to knock on, and a server that is but a key.
struct Siege {
    server: TestServer,
    alice: TestUser,
    peer: std::rc::Rc<Peer>,
    eve: OwnedUserId,
    room: String,
}

impl Siege {
    fn new() -> Self {
        let network = Network::new();
        let (server, peer) = (network.server(), network.peer());
        let alice = server.register("alice");
        let eve = peer.user("eve");
        let room = door(&server, &alice, &RoomVersionId::V12);
        Self { server, alice, peer, eve, room }
    }

    fn make_knock(&self, user: &str, versions: &str) -> Answer {
        let path = format!("/_matrix/federation/v1/make_knock/{}/{user}?{versions}", escaped(&self.room));
        self.peer.ask(&self.server, "GET", &path, Value::Null)
    }

    fn knock(&self) -> Pdu {
        self.sign(self.make_knock(self.eve.as_str(), "ver=12").ok()["event"].clone())
    }

    fn sign(&self, template: Value) -> Pdu {
        let rules = warren::domain::room_version::rules(&RoomVersionId::V12).unwrap();
        seal_template(object(template), &self.peer.identity, &rules).unwrap()
    }

    fn send_knock(&self, knock: &Pdu) -> Answer {
        self.send_as(knock.event_id.as_str(), value(knock))
    }

    fn send_as(&self, event_id: &str, body: Value) -> Answer {
        let path = format!("/_matrix/federation/v1/send_knock/{}/{}", escaped(&self.room), escaped(event_id));
        let answer = self.peer.ask(&self.server, "PUT", &path, body);
        self.server.settle();
        answer
    }

    fn knocks(&self) -> bool {
        self.server.membership(&self.room, self.eve.as_str()).as_deref() == Some("knock")
    }
}

#[test]
fn a_server_that_is_but_a_key_knocks_as_the_specification_says() {
    let siege = Siege::new();
    let template = siege.make_knock(siege.eve.as_str(), "ver=11&ver=12").ok();
    assert_eq!(template["room_version"], "12");
    assert_eq!(template["event"]["content"]["membership"], "knock");
    let knock = siege.knock();
    let answer = siege.send_knock(&knock).ok();
    let shown = list(&answer["knock_room_state"]);
    assert!(shown.iter().any(|event| event["type"] == "m.room.create" && event["signatures"].is_object()));
    assert!(siege.knocks());
    siege.send_knock(&knock).ok();
    assert!(siege.server.sync(&siege.alice, None, "")["rooms"]["join"].get(&siege.room).is_some());
}

#[test]
fn a_knock_that_is_none_is_not_taken() {
    let siege = Siege::new();
    siege.make_knock(siege.eve.as_str(), "ver=9").is_error(400, "M_INCOMPATIBLE_ROOM_VERSION");
    assert_eq!(siege.make_knock(siege.eve.as_str(), "ver=9").body["room_version"], "12");
    siege.make_knock(&siege.alice.id, "ver=12").is_error(403, "M_FORBIDDEN");
    siege.make_knock("nonsense", "ver=12").is_error(400, "M_INVALID_PARAM");
    let template = siege.make_knock(siege.eve.as_str(), "ver=12").ok()["event"].clone();
    let with = |field: &str, value: Value| {
        let mut template = template.clone();
        template[field] = value;
        siege.sign(template)
    };
    siege.send_knock(&with("content", json!({ "membership": "join" }))).is_error(400, "M_INVALID_PARAM");
    siege.send_knock(&with("content", json!({ "membership": "leave" }))).is_error(400, "M_INVALID_PARAM");
    siege.send_knock(&with("type", json!("m.room.topic"))).is_error(400, "M_INVALID_PARAM");
    let another = siege.peer.user("mallory");
    siege.send_knock(&with("state_key", json!(another))).is_error(400, "M_INVALID_PARAM");
    siege.send_knock(&with("sender", json!(siege.alice.id))).is_error(400, "M_INVALID_PARAM");
    siege.send_knock(&with("room_id", json!("!elsewhere"))).is_error(400, "M_INVALID_PARAM");
    let knock = siege.knock();
    siege.send_as("$another", value(&knock)).is_error(400, "M_INVALID_PARAM");
    let mut altered = value(&knock);
    altered["content"]["reason"] = json!("not what was hashed");
    siege.send_as(knock.event_id.as_str(), altered).is_error(400, "M_INVALID_PARAM");
    siege.send_as(knock.event_id.as_str(), json!({})).is_error(400, "M_INVALID_PARAM");
    let mut huge = value(&knock);
    huge["content"]["reason"] = json!("x".repeat(70_000));
    siege.send_as(knock.event_id.as_str(), huge).is_error(400, "M_INVALID_PARAM");
    assert!(!siege.knocks());
}

#[test]
fn nobody_knocks_who_is_banned_or_where_there_is_no_door() {
    let siege = Siege::new();
    let knock = siege.knock();
    siege.server.act(&siege.alice, &siege.room, "ban", siege.eve.as_str()).ok();
    siege.make_knock(siege.eve.as_str(), "ver=12").is_error(403, "M_FORBIDDEN");
    siege.send_knock(&knock).is_error(403, "M_FORBIDDEN");
    assert_eq!(siege.server.membership(&siege.room, siege.eve.as_str()).as_deref(), Some("ban"));

    let siege = Siege::new();
    let knock = siege.knock();
    siege.server.set_state(&siege.alice, &siege.room, "m.room.join_rules", "", json!({ "join_rule": "invite" }));
    siege.send_knock(&knock).is_error(403, "M_FORBIDDEN");
    siege.make_knock(siege.eve.as_str(), "ver=12").is_error(403, "M_FORBIDDEN");

    let siege = Siege::new();
    let knock = siege.knock();
    let acl = json!({ "allow": ["*"], "deny": [siege.peer.name()] });
    siege.server.set_state(&siege.alice, &siege.room, "m.room.server_acl", "", acl);
    siege.make_knock(siege.eve.as_str(), "ver=12").is_error(403, "M_FORBIDDEN");
    siege.send_knock(&knock).is_error(403, "M_FORBIDDEN");
    assert!(!siege.knocks());
}

#[test]
fn a_server_that_lies_about_a_knock_gets_nothing_signed_and_floods_nobody() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let bob = server.register("bob");
    let fox = peer.user("fox");
    let room = PeerRoom::create(&peer, &fox, &RoomVersionId::V12);
    let id: OwnedUserId = bob.id.as_str().try_into().unwrap();
    let template =
        value(&room.clone().make(&peer, &id, "m.room.member", Some(&bob.id), json!({ "membership": "knock" })));
    let path = format!("/_matrix/client/v3/knock/{}?via={}", escaped(&room.id), peer.name());
    let knock = || server.post(&path, &bob.token, json!({}));
    for (field, wrong) in [
        ("room_id", json!("!elsewhere")),
        ("sender", json!(fox)),
        ("state_key", json!(fox)),
        ("type", json!("m.room.power_levels")),
        ("content", json!({ "membership": "join" })),
        ("prev_events", json!("x")),
        ("depth", json!("x")),
    ] {
        let mut wrongly = template.clone();
        wrongly[field] = wrong;
        peer.says("GET", "/make_knock/", 200, json!({ "room_version": "12", "event": wrongly }));
        knock().is_error(502, "M_UNKNOWN");
        assert!(!peer.take_heard().iter().any(|(path, _)| path.contains("send_knock")), "{field}: nothing is signed");
    }
    peer.says("GET", "/make_knock/", 200, json!({ "room_version": "99", "event": template }));
    knock().is_error(400, "M_INCOMPATIBLE_ROOM_VERSION");
    assert!(shown_in(&server, &bob, &room.id).is_empty());

    peer.says("GET", "/make_knock/", 200, json!({ "room_version": "12", "event": template }));
    let mut forged = room.state_events()[0].clone();
    forged["content"]["room_version"] = json!("forged");
    let topic =
        json!({ "type": "m.room.topic", "state_key": "", "sender": fox, "content": { "topic": "x".repeat(300_000) } });
    let lie =
        json!({ "type": "m.room.member", "state_key": bob.id, "sender": fox, "content": { "membership": "join" } });
    let name = json!({ "type": "m.room.name", "state_key": "", "sender": fox, "content": { "name": "Den" } });
    peer.says("PUT", "/send_knock/", 200, json!({ "knock_room_state": [name, lie, { "type": 5 }, topic, name] }));
    knock().ok();
    let told = server.sync(&bob, None, "")["rooms"]["knock"][&room.id]["knock_state"]["events"].clone();
    let contents: Vec<&Value> = list(&told).iter().map(|event| &event["content"]).collect();
    assert_eq!(contents, [&json!({ "name": "Den" }), &json!({ "membership": "knock" })]);
}

#[test]
fn only_who_is_in_the_room_ends_a_knock() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let stranger = network.peer();
    let mallory = stranger.user("mallory");
    let room = door(&a, &alice, &RoomVersionId::V12);
    knock(&b, &bob, &room, &a).ok();
    let mut known = PeerRoom::create(&stranger, &mallory, &RoomVersionId::V12);
    known.id.clone_from(&room);
    let kick = known.make(&stranger, &mallory, "m.room.member", Some(&bob.id), json!({ "membership": "leave" }));
    assert!(stranger.send_pdu(&b, &kick).is_some());
    assert_eq!(shown_in(&b, &bob, &room), ["knock"]);
    a.act(&alice, &room, "kick", &bob.id).ok();
    network.settle();
    assert!(shown_in(&b, &bob, &room).is_empty());
}
