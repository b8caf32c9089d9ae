//! Rooms that let in who is in certain others: who vouches for whom, across servers, and forged permission.
use std::rc::Rc;

use ruma::{OwnedUserId, RoomVersionId};
use serde_json::{Value, json};
use warren::domain::event::{Pdu, draft::countersign};

use crate::{
    federation_network::Network,
    federation_peer::{Peer, PeerRoom, object, value},
    harness::{Answer, TestServer, TestUser},
    talk::escaped,
};

const VIA: &str = "join_authorised_via_users_server";

fn restricted_to(halls: &[&str]) -> Value {
    let allow: Vec<Value> = halls.iter().map(|hall| json!({ "type": "m.room_membership", "room_id": hall })).collect();
    json!({ "join_rule": "restricted", "allow": allow })
}

fn restricted_room(server: &TestServer, user: &TestUser, halls: &[&str], version: &RoomVersionId) -> String {
    let rule = json!({ "type": "m.room.join_rules", "state_key": "", "content": restricted_to(halls) });
    server.create_room(user, json!({ "preset": "private_chat", "room_version": version, "initial_state": [rule] }))
}

/// What the membership event of a user says in a room, as a server has it.
fn member(server: &TestServer, room: &str, user: &str) -> Value {
    let state = server.state_of(room);
    let event = server.inspected_event(&state[&("m.room.member".to_owned(), user.to_owned())]).unwrap();
    serde_json::from_str::<Value>(&event.json).unwrap()
}

fn try_join(server: &TestServer, user: &TestUser, room: &str) -> Answer {
    server.post(&format!("/_matrix/client/v3/rooms/{}/join", escaped(room)), &user.token, json!({}))
}

#[test]
fn who_is_in_the_hall_is_let_in_and_others_are_not() {
    let server = TestServer::new();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| server.register(name));
    let hall = server.public_room(&alice);
    for version in [RoomVersionId::V8, RoomVersionId::V9, RoomVersionId::V10, RoomVersionId::V11, RoomVersionId::V12] {
        let room = restricted_room(&server, &alice, &["!unknown", &hall], &version);
        server.join(&bob, &hall);
        try_join(&server, &bob, &room).ok();
        assert_eq!(member(&server, &room, &bob.id)["content"][VIA], alice.id.as_str());
        try_join(&server, &carol, &room).is_error(400, "M_UNABLE_TO_AUTHORISE_JOIN");
        let room = restricted_room(&server, &alice, &[&hall], &version);
        try_join(&server, &carol, &room).is_error(403, "M_FORBIDDEN");
        server.act_on(&alice, &room, "invite", &carol);
        try_join(&server, &carol, &room).ok();
        assert_eq!(member(&server, &room, &carol.id)["content"].get(VIA), None, "an invite needs no permission");
        server.act_on(&alice, &room, "ban", &bob);
        try_join(&server, &bob, &room).is_error(403, "M_FORBIDDEN");
        server.leave(&bob, &hall);
    }
}

#[test]
fn conditions_that_are_none_let_nobody_in() {
    let server = TestServer::new();
    let [alice, bob] = ["alice", "bob"].map(|name| server.register(name));
    let hall = server.public_room(&alice);
    server.join(&bob, &hall);
    for allow in [
        json!([]),
        json!([{ "type": "org.example.moon", "room_id": hall }]),
        json!([{ "type": "m.room_membership" }, { "type": "m.room_membership", "room_id": 5 }, 7]),
        json!("everybody"),
    ] {
        let content = json!({ "join_rule": "restricted", "allow": allow });
        let rule = json!({ "type": "m.room.join_rules", "state_key": "", "content": content });
        let room = server.create_room(&alice, json!({ "preset": "private_chat", "initial_state": [rule] }));
        try_join(&server, &bob, &room).is_error(403, "M_FORBIDDEN");
    }
}

#[test]
fn a_join_is_vouched_for_by_the_server_it_goes_through() {
    for version in [RoomVersionId::V8, RoomVersionId::V9, RoomVersionId::V10, RoomVersionId::V12] {
        let (network, (a, alice), (b, bob)) = Network::pair();
        let hall = a.public_room(&alice);
        let room = restricted_room(&a, &alice, &[&hall], &version);
        b.join_via(&bob, &room, a.server_name()).is_error(403, "M_FORBIDDEN");
        b.join_via(&bob, &hall, a.server_name()).ok();
        b.join_via(&bob, &room, a.server_name()).ok();
        let join = member(&a, &room, &bob.id);
        assert_eq!(join["content"][VIA], alice.id.as_str());
        for server in [&a, &b] {
            assert!(join["signatures"].get(server.server_name().as_str()).is_some(), "both sign it");
        }
        assert_eq!(a.state_of(&room), b.state_of(&room));
        // Bob's server is in both rooms now, and may not invite: it sends Ben on to one that may.
        let ben = b.register("ben");
        b.join(&ben, &hall);
        a.set_state(&alice, &room, "m.room.power_levels", "", power(&version, &alice, 50));
        network.settle();
        b.join_via(&ben, &room, a.server_name()).ok();
        assert_eq!(member(&b, &room, &ben.id)["content"][VIA], alice.id.as_str());
        network.settle();
        assert_eq!(a.state_of(&room), b.state_of(&room));
        assert_eq!(a.heads_of(&room), b.heads_of(&room));
        let bea = b.register("bea");
        b.join_via(&bea, &room, a.server_name()).is_error(403, "M_FORBIDDEN");
    }
}

/// Power levels in which only Alice may invite.
fn power(version: &RoomVersionId, alice: &TestUser, invite: i32) -> Value {
    let users = if *version == RoomVersionId::V12 { json!({}) } else { json!({ &alice.id: 100 }) };
    json!({ "users": users, "invite": invite })
}

#[test]
fn a_server_that_cannot_tell_or_cannot_grant_says_which() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let c = network.server();
    let carol = c.register("carol");
    let hall = a.public_room(&alice);
    let room = restricted_room(&a, &alice, &[&hall], &RoomVersionId::V12);
    b.join_via(&bob, &hall, a.server_name()).ok();
    b.join_via(&bob, &room, a.server_name()).ok();
    a.set_state(&alice, &room, "m.room.power_levels", "", power(&RoomVersionId::V12, &alice, 50));
    network.settle();
    c.join_via(&carol, &hall, a.server_name()).ok();
    network.cut(&a, &c);
    let pending = c.start_join(&carol, &room, b.server_name());
    network.patiently(&pending).is_error(400, "M_UNABLE_TO_GRANT_JOIN");
    b.try_leave(&bob, &hall).ok();
    let pending = c.start_join(&carol, &room, b.server_name());
    network.patiently(&pending).is_error(400, "M_UNABLE_TO_AUTHORISE_JOIN");
    network.reconnect(&a, &c);
    let both = format!("/_matrix/client/v3/join/{}?via={}&via={}", escaped(&room), b.server_name(), a.server_name());
    c.post(&both, &carol.token, json!({})).ok();
    network.settle();
    assert_eq!(b.membership(&room, &carol.id).as_deref(), Some("join"));
}

/// Alice's homeserver with a hall and a room for those in it, and Eve of a server that is but a key.
struct Siege {
    server: TestServer,
    alice: TestUser,
    peer: Rc<Peer>,
    eve: OwnedUserId,
    hall: String,
    room: String,
}

impl Siege {
    fn new() -> Self {
        let network = Network::new();
        let (server, peer) = (network.server(), network.peer());
        let alice = server.register("alice");
        let eve = peer.user("eve");
        let hall = server.public_room(&alice);
        let room = restricted_room(&server, &alice, &[&hall], &RoomVersionId::V12);
        Self { server, alice, peer, eve, hall, room }
    }

    fn send_join(&self, join: &Pdu) -> Answer {
        let path =
            format!("/_matrix/federation/v2/send_join/{}/{}", escaped(&self.room), escaped(join.event_id.as_str()));
        let answer = self.peer.ask(&self.server, "PUT", &path, value(join));
        self.server.settle();
        answer
    }

    fn is_in(&self) -> bool {
        self.server.membership(&self.room, self.eve.as_str()).as_deref() == Some("join")
    }
}

#[test]
fn permission_is_not_forged() {
    let siege = Siege::new();
    let path = format!("/_matrix/federation/v1/make_join/{}/{}?ver=12", escaped(&siege.room), siege.eve);
    siege.peer.ask(&siege.server, "GET", &path, Value::Null).is_error(403, "M_FORBIDDEN");
    let hall = PeerRoom::join(&siege.peer, &siege.server, &siege.hall, &siege.eve);
    let (_, join) = PeerRoom::make_join(&siege.peer, &siege.server, &siege.room, &siege.eve);
    assert_eq!(value(&join)["content"][VIA], siege.alice.id.as_str());
    let altered = |via: Option<&str>| {
        let mut content = value(&join);
        match via {
            Some(via) => content["content"][VIA] = json!(via),
            None => drop(content["content"].as_object_mut().unwrap().remove(VIA)),
        }
        warren::domain::event::draft::seal_template(object(content), &siege.peer.identity, &hall.rules).unwrap()
    };
    // By oneself, by somebody who does not exist, by nobody.
    siege.send_join(&altered(Some(siege.eve.as_str()))).is_error(400, "M_INVALID_PARAM");
    let nobody = format!("@nobody:{}", siege.server.server_name());
    siege.send_join(&altered(Some(&nobody))).is_error(403, "M_FORBIDDEN");
    siege.send_join(&altered(Some("nonsense"))).is_error(400, "M_INVALID_PARAM");
    siege.send_join(&altered(None)).is_error(403, "M_FORBIDDEN");
    // The signature is the server's, and is not to be had beside the door.
    assert!(siege.peer.send_pdu(&siege.server, &join).is_some());
    assert!(!siege.is_in());
    // What was granted a while ago is looked at again.
    siege.server.act(&siege.alice, &siege.hall, "kick", siege.eve.as_str()).ok();
    siege.send_join(&join).is_error(403, "M_FORBIDDEN");
    assert!(!siege.is_in());
}

#[test]
fn a_join_that_is_granted_comes_back_signed() {
    let siege = Siege::new();
    PeerRoom::join(&siege.peer, &siege.server, &siege.hall, &siege.eve);
    let (_, join) = PeerRoom::make_join(&siege.peer, &siege.server, &siege.room, &siege.eve);
    let answer = siege.send_join(&join).ok();
    assert!(answer["event"]["signatures"].get(siege.server.server_name().as_str()).is_some());
    assert!(siege.is_in());
    assert_eq!(siege.send_join(&join).ok()["event"], answer["event"], "twice is once");
}

#[test]
fn a_server_that_vouches_wrongly_is_not_joined_through() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let bob = server.register("bob");
    let mole = peer.user("mole");
    let mut room = PeerRoom::create(&peer, &mole, &RoomVersionId::V12);
    let hall = PeerRoom::create(&peer, &mole, &RoomVersionId::V12);
    room.add(&peer, &mole, "m.room.join_rules", Some(""), restricted_to(&[&hall.id]));
    let id: OwnedUserId = bob.id.as_str().try_into().unwrap();
    let template = |via: &str| {
        let content = json!({ "membership": "join", VIA: via });
        let event = value(&room.clone().make(&peer, &id, "m.room.member", Some(&bob.id), content));
        json!({ "room_version": "12", "event": event })
    };
    let join = |template: Value, sign: Rc<dyn Fn(Value) -> Value>| {
        peer.unlearn();
        peer.says("GET", "/make_join/", 200, template);
        let answer = json!({ "state": room.state_events(), "auth_chain": room.auth_chain() });
        peer.on("PUT", "/send_join/", move |request| {
            let mut answer = answer.clone();
            answer["event"] = sign(serde_json::from_slice(request.body()).unwrap());
            (200, answer)
        });
        server.join_via(&bob, &room.id, peer.name())
    };
    let as_sent: Rc<dyn Fn(Value) -> Value> = Rc::new(|event| event);
    for via in [bob.id.as_str(), "@x:elsewhere.example", "nonsense"] {
        join(template(via), as_sent.clone()).is_error(502, "M_UNKNOWN");
        assert!(!peer.take_heard().iter().any(|(path, _)| path.contains("send_join")), "{via}: nothing is signed");
    }
    let good = template(mole.as_str());
    join(good.clone(), as_sent.clone()).is_error(502, "M_UNKNOWN");
    join(good.clone(), Rc::new(|_| Value::Null)).is_error(502, "M_UNKNOWN");
    let another = good["event"].clone();
    join(good.clone(), Rc::new(move |_| another.clone())).is_error(502, "M_UNKNOWN");
    assert!(server.inspected(&room.id).is_none());

    let (signer, parser) = (peer.clone(), room.clone());
    let sign = move |event: Value| value(&countersign(&parser.parse(&event), &signer.identity, &parser.rules).unwrap());
    join(good, Rc::new(sign)).ok();
    assert_eq!(member(&server, &room.id, &bob.id)["content"][VIA], mole.as_str());
}
