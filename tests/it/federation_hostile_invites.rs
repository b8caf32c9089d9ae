//! Invite requests that are malformed, forged, misdirected or too many, and servers that answer ours so.
use std::rc::Rc;

use ruma::{OwnedUserId, RoomVersionId};
use serde_json::{Value, json};
use warren::{
    domain::{
        event::{Pdu, draft::seal_template},
        room_version::{self, SUPPORTED},
    },
    homeserver::rooms::invite,
};

use crate::{
    federation_network::Network,
    federation_peer::{Peer, PeerRoom, object, value},
    harness::{Answer, TestServer, TestUser},
    talk::{escaped, next_txn},
};

/// Bob's homeserver, and a room on a server that is but a key, whose owner invites.
struct Den {
    network: Network,
    server: TestServer,
    bob: TestUser,
    peer: Rc<Peer>,
    fox: OwnedUserId,
    room: PeerRoom,
}

impl Den {
    fn new() -> Self {
        Self::of(RoomVersionId::V12)
    }

    fn of(version: RoomVersionId) -> Self {
        let network = Network::new();
        let (server, peer) = (network.server(), network.peer());
        let bob = server.register("bob");
        let fox = peer.user("fox");
        let room = PeerRoom::create(&peer, &fox, &version);
        Self { network, server, bob, peer, fox, room }
    }

    fn invite(&mut self) -> Rc<Pdu> {
        let content = json!({ "membership": "invite" });
        self.room.make(&self.peer, &self.fox, "m.room.member", Some(&self.bob.id), content)
    }

    fn request(&self, invite: &Pdu) -> Value {
        json!({ "room_version": self.room.version, "event": value(invite), "invite_room_state": self.room.state_events() })
    }

    fn put(&self, room: &str, id: &str, body: Value) -> Answer {
        let path = format!("/_matrix/federation/v2/invite/{}/{}", escaped(room), escaped(id));
        let answer = self.peer.ask(&self.server, "PUT", &path, body);
        self.server.settle();
        answer
    }

    fn send(&self, invite: &Pdu, body: Value) -> Answer {
        self.put(&self.room.id, invite.event_id.as_str(), body)
    }

    fn invites(&self) -> usize {
        self.server.sync(&self.bob, None, "")["rooms"]["invite"].as_object().map_or(0, serde_json::Map::len)
    }
}

#[test]
fn a_good_invite_is_signed_and_shown() {
    for version in SUPPORTED {
        let mut den = Den::of(version);
        let invite = den.invite();
        let answer = den.send(&invite, den.request(&invite)).ok();
        let signatures = answer["event"]["signatures"].as_object().unwrap();
        assert!(signatures.contains_key(den.server.server_name().as_str()), "{signatures:?}");
        assert!(signatures.contains_key(den.peer.name().as_str()));
        assert_eq!(den.invites(), 1);
        den.send(&invite, den.request(&invite)).ok();
        assert_eq!(den.invites(), 1, "twice is once");
    }
}

#[test]
fn what_is_no_invite_for_us_is_not_signed() {
    let mut den = Den::new();
    let invite = den.invite();
    let good = den.request(&invite);
    den.send(&invite, json!({})).is_error(400, "M_MISSING_PARAM");
    den.send(&invite, json!({ "room_version": "12", "event": 5, "invite_room_state": [] }))
        .is_error(400, "M_INVALID_PARAM");
    den.put(&den.room.id, "$another", good.clone()).is_error(400, "M_INVALID_PARAM");
    den.put("!another", invite.event_id.as_str(), good.clone()).is_error(400, "M_INVALID_PARAM");
    for version in ["0", "13", "nonsense"] {
        let mut unsupported = good.clone();
        unsupported["room_version"] = json!(version);
        den.send(&invite, unsupported).is_error(400, "M_INCOMPATIBLE_ROOM_VERSION");
    }
    let mut altered = good.clone();
    altered["event"]["content"]["displayname"] = json!("Bobby");
    den.send(&invite, altered).is_error(400, "M_INVALID_PARAM");
    let mut forged = good.clone();
    forged["event"]["sender"] = json!(format!("@mayor:{}", den.server.server_name()));
    den.send(&invite, forged).is_error(400, "M_INVALID_PARAM");

    let other = |target: &str, membership: &str| {
        let content = json!({ "membership": membership });
        let event = den.room.clone().make(&den.peer, &den.fox, "m.room.member", Some(target), content);
        den.send(&event, den.request(&event))
    };
    let bob = den.bob.id.clone();
    let elsewhere = format!("@bob:{}", den.peer.name());
    let nobody = format!("@nobody:{}", den.server.server_name());
    other(&bob, "join").is_error(400, "M_INVALID_PARAM");
    other(&bob, "leave").is_error(400, "M_INVALID_PARAM");
    other(&elsewhere, "invite").is_error(400, "M_INVALID_PARAM");
    other("nonsense", "invite").is_error(400, "M_INVALID_PARAM");
    other(&nobody, "invite").is_error(403, "M_FORBIDDEN");
    assert_eq!(den.invites(), 0);
}

#[test]
fn nobody_invites_in_the_name_of_another_server() {
    let mut den = Den::new();
    let invite = den.invite();
    let thief = den.network.peer();
    let path = format!("/_matrix/federation/v2/invite/{}/{}", escaped(&den.room.id), escaped(invite.event_id.as_str()));
    thief.ask(&den.server, "PUT", &path, den.request(&invite)).is_error(403, "M_FORBIDDEN");
    assert_eq!(den.invites(), 0);
}

#[test]
fn what_comes_with_an_invite_is_checked_and_bounded() {
    let mut den = Den::new();
    let invite = den.invite();
    let good = den.request(&invite);
    let with_state = |state: Value| {
        let mut body = good.clone();
        body["invite_room_state"] = state;
        body
    };
    let create = good["invite_room_state"].as_array().unwrap().iter().find(|event| event["type"] == "m.room.create");
    let create = create.unwrap().clone();
    den.send(&invite, with_state(json!([]))).is_error(400, "M_INVALID_PARAM");
    den.send(&invite, with_state(json!(vec![create.clone(); 101]))).is_error(400, "M_INVALID_PARAM");
    let stripped = |size: usize| json!({ "type": "m.room.topic", "state_key": "", "sender": den.fox, "content": { "topic": "x".repeat(size) } });
    let huge = json!([create.clone(), stripped(100_000), stripped(100_000), stripped(100_000)]);
    den.send(&invite, with_state(huge)).is_error(400, "M_INVALID_PARAM");
    for malformed in
        [json!(5), json!("x"), json!({ "type": 7 }), json!({ "type": "m.room.name", "state_key": "", "content": {} })]
    {
        let answer = den.send(&invite, with_state(json!([create.clone(), malformed.clone()])));
        assert_eq!(answer.status, 400, "{malformed}: {}", answer.body);
    }
    let mut forged = create.clone();
    forged["content"]["type"] = json!("m.space");
    forged["sender"] = json!(den.bob.id);
    den.send(&invite, with_state(json!([create.clone(), forged]))).is_error(400, "M_INVALID_PARAM");
    let other = PeerRoom::create(&den.peer, &den.fox, &RoomVersionId::V12);
    den.send(&invite, with_state(json!(other.state_events()))).is_error(400, "M_INVALID_PARAM");
    assert_eq!(den.invites(), 0);

    // What says too much beside its four fields says it to nobody.
    let mut talkative = stripped(5);
    talkative["unsigned"] = json!({ "secret": true });
    den.send(&invite, with_state(json!([create, talkative]))).ok();
    let told = den.server.sync(&den.bob, None, "")["rooms"]["invite"][&den.room.id]["invite_state"]["events"].clone();
    let topic = told.as_array().unwrap().iter().find(|event| event["type"] == "m.room.topic").unwrap();
    assert_eq!(topic["content"]["topic"], "xxxxx");
    assert!(topic.get("unsigned").is_none());
    let own = told.as_array().unwrap().iter().find(|event| event["type"] == "m.room.member").unwrap();
    assert_eq!(own["content"], json!({ "membership": "invite" }));
}

#[test]
fn a_flood_of_invites_stops_at_the_brim() {
    let mut den = Den::new();
    for n in 0..invite::INVITES_HELD_MAX + 2 {
        den.room = PeerRoom::create(&den.peer, &den.fox, &RoomVersionId::V11);
        let invite = den.invite();
        let answer =
            den.send(&invite, json!({ "room_version": "11", "event": value(&invite), "invite_room_state": [] }));
        if n < invite::INVITES_HELD_MAX {
            answer.ok();
        } else {
            answer.is_error(429, "M_LIMIT_EXCEEDED");
        }
    }
    assert_eq!(den.invites(), invite::INVITES_HELD_MAX);
    // Others of the server are not concerned, and an answer makes room.
    let ben = den.server.register("ben");
    let content = json!({ "membership": "invite" });
    let for_ben = den.room.make(&den.peer, &den.fox, "m.room.member", Some(&ben.id), content);
    let body = |invite: &Pdu| json!({ "room_version": "11", "event": value(invite), "invite_room_state": [] });
    den.send(&for_ben, body(&for_ben)).ok();
    let first =
        den.server.sync(&den.bob, None, "")["rooms"]["invite"].as_object().unwrap().keys().next().unwrap().clone();
    den.server.try_leave(&den.bob, &first).ok();
    let invite = den.invite();
    den.send(&invite, body(&invite)).ok();
}

#[test]
fn nobody_is_invited_by_request_to_a_room_we_see_for_ourselves() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let (alice, bob) = (server.register("alice"), server.register("bob"));
    let room = server.create_room(&alice, json!({ "preset": "private_chat" }));
    // Eve is not in the room and says that she invites Bob to it.
    let eve = peer.user("eve");
    let mut claimed = PeerRoom::create(&peer, &eve, &RoomVersionId::V12);
    claimed.id = room.clone();
    let content = json!({ "membership": "invite" });
    let invite = claimed.make(&peer, &eve, "m.room.member", Some(&bob.id), content);
    let path = format!("/_matrix/federation/v2/invite/{}/{}", escaped(&room), escaped(invite.event_id.as_str()));
    peer.ask(&server, "PUT", &path, json!({ "room_version": "12", "event": value(&invite), "invite_room_state": [] }));
    assert_eq!(server.sync(&bob, None, "").get("rooms"), None);
}

#[test]
fn an_invited_server_that_answers_wrongly_is_not_let_in() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let alice = server.register("alice");
    let room = server.create_room(&alice, json!({ "preset": "private_chat" }));
    let dan = peer.user("dan");
    let before = server.state_of(&room);
    for (status, answer) in [
        (200, json!({})),
        (200, json!({ "event": 5 })),
        (200, json!({ "event": { "type": "m.room.member" } })),
        (403, json!({ "errcode": "M_FORBIDDEN", "error": "no" })),
        (400, json!({ "errcode": "M_UNSUPPORTED_ROOM_VERSION", "error": "too new" })),
        (404, json!("nothing")),
    ] {
        peer.unlearn();
        peer.says("PUT", "/invite/", status, answer.clone());
        let refused = server.act(&alice, &room, "invite", dan.as_str());
        assert!([403, 404, 502].contains(&refused.status.as_u16()), "{answer}: {} {}", refused.status, refused.body);
        assert_eq!(server.state_of(&room), before, "{answer}");
    }
    // It gives another event back than it was asked to sign.
    peer.unlearn();
    peer.on("PUT", "/invite/", |request| {
        let asked: Value = serde_json::from_slice(request.body()).unwrap();
        let mut event = asked["event"].clone();
        event["content"]["reason"] = json!("I invited myself");
        (200, json!({ "event": event }))
    });
    server.act(&alice, &room, "invite", dan.as_str()).is_error(502, "M_UNKNOWN");
    assert_eq!(server.state_of(&room), before);
    peer.unlearn();
    peer.on("PUT", "/invite/", |request| {
        let asked: Value = serde_json::from_slice(request.body()).unwrap();
        (200, json!({ "event": asked["event"] }))
    });
    server.act(&alice, &room, "invite", dan.as_str()).ok();
    assert_eq!(server.membership(&room, dan.as_str()).as_deref(), Some("invite"));
}

#[test]
fn a_server_that_does_not_know_the_rooms_version_is_not_invited() {
    let network = Network::new();
    let (server, peer) = (network.server(), network.peer());
    let alice = server.register("alice");
    let room = server.create_room(&alice, json!({ "preset": "private_chat" }));
    let refusal = json!({ "errcode": "M_INCOMPATIBLE_ROOM_VERSION", "error": "no", "room_version": "12" });
    peer.says("PUT", "/invite/", 400, refusal);
    let eve = peer.user("eve");
    server.act(&alice, &room, "invite", eve.as_str()).is_error(400, "M_UNSUPPORTED_ROOM_VERSION");
    assert_eq!(server.membership(&room, eve.as_str()), None);
}

#[test]
fn an_invite_as_of_old_is_of_a_room_of_old() {
    let mut den = Den::new();
    let invite = den.invite();
    let path = |id: &str| format!("/_matrix/federation/v1/invite/{}/{}", escaped(&den.room.id), escaped(id));
    let put = |path: &str, body: Value| den.peer.ask(&den.server, "PUT", path, body);
    let good = path(invite.event_id.as_str());
    // It says no version, so it is of one of the first two, whose events are others.
    let answer = put(&good, value(&invite));
    assert_eq!(answer.status, 400, "{}", answer.body);
    put(&good, json!({ "unsigned": { "invite_room_state": "all" } })).is_error(400, "M_BAD_JSON");
    put(&good, json!([])).is_error(400, "M_BAD_JSON");
    put(&path("nonsense"), value(&invite)).is_error(400, "M_INVALID_PARAM");
    assert_eq!(den.invites(), 0);
}

/// Alice's room on one homeserver, to which Bob of another is invited, and Eve, whose server knows the room's id and no more.
struct Usurper {
    network: Network,
    a: TestServer,
    alice: TestUser,
    b: TestServer,
    bob: TestUser,
    room: String,
    stranger: Rc<Peer>,
}

impl Usurper {
    fn new() -> Self {
        let (network, (a, alice), (b, bob)) = Network::pair();
        let room = a.create_room(&alice, json!({ "preset": "private_chat", "room_version": "11" }));
        a.act(&alice, &room, "invite", &bob.id).ok();
        let stranger = network.peer();
        Self { network, a, alice, b, bob, room, stranger }
    }

    fn member(&self, membership: &str) -> Pdu {
        let event = json!({
            "type": "m.room.member", "room_id": self.room, "sender": self.stranger.user("eve"), "state_key": self.bob.id,
            "content": { "membership": membership }, "prev_events": [], "auth_events": [], "depth": 1,
            "origin_server_ts": next_txn(),
        });
        let rules = room_version::rules(&RoomVersionId::V11).unwrap();
        seal_template(object(event), &self.stranger.identity, &rules).unwrap()
    }

    /// Eve invites Bob as well.
    fn take_the_place(&self) {
        let invite = self.member("invite");
        let id = escaped(invite.event_id.as_str());
        let path = format!("/_matrix/federation/v2/invite/{}/{id}", escaped(&self.room));
        let body = json!({ "room_version": "11", "event": value(&invite), "invite_room_state": [] });
        self.stranger.ask(&self.b, "PUT", &path, body).ok();
    }

    /// Who invites Bob, as he is told.
    fn inviter(&self) -> Option<String> {
        let told = self.b.sync(&self.bob, None, "")["rooms"]["invite"][&self.room]["invite_state"]["events"].clone();
        let of_bob = |event: &&Value| event["type"] == "m.room.member" && event["state_key"] == json!(self.bob.id);
        Some(told.as_array()?.iter().find(of_bob)?["sender"].as_str()?.to_owned())
    }
}

#[test]
fn an_invite_is_not_lost_to_one_of_a_server_that_is_not_in_the_room() {
    let story = Usurper::new();
    let Usurper { a, alice, b, bob, room, stranger, .. } = &story;
    (0..2).for_each(|_| story.take_the_place());
    assert_eq!(story.inviter().as_deref(), Some(stranger.user("eve").as_str()));
    assert_eq!(stranger.send_pdu(b, &story.member("leave")), None);
    assert_eq!(story.inviter().as_ref(), Some(&alice.id), "who withdraws an invite withdraws one's own");
    story.take_the_place();
    b.join(bob, room);
    b.settle();
    assert_eq!(a.membership(room, &bob.id).as_deref(), Some("join"));
}

#[test]
fn an_earlier_invite_is_withdrawn_by_who_sent_it() {
    let story = Usurper::new();
    story.take_the_place();
    story.a.act(&story.alice, &story.room, "kick", &story.bob.id).ok();
    story.network.settle();
    assert!(story.inviter().is_some());
    assert_eq!(story.stranger.send_pdu(&story.b, &story.member("leave")), None);
    assert_eq!(story.inviter(), None);
}
