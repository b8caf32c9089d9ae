//! Joining rooms of other servers, and letting other servers' users in.
use bytes::Bytes;
use serde_json::json;
use warren::domain::room_version::SUPPORTED;

use crate::{
    federation_network::{Link, Network},
    federation_peer::PeerRoom,
};

#[test]
fn a_room_is_joined_through_a_server_that_is_in_it() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    for version in SUPPORTED {
        let room = a.create_room(&alice, json!({ "preset": "public_chat", "room_version": version, "name": "Burrow" }));
        b.join_via(&bob, &room, a.server_name()).ok();
        assert_eq!(a.state_of(&room), b.state_of(&room), "{version}");
        assert_eq!(a.heads_of(&room), b.heads_of(&room), "{version}");
        a.say(&alice, &room, "hello");
        network.settle();
        b.say(&bob, &room, "hi");
        network.settle();
        for (server, user) in [(&a, &alice), (&b, &bob)] {
            assert_eq!(server.said_in(user, &room), ["hello", "hi"], "{version}");
        }
        assert_eq!(a.heads_of(&room), b.heads_of(&room), "{version}");
    }
}

#[test]
fn who_joined_lets_the_next_one_in() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let c = network.server();
    let carol = c.register("carol");
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    c.join_via(&carol, &room, b.server_name()).ok();
    assert_eq!(a.membership(&room, &carol.id).as_deref(), Some("join"), "the first server hears of it");
    c.say(&carol, &room, "hello all");
    network.settle();
    assert_eq!(a.said_in(&alice, &room), ["hello all"]);
    assert_eq!(b.said_in(&bob, &room), ["hello all"]);
    assert_eq!(a.state_of(&room), c.state_of(&room));
    assert_eq!(b.state_of(&room), c.state_of(&room));
}

#[test]
fn the_second_user_of_a_server_joins_without_asking_anybody() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    network.cut(&a, &b);
    let ben = b.register("ben");
    b.join(&ben, &room);
    b.join_via(&bob, &room, a.server_name()).ok();
    network.reconnect(&a, &b);
    assert_eq!(a.membership(&room, &ben.id).as_deref(), Some("join"));
    assert_eq!(a.heads_of(&room), b.heads_of(&room));
}

#[test]
fn a_join_is_refused_with_the_reason_of_the_room() {
    let (_network, (a, alice), (b, bob)) = Network::pair();
    let private = a.create_room(&alice, json!({ "preset": "private_chat" }));
    b.join_via(&bob, &private, a.server_name()).is_error(403, "M_FORBIDDEN");
    let public = a.public_room(&alice);
    a.act(&alice, &public, "ban", &bob.id).ok();
    b.join_via(&bob, &public, a.server_name()).is_error(403, "M_FORBIDDEN");
    let nowhere = format!("!nowhere:{}", a.server_name());
    b.join_via(&bob, &nowhere, a.server_name()).is_error(404, "M_NOT_FOUND");
    assert!(b.inspected(&private).is_none() && b.inspected(&public).is_none(), "nothing is kept of what failed");
    let without_via = format!("/_matrix/client/v3/join/{public}");
    b.post(&without_via, &bob.token, json!({})).is_error(404, "M_NOT_FOUND");
}

#[test]
fn a_join_goes_on_to_the_next_server_when_one_is_of_no_use() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let useless = [network.peer(), network.peer(), network.peer()];
    network.link(b.server_name(), useless[0].name(), Link::Down);
    network.link(b.server_name(), useless[1].name(), Link::Says(200, Bytes::from_static(b"<html>")));
    network.link(b.server_name(), useless[2].name(), Link::Stalling);
    let room = a.public_room(&alice);
    let vias = useless.each_ref().map(|peer| format!("via={}", peer.name())).join("&");
    let path = format!("/_matrix/client/v3/join/{room}?{vias}&via={}", a.server_name());
    let pending = b.queue(crate::harness::request("POST", &path, Some(&bob.token), "{}"));
    network.patiently(&pending).ok();
    assert_eq!(a.state_of(&room), b.state_of(&room));
}

#[test]
fn a_connection_that_breaks_in_the_middle_costs_a_retry_and_not_the_join() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    for broken in ["make_join", "send_join"] {
        network.link(a.server_name(), b.server_name(), Link::For(broken, Box::new(Link::Mute)));
        let pending = b.start_join(&bob, &room, a.server_name());
        assert!(pending.take().is_none());
        network.link(a.server_name(), b.server_name(), Link::Up);
        network.patiently(&pending).ok();
        assert_eq!(a.state_of(&room), b.state_of(&room));
        assert_eq!(a.heads_of(&room), b.heads_of(&room));
        b.try_leave(&bob, &room).ok();
    }
}

#[test]
fn what_is_said_while_a_join_is_on_its_way_arrives() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    network.link(a.server_name(), b.server_name(), Link::For("send_join", Box::new(Link::Slow(2_000))));
    let pending = b.start_join(&bob, &room, a.server_name());
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("join"), "let in, and does not know it yet");
    a.say(&alice, &room, "welcome!");
    network.settle();
    network.advance(2_000);
    pending.take().expect("joined").ok();
    network.settle();
    assert_eq!(b.said_in(&bob, &room), ["welcome!"]);
}

#[test]
fn a_join_that_hangs_keeps_nobody_from_joining_another_room() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let dead = network.peer();
    network.link(b.server_name(), dead.name(), Link::Stalling);
    let hanging = b.start_join(&bob, &format!("!somewhere:{}", dead.name()), dead.name());
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    assert!(hanging.take().is_none());
    network.patiently(&hanging).is_error(502, "M_UNKNOWN");
}

#[test]
fn who_left_comes_back_through_those_it_knows() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    b.try_leave(&bob, &room).ok();
    a.say(&alice, &room, "missed");
    network.settle();
    b.join(&bob, &room);
    network.settle();
    a.say(&alice, &room, "welcome back");
    network.settle();
    assert_eq!(b.said_in(&bob, &room), ["missed", "welcome back"]);
    assert_eq!(a.state_of(&room), b.state_of(&room));
}

#[test]
fn a_peer_with_nothing_but_a_key_joins_as_the_specification_says() {
    let (network, (a, alice), _) = Network::pair();
    let peer = network.peer();
    let eve = peer.user("eve");
    for version in SUPPORTED {
        let room = a.create_room(&alice, json!({ "preset": "public_chat", "room_version": version }));
        let mut known = PeerRoom::join(&peer, &a, &room, &eve);
        assert_eq!(a.membership(&room, eve.as_str()).as_deref(), Some("join"));
        let said = known.say(&peer, &eve, "hello");
        assert_eq!(peer.send_pdu(&a, &said), None);
        assert_eq!(a.said_in(&alice, &room), ["hello"], "{version}");
    }
}
