//! Joining through a server that lies about the room, and letting in servers that do.
use std::rc::Rc;

use ruma::{OwnedUserId, RoomVersionId, ServerName};
use serde_json::{Value, json};
use warren::domain::room_version::SUPPORTED;

use crate::{
    federation_network::Network,
    federation_peer::{Peer, PeerRoom, object, value},
    federation_scene::Scene,
    harness::{Answer, TestServer, TestUser},
    talk::escaped,
};

/// Bob's homeserver, and a room on a server that is but a key.
struct Burrow {
    network: Network,
    server: TestServer,
    bob: TestUser,
    peer: Rc<Peer>,
    mole: OwnedUserId,
    room: PeerRoom,
}

impl Burrow {
    fn new(version: RoomVersionId) -> Self {
        let network = Network::new();
        let (server, peer) = (network.server(), network.peer());
        let bob = server.register("bob");
        let mole = peer.user("mole");
        let room = PeerRoom::create(&peer, &mole, &version);
        Self { network, server, bob, peer, mole, room }
    }

    /// The template of an honest server.
    fn template(&self) -> Value {
        let content = json!({ "membership": "join" });
        let mut room = self.room.clone();
        let bob: OwnedUserId = self.bob.id.as_str().try_into().unwrap();
        let event = value(&room.make(&self.peer, &bob, "m.room.member", Some(bob.as_str()), content));
        json!({ "room_version": self.room.version, "event": event })
    }

    fn honest_answer(&self) -> Value {
        json!({ "state": self.room.state_events(), "auth_chain": self.room.auth_chain() })
    }

    /// Joins with these answers to make_join and send_join.
    fn join(&self, template: Value, answer: Value) -> Answer {
        self.peer.unlearn();
        self.peer.says("GET", "/make_join/", 200, template);
        self.peer.says("PUT", "/send_join/", 200, answer);
        self.server.join_via(&self.bob, &self.room.id, self.peer.name())
    }

    #[track_caller]
    fn refuses(&self, answer: Value) {
        let answer = self.join(self.template(), answer);
        answer.is_error(502, "M_UNKNOWN");
        assert!(self.server.inspected(&self.room.id).is_none(), "there is no half room");
        let joined = self.server.get("/_matrix/client/v3/joined_rooms", &self.bob.token);
        assert!(joined.body["joined_rooms"].as_array().is_none_or(Vec::is_empty));
    }

    /// The join that the server made of the template.
    fn join_event(&self) -> Value {
        let heard = self.peer.take_heard();
        heard.into_iter().find(|(path, _)| path.contains("/send_join/")).expect("it sent a join").1
    }
}

#[test]
fn an_honest_answer_makes_the_room() {
    for version in SUPPORTED {
        let mut burrow = Burrow::new(version.clone());
        burrow.join(burrow.template(), burrow.honest_answer()).ok();
        let state = burrow.server.state_of(&burrow.room.id);
        for (key, id) in &burrow.room.state {
            assert_eq!(state.get(key).map(String::as_str), Some(id.as_str()), "{version} {key:?}");
        }
        // What the owner says next is heard.
        let bob: OwnedUserId = burrow.bob.id.as_str().try_into().unwrap();
        let join = burrow.room.parse(&burrow.join_event());
        assert_eq!(join.sender, bob);
        burrow.room.push(&Rc::new(join));
        let said = burrow.room.say(&burrow.peer, &burrow.mole, "mind the roots");
        assert_eq!(burrow.peer.send_pdu(&burrow.server, &said), None);
        assert_eq!(burrow.server.said_in(&burrow.bob, &burrow.room.id), ["mind the roots"]);
    }
}

#[test]
fn a_template_decides_where_the_join_goes_and_nothing_else() {
    let burrow = Burrow::new(RoomVersionId::V12);
    let mut template = burrow.template();
    let event = &mut template["event"];
    event["origin_server_ts"] = json!(1);
    event["redacts"] = json!("$something");
    event["smuggled"] = json!("goods");
    event["content"] = json!({ "membership": "join", "users": { burrow.mole.as_str(): 100 }, "smuggled": true });
    burrow.join(template, burrow.honest_answer()).ok();
    let sent = burrow.join_event();
    assert_eq!(sent["content"], json!({ "membership": "join" }));
    assert_eq!((&sent["sender"], &sent["state_key"]), (&json!(burrow.bob.id), &json!(burrow.bob.id)));
    assert_eq!((&sent["type"], &sent["room_id"]), (&json!("m.room.member"), &json!(burrow.room.id)));
    assert!(sent.get("smuggled").is_none() && sent.get("redacts").is_none());
    assert_ne!(sent["origin_server_ts"], 1);
}

#[test]
fn a_template_that_is_none_is_refused_before_anything_is_signed() {
    let burrow = Burrow::new(RoomVersionId::V12);
    let good = burrow.template();
    let many: Vec<String> = (0..50).map(|n| format!("$event{n}")).collect();
    let mut broken =
        vec![json!({}), json!([]), json!({ "room_version": "12" }), json!({ "room_version": "12", "event": 5 })];
    for (field, wrong) in [
        ("room_id", json!("!elsewhere")),
        ("sender", json!(burrow.mole)),
        ("state_key", json!(burrow.mole)),
        ("type", json!("m.room.power_levels")),
        ("content", json!({ "membership": "ban" })),
        ("content", json!({})),
        ("prev_events", json!(null)),
        ("prev_events", json!(many)),
        ("prev_events", json!([5])),
        ("prev_events", json!(["nonsense"])),
        ("auth_events", json!("all")),
        ("auth_events", json!(many)),
        ("depth", json!(null)),
        ("depth", json!("deep")),
        ("depth", json!(-5)),
    ] {
        let mut template = good.clone();
        template["event"][field] = wrong;
        broken.push(template);
    }
    for template in broken {
        let answer = burrow.join(template.clone(), burrow.honest_answer());
        assert!(answer.status.as_u16() >= 400 && answer.status != 500, "{template}: {}", answer.status);
        let heard = burrow.peer.take_heard();
        assert!(heard.iter().all(|(path, _)| !path.contains("/send_join/")), "{template}");
        assert!(burrow.server.inspected(&burrow.room.id).is_none());
    }
}

#[test]
fn a_room_version_nobody_here_knows_is_said_to_be_unsupported() {
    let burrow = Burrow::new(RoomVersionId::V12);
    for version in [json!("0"), json!("13"), json!("org.example.odd")] {
        let mut template = burrow.template();
        template["room_version"] = version;
        burrow.join(template, burrow.honest_answer()).is_error(400, "M_INCOMPATIBLE_ROOM_VERSION");
    }
    let asked = burrow.peer.take_heard();
    assert!(
        asked[0].0.contains("ver=1&") && asked[0].0.contains("ver=10") && asked[0].0.contains("ver=12"),
        "{}",
        asked[0].0
    );
    let refusal = json!({ "errcode": "M_INCOMPATIBLE_ROOM_VERSION", "error": "no", "room_version": "99" });
    burrow.peer.says("GET", "/make_join/", 400, refusal);
    let answer = burrow.server.join_via(&burrow.bob, &burrow.room.id, burrow.peer.name());
    answer.is_error(400, "M_UNSUPPORTED_ROOM_VERSION");
}

#[test]
fn another_version_than_the_rooms_is_found_out() {
    for (real, claimed) in
        [("10", "11"), ("11", "10"), ("12", "11"), ("11", "12"), ("1", "2"), ("3", "1"), ("4", "3"), ("5", "6")]
    {
        let burrow = Burrow::new(real.try_into().unwrap());
        let mut template = burrow.template();
        template["room_version"] = json!(claimed);
        let answer = burrow.join(template, burrow.honest_answer());
        assert_eq!(answer.status, 502, "{real} {claimed}: {}", answer.body);
        assert!(burrow.server.inspected(&burrow.room.id).is_none());
    }
}

#[test]
fn answers_that_are_no_room_make_none() {
    for version in SUPPORTED {
        let burrow = Burrow::new(version.clone());
        let honest = burrow.honest_answer();
        burrow.refuses(json!({}));
        burrow.refuses(json!({ "state": [], "auth_chain": [] }));
        burrow.refuses(json!({ "state": "all of it", "auth_chain": [] }));
        burrow.refuses(json!({ "state": [null, 5, "x", {}, []], "auth_chain": [] }));
        // No create event in the state.
        let without_create: Vec<Value> = honest["state"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["type"] != "m.room.create")
            .cloned()
            .collect();
        burrow.refuses(json!({ "state": without_create, "auth_chain": honest["auth_chain"] }));
        // One place twice.
        let mut room = burrow.room.clone();
        let topic = |room: &mut PeerRoom, text: &str| {
            value(&room.make(&burrow.peer, &burrow.mole, "m.room.topic", Some(""), json!({ "topic": text })))
        };
        let (one, two) = (topic(&mut room, "one"), topic(&mut room, "two"));
        let mut state = honest["state"].as_array().unwrap().clone();
        state.extend([one, two]);
        burrow.refuses(json!({ "state": state, "auth_chain": honest["auth_chain"] }));
        // Another room altogether.
        let other = PeerRoom::create(&burrow.peer, &burrow.mole, &version);
        burrow.refuses(json!({ "state": other.state_events(), "auth_chain": other.auth_chain() }));
        // The whole without what it rests on.
        let lone: Vec<Value> = honest["state"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["type"] == "m.room.create")
            .cloned()
            .collect();
        let answer = burrow.join(burrow.template(), json!({ "state": lone, "auth_chain": [] }));
        assert!([403, 502].contains(&answer.status.as_u16()), "{version}: {} {}", answer.status, answer.body);
        assert!(burrow.server.inspected(&burrow.room.id).is_none());
        // And still the door is open to the truth.
        burrow.join(burrow.template(), honest).ok();
    }
}

#[test]
fn an_answer_larger_than_any_room_is_refused() {
    let burrow = Burrow::new(RoomVersionId::V12);
    let answer = burrow.join(burrow.template(), json!({ "state": vec![Value::Null; 100_001], "auth_chain": [] }));
    assert_eq!(answer.status, 502);
    assert!(answer.body["error"].as_str().unwrap().contains("too many events"), "{}", answer.body);
}

#[test]
fn a_create_event_of_somebody_elses_is_refused() {
    for version in SUPPORTED {
        let burrow = Burrow::new(version.clone());
        let thief = burrow.network.peer();
        // The same room id, claimed by a server it does not belong to.
        let mut stolen = PeerRoom::create(&thief, &thief.user("fox"), &version);
        if version != RoomVersionId::V12 {
            let fox = thief.user("fox");
            let draft = burrow.room.draft(
                &fox,
                "m.room.create",
                Some(""),
                value(&stolen.events.values().next().unwrap().clone())["content"].clone(),
            );
            let mut content = json!({ "room_version": version });
            if !version.rules().unwrap().authorization.use_room_create_sender {
                content["creator"] = json!(fox);
            }
            let draft = warren::domain::event::draft::Draft { content: object(content), ..draft };
            let mut empty = burrow.room.clone();
            empty.heads.clear();
            empty.state.clear();
            empty.depth = 0;
            let position = empty.position(&draft);
            let create = empty.seal(&thief, draft, position);
            stolen = empty;
            stolen.events.clear();
            stolen.push(&create);
            stolen.add(&thief, &fox, "m.room.member", Some(fox.as_str()), json!({ "membership": "join" }));
        }
        let answer = json!({ "state": stolen.state_events(), "auth_chain": stolen.auth_chain() });
        burrow.refuses(answer.clone());
        // Nor with a template that fits it.
        let bob: OwnedUserId = burrow.bob.id.as_str().try_into().unwrap();
        let join = stolen.make(&thief, &bob, "m.room.member", Some(bob.as_str()), json!({ "membership": "join" }));
        let template = json!({ "room_version": version, "event": value(&join) });
        burrow.join(template, answer).is_error(502, "M_UNKNOWN");
        assert!(burrow.server.inspected(&burrow.room.id).is_none());
    }
}

#[test]
fn forged_and_forbidden_events_are_no_part_of_the_room() {
    for version in SUPPORTED {
        let burrow = Burrow::new(version.clone());
        let victim = burrow.network.server();
        let vic: OwnedUserId = format!("@vic:{}", victim.server_name()).try_into().unwrap();
        let mut room = burrow.room.clone();
        let (peer, mole) = (&burrow.peer, &burrow.mole);
        // A membership of somebody who never signed it.
        let forged = room.make(peer, &vic, "m.room.member", Some(vic.as_str()), json!({ "membership": "join" }));
        // A power no rule gave: somebody who is not in the room sets the topic.
        let outsider = peer.user("outsider");
        let forbidden = room.make(peer, &outsider, "m.room.topic", Some(""), json!({ "topic": "mine" }));
        // An event altered after it was signed keeps its place without what was altered.
        let name = room.add(peer, mole, "m.room.name", Some(""), json!({ "name": "Burrow" }));
        let mut altered = value(&name);
        altered["content"]["name"] = json!("Foxhole");
        let mut answer = burrow.honest_answer();
        answer["state"].as_array_mut().unwrap().extend([value(&forged), value(&forbidden), altered]);
        burrow.join(burrow.template(), answer).ok();
        let state = burrow.server.state_of(&room.id);
        assert_eq!(state.get(&("m.room.member".to_owned(), vic.to_string())), None, "{version}");
        assert_eq!(state.get(&("m.room.topic".to_owned(), String::new())), None, "{version}");
        let name = &state[&("m.room.name".to_owned(), String::new())];
        let kept: Value = serde_json::from_str(&burrow.server.inspected_event(name).unwrap().json).unwrap();
        assert_eq!(kept["content"], json!({}), "{version}");
    }
}

#[test]
fn a_state_that_does_not_let_us_in_is_not_joined() {
    let mut burrow = Burrow::new(RoomVersionId::V12);
    let (peer, mole) = (burrow.peer.clone(), burrow.mole.clone());
    let template = burrow.template();
    burrow.room.add(&peer, &mole, "m.room.member", Some(&burrow.bob.id), json!({ "membership": "ban" }));
    burrow.join(template, burrow.honest_answer()).is_error(403, "M_FORBIDDEN");
    assert!(burrow.server.inspected(&burrow.room.id).is_none());
}

#[test]
fn who_comes_back_is_not_fooled_about_which_room_it_was() {
    for (version, claimed) in [(RoomVersionId::V10, "11"), (RoomVersionId::V11, "10")] {
        let mut burrow = Burrow::new(version.clone());
        burrow.join(burrow.template(), burrow.honest_answer()).ok();
        burrow.peer.says("GET", "/make_leave/", 404, json!({}));
        burrow.server.try_leave(&burrow.bob, &burrow.room.id).ok();
        // The owner of the room's name makes another room of the same id, of this version and of another.
        let honest = burrow.room.clone();
        for new_version in [version.as_str(), claimed] {
            let new_version: RoomVersionId = new_version.try_into().unwrap();
            let mut fake = PeerRoom::create(&burrow.peer, &burrow.mole, &new_version);
            fake.id = honest.id.clone();
            let rebuilt = fake.rebuilt(&burrow.peer, &burrow.mole);
            burrow.room = rebuilt;
            let answer = burrow.join(burrow.template(), burrow.honest_answer());
            answer.is_error(502, "M_UNKNOWN");
            assert!(!burrow.server.is_resident(&honest.id));
        }
        burrow.room = honest;
        burrow.join(burrow.template(), burrow.honest_answer()).ok();
    }
}

/// What a server gets told when it asks to let somebody in.
fn make_join(scene: &Scene, user: &str, query: &str) -> Answer {
    let path = format!("/_matrix/federation/v1/make_join/{}/{user}{query}", escaped(&scene.room));
    scene.peer.ask(&scene.server, "GET", &path, Value::Null)
}

#[test]
fn a_template_is_given_to_who_may_have_it() {
    let scene = Scene::new();
    let dan = scene.peer.user("dan");
    make_join(&scene, dan.as_str(), "?ver=12").ok();
    make_join(&scene, dan.as_str(), "?ver=10&ver=11").is_error(400, "M_INCOMPATIBLE_ROOM_VERSION");
    make_join(&scene, dan.as_str(), "").is_error(400, "M_INCOMPATIBLE_ROOM_VERSION");
    make_join(&scene, &scene.alice.id, "?ver=12").is_error(403, "M_FORBIDDEN");
    make_join(&scene, "nonsense", "?ver=12").is_error(400, "M_INVALID_PARAM");
    let nowhere = format!("/_matrix/federation/v1/make_join/!nowhere/{dan}?ver=12");
    scene.peer.ask(&scene.server, "GET", &nowhere, Value::Null).is_error(404, "M_NOT_FOUND");
    let template = make_join(&scene, dan.as_str(), "?ver=12").ok();
    assert!(template["event"].get("signatures").is_none() && template["event"].get("hashes").is_none());
}

/// Sends `event` as the join it may or may not be.
fn send_join(scene: &Scene, id: &str, event: &Value) -> Answer {
    let path = format!("/_matrix/federation/v2/send_join/{}/{}", escaped(&scene.room), escaped(id));
    scene.peer.ask(&scene.server, "PUT", &path, event.clone())
}

#[test]
fn what_is_no_join_lets_nobody_in() {
    let mut scene = Scene::new();
    let dan = scene.peer.user("dan");
    let (_, join) = PeerRoom::make_join(&scene.peer, &scene.server, &scene.room, &dan);
    let id = join.event_id.to_string();
    let before = scene.server.state_of(&scene.room);
    send_join(&scene, "$another", &value(&join)).is_error(400, "M_INVALID_PARAM");
    send_join(&scene, &id, &json!({})).is_error(400, "M_INVALID_PARAM");
    let mut altered = value(&join);
    altered["content"]["displayname"] = json!("Not Dan");
    send_join(&scene, &id, &altered).is_error(400, "M_INVALID_PARAM");
    altered["sender"] = json!(scene.alice.id);
    send_join(&scene, &id, &altered).is_error(400, "M_INVALID_PARAM");
    let message = scene.message("I am a join");
    send_join(&scene, message.event_id.as_str(), &value(&message)).is_error(400, "M_INVALID_PARAM");
    let leave = scene.event("m.room.member", Some(dan.as_str()), json!({ "membership": "join" }));
    send_join(&scene, leave.event_id.as_str(), &value(&leave)).is_error(400, "M_INVALID_PARAM");
    // A join that follows from nobody's template.
    let mut known = scene.known.clone();
    known.heads = vec!["$fata_morgana".try_into().unwrap()];
    let lost = known.make(&scene.peer, &dan, "m.room.member", Some(dan.as_str()), json!({ "membership": "join" }));
    send_join(&scene, lost.event_id.as_str(), &value(&lost)).is_error(400, "M_UNKNOWN");
    // One for a server that asks in another's name.
    let other = scene.network.peer();
    let path = format!("/_matrix/federation/v2/send_join/{}/{}", escaped(&scene.room), escaped(&id));
    other.ask(&scene.server, "PUT", &path, value(&join)).is_error(403, "M_FORBIDDEN");
    assert_eq!(scene.server.state_of(&scene.room), before);
    // The banned stay out, whatever they build on.
    scene.server.act(&scene.alice, &scene.room, "ban", dan.as_str()).ok();
    send_join(&scene, &id, &value(&join)).is_error(403, "M_FORBIDDEN");
    assert_eq!(scene.server.membership(&scene.room, dan.as_str()).as_deref(), Some("ban"));
}

#[test]
fn a_join_sent_twice_is_one_join_with_one_answer() {
    let scene = Scene::new();
    let dan = scene.peer.user("dan");
    let (_, join) = PeerRoom::make_join(&scene.peer, &scene.server, &scene.room, &dan);
    let first = send_join(&scene, join.event_id.as_str(), &value(&join)).ok();
    scene.server.say(&scene.alice, &scene.room, "meanwhile");
    let again = send_join(&scene, join.event_id.as_str(), &value(&join)).ok();
    assert_eq!(first, again);
    let kinds: Vec<_> = first["state"].as_array().unwrap().iter().map(|event| event["type"].clone()).collect();
    assert!(kinds.contains(&json!("m.room.create")) && kinds.contains(&json!("m.room.power_levels")));
    assert_eq!(first["event"]["state_key"], json!(dan));
}

#[test]
fn joins_elsewhere_are_not_believed_to_be_here() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let bob = server.register("bob");
    network.link(server.server_name(), peer.name(), crate::federation_network::Link::Up);
    let dns = ServerName::parse("matrix.example.org").unwrap();
    let answer = server.queue(crate::harness::request(
        "POST",
        &format!("/_matrix/client/v3/join/!room:example.org?via={dns}"),
        Some(&bob.token),
        "{}",
    ));
    network.patiently(&answer).is_error(502, "M_UNKNOWN");
}
