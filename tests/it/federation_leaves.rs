//! Leaving, kicking, banning and forgetting across servers.
use ruma::RoomVersionId;
use serde_json::{Value, json};
use warren::domain::{event::draft::seal_template, room_version::rules};

use crate::{
    federation_network::{Link, Network},
    federation_peer::{PeerRoom, object, value},
    talk::{escaped, next_batch},
};

#[test]
fn who_leaves_is_gone_everywhere_and_hears_no_more() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    b.try_leave(&bob, &room).ok();
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("leave"));
    assert!(!b.is_resident(&room));
    network.take_carried();
    a.say(&alice, &room, "in private");
    network.settle();
    assert!(network.take_carried().is_empty(), "nothing leaves for a server outside the room");
    b.put(&format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/1"), &bob.token, json!({ "body": "x" }))
        .is_error(403, "M_FORBIDDEN");
}

#[test]
fn a_leave_while_the_others_are_away_reaches_them_later() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    network.cut(&a, &b);
    b.try_leave(&bob, &room).ok();
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("join"));
    network.reconnect(&a, &b);
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("leave"));
}

#[test]
fn who_is_kicked_is_told_and_may_return() {
    let (_network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    let since = next_batch(&b.sync(&bob, None, ""));
    a.act(&alice, &room, "kick", &bob.id).ok();
    assert!(b.sync(&bob, Some(&since), "")["rooms"]["leave"].get(&room).is_some());
    assert!(!b.is_resident(&room));
    a.act(&alice, &room, "kick", &bob.id).is_error(403, "M_FORBIDDEN");
    b.join_via(&bob, &room, a.server_name()).ok();
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("join"));
}

#[test]
fn who_is_banned_stays_out_until_unbanned() {
    let (_network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    a.act(&alice, &room, "ban", &bob.id).ok();
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("ban"));
    b.join_via(&bob, &room, a.server_name()).is_error(403, "M_FORBIDDEN");
    b.try_leave(&bob, &room).is_error(403, "M_FORBIDDEN");
    a.act(&alice, &room, "ban", &bob.id).ok();
    a.act(&alice, &room, "unban", &bob.id).ok();
    a.act(&alice, &room, "unban", &bob.id).is_error(403, "M_FORBIDDEN");
    b.join_via(&bob, &room, a.server_name()).ok();
}

#[test]
fn without_power_nobody_is_kicked_or_banned() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    network.take_carried();
    for action in ["kick", "ban"] {
        b.act(&bob, &room, action, &alice.id).is_error(403, "M_FORBIDDEN");
    }
    assert!(network.take_carried().is_empty());
    assert_eq!(b.membership(&room, &alice.id).as_deref(), Some("join"));
}

#[test]
fn a_moderator_of_another_server_bans_here() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let c = network.server();
    let carol = c.register("carol");
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    c.join_via(&carol, &room, a.server_name()).ok();
    let levels = json!({ "users": { &bob.id: 50 }, "users_default": 0, "ban": 50 });
    a.set_state(&alice, &room, "m.room.power_levels", "", levels);
    network.settle();
    b.act(&bob, &room, "ban", &carol.id).ok();
    for server in [&a, &b, &c] {
        assert_eq!(server.membership(&room, &carol.id).as_deref(), Some("ban"));
    }
    assert!(!c.is_resident(&room));
}

#[test]
fn a_room_is_forgotten_once_it_is_left() {
    let (_network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    let forget = format!("/_matrix/client/v3/rooms/{}/forget", escaped(&room));
    b.post(&forget, &bob.token, json!({})).is_error(400, "M_UNKNOWN");
    b.try_leave(&bob, &room).ok();
    b.post(&forget, &bob.token, json!({})).ok();
    b.post("/_matrix/client/v3/rooms/!never:example.org/forget", &bob.token, json!({})).is_error(404, "M_NOT_FOUND");
    let left = b.sync(&bob, None, &crate::talk::filter(json!({ "room": { "include_leave": true } })));
    assert_eq!(left["rooms"]["leave"].get(&room), None);
    b.join_via(&bob, &room, a.server_name()).ok();
    assert!(b.sync(&bob, None, "")["rooms"]["join"].get(&room).is_some(), "joining brings it back");
}

#[test]
fn a_user_of_a_peer_leaves_through_the_template_of_a_server() {
    let (network, (a, alice), _) = Network::pair();
    let peer = network.peer();
    let eve = peer.user("eve");
    let room = a.public_room(&alice);
    crate::federation_peer::PeerRoom::join(&peer, &a, &room, &eve);
    let path = format!("/_matrix/federation/v1/make_leave/{}/{eve}", escaped(&room));
    let template = peer.ask(&a, "GET", &path, serde_json::Value::Null).ok();
    let rules = warren::domain::room_version::rules(&ruma::RoomVersionId::V12).unwrap();
    let event = crate::federation_peer::object(template["event"].clone());
    let leave = warren::domain::event::draft::seal_template(event, &peer.identity, &rules).unwrap();
    let path = format!("/_matrix/federation/v2/send_leave/{}/{}", escaped(&room), escaped(leave.event_id.as_str()));
    let body = crate::federation_peer::value(&leave);
    assert_eq!(peer.ask(&a, "PUT", &path, body.clone()).ok(), json!({}));
    assert_eq!(a.membership(&room, eve.as_str()).as_deref(), Some("leave"));
    assert_eq!(peer.ask(&a, "PUT", &path, body).ok(), json!({}), "once more is the same");
    network.link(a.server_name(), peer.name(), Link::Down);
    peer.ask(&a, "GET", &path.replace("v2/send_leave", "v1/make_leave"), serde_json::Value::Null)
        .is_error(400, "M_INVALID_PARAM");
}

#[test]
fn what_is_no_leave_makes_nobody_leave() {
    let (network, (a, alice), _) = Network::pair();
    let peer = network.peer();
    let (eve, mallory) = (peer.user("eve"), peer.user("mallory"));
    let room = a.public_room(&alice);
    let mut known = PeerRoom::join(&peer, &a, &room, &eve);
    let make = |user: &str| {
        let path = format!("/_matrix/federation/v1/make_leave/{}/{user}", escaped(&room));
        peer.ask(&a, "GET", &path, Value::Null)
    };
    make(&alice.id).is_error(403, "M_FORBIDDEN");
    make(mallory.as_str()).is_error(403, "M_FORBIDDEN");
    let template = make(eve.as_str()).ok()["event"].clone();
    let with = |field: &str, wanted: Value| {
        let mut template = template.clone();
        template[field] = wanted;
        seal_template(object(template), &peer.identity, &rules(&RoomVersionId::V12).unwrap()).unwrap()
    };
    let send = |id: &str, body: Value| {
        let path = format!("/_matrix/federation/v2/send_leave/{}/{}", escaped(&room), escaped(id));
        peer.ask(&a, "PUT", &path, body)
    };
    for wrong in [
        with("content", json!({ "membership": "join" })),
        with("content", json!({ "membership": "ban" })),
        with("type", json!("m.room.topic")),
        with("state_key", json!(mallory)),
        with("sender", json!(alice.id)),
        with("room_id", json!("!elsewhere")),
    ] {
        send(wrong.event_id.as_str(), value(&wrong)).is_error(400, "M_INVALID_PARAM");
    }
    let leave = with("content", json!({ "membership": "leave" }));
    send("$another", value(&leave)).is_error(400, "M_INVALID_PARAM");
    let mut altered = value(&leave);
    altered["content"]["reason"] = json!("not what was hashed");
    send(leave.event_id.as_str(), altered).is_error(400, "M_INVALID_PARAM");
    send(leave.event_id.as_str(), json!({})).is_error(400, "M_INVALID_PARAM");
    let mut without_depth = value(&leave);
    without_depth.as_object_mut().unwrap().remove("depth");
    send(leave.event_id.as_str(), without_depth).is_error(400, "M_INVALID_PARAM");
    assert_eq!(a.membership(&room, eve.as_str()).as_deref(), Some("join"));
    // How deep it says to be does not matter.
    let shallow = with("depth", json!(0));
    send(shallow.event_id.as_str(), value(&shallow)).ok();
    assert_eq!(a.membership(&room, eve.as_str()).as_deref(), Some("leave"));
    let gone = known.make(&peer, &eve, "m.room.message", None, json!({ "body": "still here?" }));
    peer.send_pdu(&a, &gone);
    assert!(a.said_in(&alice, &room).is_empty());
}
