//! Rooms with a policy server: what it signs is sent and shown, and nothing else, but for who it is.
use std::rc::Rc;

use ruma::{OwnedEventId, OwnedUserId};
use serde_json::{Value, json};
use warren::domain::{
    event::{Pdu, object::EventObject},
    identity::Identity,
};

use crate::{
    federation_network::{Link, Network},
    federation_peer::{Peer, PeerRoom, object, value},
    harness::{Answer, TestServer, TestUser},
    talk::escaped,
};

const SIGN: &str = "/_matrix/policy/v1/sign";
const SPAM: &str = "buy now";

/// The key of the policy server's recommendations, which is not the one it signs requests with.
fn policy_key() -> Identity {
    Identity::named([77; 32], "policy.example".try_into().unwrap())
}

fn content(via: &str, key: &Identity) -> Value {
    let key = ruma::serde::Base64::<ruma::serde::base64::Standard, _>::new(key.public_key().0.to_vec()).encode();
    json!({ "via": via, "public_keys": { "ed25519": key } })
}

/// The signature of `key` on an event as it arrived.
fn signature(event: &Value, key: &Identity) -> Value {
    let rules = ruma::RoomVersionId::V11.rules().unwrap();
    let mut event = EventObject::from(object(event.clone()));
    event.sign(key, &rules).unwrap();
    let signed: Value = serde_json::from_str(&event.to_json()).unwrap();
    signed["signatures"]["policy.example"]["ed25519:self"].clone()
}

/// A room of Alice's in which a peer, the policy server, refuses spam, and Eve's server asks nobody.
struct Guarded {
    network: Network,
    server: TestServer,
    alice: TestUser,
    room: String,
    policy: Rc<Peer>,
    eves: Rc<Peer>,
    eve: OwnedUserId,
    known: PeerRoom,
}

impl Guarded {
    fn new() -> Self {
        let network = Network::new();
        let (server, policy, eves) = (network.server(), network.peer(), network.peer());
        let alice = server.register("alice");
        let room = server.create_room(&alice, json!({ "preset": "public_chat", "room_version": "11" }));
        let guard = policy.user("guard");
        PeerRoom::join(&policy, &server, &room, &guard);
        let eve = eves.user("eve");
        signs(&policy, policy_key());
        server.set_state(&alice, &room, "m.room.policy", "", content(policy.name().as_str(), &policy_key()));
        assert!(policy.take_heard().iter().all(|(path, _)| path != SIGN), "it is not asked about who it is");
        let known = PeerRoom::join(&eves, &server, &room, &eve);
        network.settle();
        policy.take_heard();
        Self { network, server, alice, room, policy, eves, eve, known }
    }

    fn put(&self, text: &str) -> Answer {
        let path =
            format!("/_matrix/client/v3/rooms/{}/send/m.room.message/{}", escaped(&self.room), crate::talk::next_txn());
        let answer = self.server.put(&path, &self.alice.token, json!({ "msgtype": "m.text", "body": text }));
        self.network.settle();
        answer
    }

    fn said(&self) -> Vec<String> {
        self.server.said_in(&self.alice, &self.room)
    }

    fn stored(&self, event_id: &str) -> Value {
        serde_json::from_str(&self.server.inspected_event(event_id).unwrap().json).unwrap()
    }

    fn asked(&self) -> usize {
        self.policy.take_heard().iter().filter(|(path, _)| path == SIGN).count()
    }

    /// Sends an event of Eve's; nothing is wrong with it, whatever becomes of it.
    fn eve_sends(&mut self, pdu: &Pdu) {
        assert_eq!(self.eves.send_pdu(&self.server, pdu), None);
        self.network.settle();
    }

    fn eve_says(&mut self, text: &str) -> Rc<Pdu> {
        let said = self.known.clone().say(&self.eves, &self.eve, text);
        self.eve_sends(&said);
        said
    }
}

/// Signs everything but spam with `key`.
fn signs(policy: &Peer, key: Identity) {
    let name = policy.name().to_owned();
    policy.on("POST", SIGN, move |request| {
        let event: Value = serde_json::from_slice(request.body()).unwrap();
        if event["content"]["body"] == SPAM {
            return (400, json!({ "errcode": "M_FORBIDDEN", "error": "This looks like spam" }));
        }
        let mut answer = json!({});
        answer[name.as_str()] = json!({ "ed25519:policy_server": signature(&event, &key) });
        (200, answer)
    });
}

#[test]
fn what_the_policy_server_signs_is_sent_with_its_signature() {
    let scene = Guarded::new();
    let id = scene.put("hello").ok()["event_id"].as_str().unwrap().to_owned();
    assert_eq!(scene.asked(), 1);
    assert_eq!(scene.said(), ["hello"]);
    let sent = scene.eves.take_heard().into_iter().filter(|(path, _)| path.contains("/send/"));
    let sent: Vec<Value> = sent.flat_map(|(_, body)| body["pdus"].as_array().cloned().unwrap_or_default()).collect();
    for event in [scene.stored(&id), sent.into_iter().find(|event| event["type"] == "m.room.message").unwrap()] {
        let given = &event["signatures"][scene.policy.name().as_str()]["ed25519:policy_server"];
        assert_eq!(*given, signature(&event, &policy_key()));
        assert!(event["signatures"][scene.server.server_name().as_str()].is_object(), "beside our own");
    }
    // Whatever it is: state, redactions, memberships, and what is only called like who it is.
    let (server, alice, room) = (&scene.server, &scene.alice, &scene.room);
    server.set_state(alice, room, "m.room.topic", "", json!({ "topic": "tea" }));
    server.redact(alice, room, &id);
    let bob = server.register("bob");
    server.act_on(alice, room, "invite", &bob);
    server.join(&bob, room);
    server.act_on(alice, room, "kick", &bob);
    server.set_state(alice, room, "m.room.policy", "other", json!({}));
    assert_eq!(scene.asked(), 6);
    // An invite to another server, which countersigns what the policy server has signed.
    let eves = Rc::downgrade(&scene.eves);
    scene.eves.on("PUT", "/v2/invite/", move |request| {
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        let mut event = EventObject::from(object(body["event"].clone()));
        event.sign(&eves.upgrade().unwrap().identity, &ruma::RoomVersionId::V11.rules().unwrap()).unwrap();
        (200, json!({ "event": serde_json::from_str::<Value>(&event.to_json()).unwrap() }))
    });
    let zoe = scene.eves.user("zoe");
    server.act(alice, room, "invite", zoe.as_str()).ok();
    assert_eq!(scene.asked(), 1);
}

#[test]
fn what_the_policy_server_refuses_is_not_sent() {
    let scene = Guarded::new();
    let before = scene.server.heads_of(&scene.room);
    let refused = scene.put(SPAM);
    refused.is_error(400, "M_FORBIDDEN");
    assert_eq!(refused.body["error"], "This looks like spam", "in its own words");
    let says = |status: u16, answer: Value| scene.policy.says("POST", SIGN, status, answer);
    says(429, json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "Later", "retry_after_ms": 5 }));
    scene.put("hello").is_error(429, "M_LIMIT_EXCEEDED");
    // What would mean something else to a client than it does to us.
    says(401, json!({ "errcode": "M_UNKNOWN_TOKEN", "error": "Begone" }));
    scene.put("hello").is_error(502, "M_UNKNOWN");
    says(403, json!({ "errcode": "M_USER_DEACTIVATED", "error": "Begone" }));
    scene.put("hello").is_error(403, "M_FORBIDDEN");
    // No signature, that of another key, and that of another event.
    let name = scene.policy.name().as_str().to_owned();
    let signed = |signature: Value| {
        let mut answer = json!({});
        answer[name.as_str()] = json!({ "ed25519:policy_server": signature });
        answer
    };
    for answer in [json!({}), json!([]), json!("yes"), signed(json!(5)), signed(json!("c2lnbmF0dXJl"))] {
        says(200, answer);
        scene.put("hello").is_error(502, "M_UNKNOWN");
    }
    signs(&scene.policy, Identity::named([78; 32], "policy.example".try_into().unwrap()));
    scene.put("hello").is_error(502, "M_UNKNOWN");
    assert!(scene.said().is_empty());
    assert_eq!(scene.server.heads_of(&scene.room), before, "nothing happened in the room");
    let path = format!("/_matrix/client/v3/join/{}", escaped(&scene.room));
    let bob = scene.server.register("bob");
    scene.server.post(&path, &bob.token, json!({})).is_error(502, "M_UNKNOWN");
    // When it is away, nothing is sent either, and the room says so at once.
    scene.network.link(scene.server.server_name(), scene.policy.name(), Link::Down);
    scene.put("hello").is_error(502, "M_UNKNOWN");
    // When it says nothing at all, we wait for as long as a user may.
    scene.network.link(scene.server.server_name(), scene.policy.name(), Link::Stalling);
    let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/stalled", escaped(&scene.room));
    let body = json!({ "msgtype": "m.text", "body": "hello" }).to_string();
    let pending = scene.server.queue(crate::harness::request("PUT", &path, Some(&scene.alice.token), body));
    scene.network.patiently(&pending).is_error(502, "M_UNKNOWN");
    assert!(scene.said().is_empty());
}

#[test]
fn what_comes_without_its_signature_is_asked_for_or_soft_failed() {
    let mut scene = Guarded::new();
    let said = scene.eve_says("good morning");
    assert_eq!(scene.asked(), 1);
    assert_eq!(scene.said(), ["good morning"]);
    let stored = scene.stored(said.event_id.as_str());
    let given = &stored["signatures"][scene.policy.name().as_str()]["ed25519:policy_server"];
    assert_eq!(*given, signature(&stored, &policy_key()), "and others get it from us");
    // Spam is taken in, and neither shown nor built upon.
    let spam = scene.eve_says(SPAM);
    assert_eq!(scene.asked(), 1);
    assert_eq!(scene.said(), ["good morning"]);
    assert!(!scene.server.heads_of(&scene.room).contains(spam.event_id.as_str()));
    // What bears its signature needs no question; another signature in that place does.
    let mut signed = value(&scene.known.clone().say(&scene.eves, &scene.eve, "signed"));
    let name = scene.policy.name().as_str().to_owned();
    signed["signatures"][name.as_str()] = json!({ "ed25519:policy_server": signature(&signed, &policy_key()) });
    scene.eves.send(&scene.server, "signed", &[signed], &[]).ok();
    assert_eq!(scene.asked(), 0);
    let mut forged = value(&scene.known.clone().say(&scene.eves, &scene.eve, "signed wrongly"));
    let other = Identity::named([78; 32], "policy.example".try_into().unwrap());
    forged["signatures"][name.as_str()] = json!({ "ed25519:policy_server": signature(&forged, &other) });
    scene.eves.send(&scene.server, "forged", &[forged.clone()], &[]).ok();
    assert_eq!(scene.asked(), 1);
    assert_eq!(scene.said(), ["good morning", "signed", "signed wrongly"]);
    forged["content"]["body"] = json!(SPAM);
    // While it is away nobody can recommend anything.
    scene.network.link(scene.server.server_name(), scene.policy.name(), Link::Down);
    scene.eve_says("anybody there?");
    assert_eq!(scene.said().len(), 3);
}

#[test]
fn a_room_parts_with_its_policy_server_without_asking_it() {
    let scene = Guarded::new();
    let no = json!({ "errcode": "M_FORBIDDEN", "error": "No" });
    scene.policy.says("POST", SIGN, 400, no);
    scene.put("hello").is_error(400, "M_FORBIDDEN");
    scene.asked();
    let names = |named: Value| scene.server.set_state(&scene.alice, &scene.room, "m.room.policy", "", named);
    let good = content(scene.policy.name().as_str(), &policy_key());
    let without = |field: &str| {
        let mut content = good.clone();
        content.as_object_mut().unwrap().remove(field);
        content
    };
    let stranger = scene.network.peer().name().to_owned();
    let invalid = [
        json!({}),
        without("via"),
        without("public_keys"),
        json!({ "via": scene.policy.name(), "public_keys": { "curve": "AAAA" } }),
        json!({ "via": 5, "public_keys": good["public_keys"] }),
        content(stranger.as_str(), &policy_key()),
        content(scene.server.server_name().as_str(), &policy_key()),
    ];
    for (number, named) in invalid.into_iter().enumerate() {
        names(named);
        scene.put(&format!("free {number}")).ok();
        names(good.clone());
        scene.put("hello").is_error(400, "M_FORBIDDEN");
        assert_eq!(scene.asked(), 1, "about what was said, and not about who it is");
    }
    // What is no key signs nothing, and is not asked to.
    names(json!({ "via": scene.policy.name(), "public_keys": { "ed25519": "no key" } }));
    scene.put("hello").is_error(400, "M_FORBIDDEN");
    names(good);
    // Without anybody in the room it is none.
    let guard = scene.policy.user("guard");
    let kick = scene.server.act(&scene.alice, &scene.room, "kick", guard.as_str());
    kick.is_error(400, "M_FORBIDDEN");
    assert_eq!(scene.said().len(), 7);
}

#[test]
fn who_joins_through_us_is_recommended_first() {
    let scene = Guarded::new();
    let other = scene.network.peer();
    let fay = other.user("fay");
    PeerRoom::join(&other, &scene.server, &scene.room, &fay);
    assert_eq!(scene.asked(), 1);
    let join = scene.server.state_of(&scene.room)[&("m.room.member".to_owned(), fay.to_string())].clone();
    assert!(scene.stored(&join)["signatures"][scene.policy.name().as_str()].is_object());
    scene.policy.says("POST", SIGN, 400, json!({ "errcode": "M_FORBIDDEN", "error": "No" }));
    let gil = other.user("gil");
    let (_, join) = PeerRoom::make_join(&other, &scene.server, &scene.room, &gil);
    let path = format!("/_matrix/federation/v2/send_join/{}/{}", escaped(&scene.room), escaped(join.event_id.as_str()));
    other.ask(&scene.server, "PUT", &path, value(&join)).is_error(403, "M_FORBIDDEN");
    assert_eq!(scene.server.membership(&scene.room, gil.as_str()), None);
}

#[test]
fn what_is_said_while_it_is_asked_comes_through_all_the_same() {
    let scene = Guarded::new();
    let slow = Link::Slow(300);
    scene.network.link(scene.server.server_name(), scene.policy.name(), slow);
    let path = |n: u64| format!("/_matrix/client/v3/rooms/{}/send/m.room.message/same{n}", escaped(&scene.room));
    let say = |n: u64| {
        let body = json!({ "msgtype": "m.text", "body": format!("line {n}") }).to_string();
        scene.server.queue(crate::harness::request("PUT", &path(n), Some(&scene.alice.token), body))
    };
    // Two at once, the second of them twice: it is one event.
    let pending = [say(1), say(2), say(2)];
    let answers: Vec<Value> = pending.iter().map(|pending| scene.network.patiently(pending).ok()).collect();
    assert_eq!(answers[1], answers[2]);
    let mut said = scene.said();
    said.sort();
    assert_eq!(said, ["line 1", "line 2"]);
    assert_eq!(scene.server.heads_of(&scene.room).len(), 2, "neither follows the other");
}

#[test]
fn a_room_with_a_policy_server_is_replaced_once_that_agrees() {
    for version in ["10", "12"] {
        let scene = Guarded::new();
        let path = format!("/_matrix/client/v3/rooms/{}/upgrade", escaped(&scene.room));
        let upgrade = || scene.server.post(&path, &scene.alice.token, json!({ "new_version": version }));
        let tombstone =
            || scene.server.state_of(&scene.room).get(&("m.room.tombstone".to_owned(), String::new())).cloned();
        scene.policy.says("POST", SIGN, 400, json!({ "errcode": "M_FORBIDDEN", "error": "No" }));
        upgrade().is_error(400, "M_FORBIDDEN");
        assert_eq!(tombstone(), None);
        signs(&scene.policy, policy_key());
        scene.asked();
        let replacement = upgrade().ok()["replacement_room"].as_str().unwrap().to_owned();
        let stored = scene.stored(&tombstone().unwrap());
        assert_eq!(stored["content"]["replacement_room"], *replacement);
        assert!(stored["signatures"][scene.policy.name().as_str()].is_object());
        // The right to speak ends after the room, with its leave too.
        assert_eq!(scene.asked(), 2);
        let levels = scene.server.state_of(&scene.room)[&("m.room.power_levels".to_owned(), String::new())].clone();
        assert!(scene.stored(&levels)["signatures"][scene.policy.name().as_str()].is_object());
        assert!(scene.stored(&levels)["content"]["events_default"].as_i64() >= Some(50));
        assert!(scene.server.is_resident(&replacement));
    }
}

/// A room's past as its server tells it, a few events at a time, with the state before each.
#[derive(Default)]
struct Past {
    told: Vec<(Rc<Pdu>, Vec<OwnedEventId>)>,
}

impl Past {
    const PAGE: usize = 2;

    fn add(&mut self, room: &mut PeerRoom, event: Rc<Pdu>, change: impl FnOnce(&mut Value)) -> Rc<Pdu> {
        let mut json = value(&event);
        change(&mut json);
        let event = Rc::new(room.parse(&json));
        self.told.push((event.clone(), room.state.values().cloned().collect()));
        room.push(&event);
        event
    }

    fn let_tell(self, peer: &Peer) {
        let told = Rc::new(self.told);
        // A path has the id with its `$` escaped.
        let place = |told: &[(Rc<Pdu>, Vec<OwnedEventId>)], path: &str| {
            told.iter().position(|(event, _)| path.contains(&event.event_id.as_str()[1..]))
        };
        let past = told.clone();
        peer.on("GET", "/backfill/", move |request| {
            let from = place(&past, &request.uri().to_string()).map_or(0, |place| place + 1);
            let pdus: Vec<_> =
                past[from.saturating_sub(Self::PAGE)..from].iter().map(|(event, _)| value(event)).collect();
            (200, json!({ "origin": "a.example", "origin_server_ts": 1, "pdus": pdus }))
        });
        peer.on("GET", "/state_ids/", move |request| {
            let state = &told[place(&told, &request.uri().to_string()).unwrap()].1;
            (200, json!({ "pdu_ids": state, "auth_chain_ids": state }))
        });
    }
}

#[test]
fn of_the_past_is_shown_what_the_policy_server_of_that_time_recommends() {
    let network = Network::new();
    let (server, peer, policy) = (network.server(), network.peer(), network.peer());
    let (bob, mole, guard) = (server.register("bob"), peer.user("mole"), policy.user("guard"));
    let mut room = PeerRoom::create(&peer, &mole, &ruma::RoomVersionId::V11);
    room.add(&policy, &guard, "m.room.member", Some(guard.as_str()), json!({ "membership": "join" }));
    signs(&policy, policy_key());
    let mut past = Past::default();
    let say = |past: &mut Past, room: &mut PeerRoom, text: &str| {
        let event = room.clone().say(&peer, &mole, text);
        past.add(room, event, |_| ())
    };
    let names = |past: &mut Past, room: &mut PeerRoom, named: Value| {
        let event = room.clone().add(&peer, &mole, "m.room.policy", Some(""), named);
        past.add(room, event, |_| ());
    };
    say(&mut past, &mut room, "before there was one");
    let free = say(&mut past, &mut room, SPAM);
    names(&mut past, &mut room, content(policy.name().as_str(), &policy_key()));
    say(&mut past, &mut room, "good morning");
    let signed = room.clone().say(&peer, &mole, "signed");
    past.add(&mut room, signed, |event| {
        event["signatures"][policy.name().as_str()] =
            json!({ "ed25519:policy_server": signature(event, &policy_key()) });
    });
    let spam = say(&mut past, &mut room, SPAM);
    let more_spam = say(&mut past, &mut room, SPAM);
    names(&mut past, &mut room, json!({}));
    say(&mut past, &mut room, "after it");
    room.lets_in(&peer, &bob.id);
    past.let_tell(&peer);
    server.join_via(&bob, &room.id, peer.name()).ok();
    policy.take_heard();
    let mut said = Vec::new();
    for _ in 0..10 {
        said = server.said_in(&bob, &room.id);
        network.settle();
    }
    assert_eq!(said, ["before there was one", SPAM, "good morning", "signed", "after it"]);
    let asked: Vec<_> =
        policy.take_heard().into_iter().filter(|(path, _)| path == SIGN).map(|(_, event)| event).collect();
    let text = |event: &Value| event["content"]["body"].as_str().unwrap().to_owned();
    let mut texts: Vec<_> = asked.iter().map(text).collect();
    texts.sort();
    assert_eq!(texts, [SPAM, SPAM, "good morning"], "each once, about what it had a say in and had not signed");
    // It is kept, and counts, and what came before it was still to be had.
    for event in [&free, &spam, &more_spam] {
        assert!(server.inspected_event(event.event_id.as_str()).is_some());
    }
}

#[test]
fn of_the_past_nothing_is_shown_that_nobody_could_be_asked_about() {
    let network = Network::new();
    let (server, peer, policy) = (network.server(), network.peer(), network.peer());
    let (bob, mole, guard) = (server.register("bob"), peer.user("mole"), policy.user("guard"));
    let mut room = PeerRoom::create(&peer, &mole, &ruma::RoomVersionId::V11);
    room.add(&policy, &guard, "m.room.member", Some(guard.as_str()), json!({ "membership": "join" }));
    room.add(&peer, &mole, "m.room.policy", Some(""), content(policy.name().as_str(), &policy_key()));
    let mut past = Past::default();
    for text in ["one", "two", "three"] {
        let event = room.clone().say(&peer, &mole, text);
        past.add(&mut room, event, |_| ());
    }
    let event = room.clone().add(&peer, &mole, "m.room.policy", Some(""), json!({}));
    past.add(&mut room, event, |_| ());
    room.lets_in(&peer, &bob.id);
    past.let_tell(&peer);
    server.join_via(&bob, &room.id, peer.name()).ok();
    network.link(server.server_name(), policy.name(), Link::Down);
    for _ in 0..5 {
        assert!(server.said_in(&bob, &room.id).is_empty());
        network.settle();
    }
}
