//! Invites across servers: at once, later, refused, withdrawn, declined.
use serde_json::{Value, json};
use warren::domain::outbox::OUTBOX_INVITE_BACKOFF_MAX_MS;

use crate::{
    federation_network::{Link, Network, REQUEST_TIMEOUT_MS},
    harness::{TestServer, TestUser},
    talk::{kinds, next_batch},
};

fn private_room(server: &TestServer, user: &TestUser) -> String {
    server.create_room(user, json!({ "preset": "private_chat", "name": "Den" }))
}

/// What a user's sync tells of an invite to the room.
fn invited(server: &TestServer, user: &TestUser, room: &str) -> Option<Value> {
    server.sync(user, None, "")["rooms"]["invite"].get(room).cloned()
}

#[test]
fn an_invite_is_there_at_once_and_lets_its_bearer_in() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = private_room(&a, &alice);
    a.act(&alice, &room, "invite", &bob.id).ok();
    let invite = invited(&b, &bob, &room).expect("an invite");
    let told = kinds(&invite["invite_state"]["events"]);
    assert!(told.contains(&("m.room.name".to_owned(), String::new())), "{told:?}");
    assert!(told.contains(&("m.room.member".to_owned(), bob.id.clone())));
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("invite"));
    b.join(&bob, &room);
    network.settle();
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("join"));
    assert_eq!(invited(&b, &bob, &room), None);
}

#[test]
fn an_invite_to_a_server_that_is_away_is_delivered_when_it_returns() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = private_room(&a, &alice);
    for link in [Link::Down, Link::Stalling] {
        network.link(a.server_name(), b.server_name(), link.clone());
        let path = format!("/_matrix/client/v3/rooms/{room}/invite");
        let body = json!({ "user_id": bob.id }).to_string();
        let pending = a.queue(crate::harness::request("POST", &path, Some(&alice.token), body));
        network.patiently(&pending).ok();
        assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("invite"), "{link:?}");
        assert_eq!(a.homeserver.outbox()[0].waiting, 1, "{link:?}");
        network.reconnect(&a, &b);
        // What was under way when the link was mended has to fail first.
        network.advance(REQUEST_TIMEOUT_MS);
        network.advance(1_000);
        assert!(invited(&b, &bob, &room).is_some(), "{link:?}");
        assert!(a.homeserver.outbox().is_empty());
        b.try_leave(&bob, &room).ok();
        assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("leave"));
    }
}

#[test]
fn who_was_invited_long_ago_and_does_not_know_us_hears_of_it_soon_after_returning() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = private_room(&a, &alice);
    network.cut(&a, &b);
    a.act(&alice, &room, "invite", &bob.id).ok();
    for _ in 0..60 {
        network.advance(60_000);
    }
    // Nobody is told: a server that shares no room with us does not greet us.
    network.link(a.server_name(), b.server_name(), Link::Up);
    network.advance(OUTBOX_INVITE_BACKOFF_MAX_MS);
    assert!(invited(&b, &bob, &room).is_some());
    assert!(a.homeserver.outbox().is_empty());
}

#[test]
fn an_invite_waiting_to_be_delivered_survives_a_restart() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = private_room(&a, &alice);
    network.cut(&a, &b);
    a.act(&alice, &room, "invite", &bob.id).ok();
    let a = network.restart(a);
    network.reconnect(&a, &b);
    assert!(invited(&b, &bob, &room).is_some());
}

#[test]
fn a_refused_invite_leaves_the_room_as_it_was() {
    let (_network, (a, alice), (b, _)) = Network::pair();
    let room = private_room(&a, &alice);
    let before = a.state_of(&room);
    let nobody = format!("@nobody:{}", b.server_name());
    a.act(&alice, &room, "invite", &nobody).is_error(403, "M_FORBIDDEN");
    assert_eq!(a.state_of(&room), before);
    assert_eq!(a.membership(&room, &nobody), None);
}

#[test]
fn who_may_not_invite_bothers_nobody() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let content = json!({ "invite": 50 });
    let room = a.create_room(&alice, json!({ "preset": "private_chat", "power_level_content_override": content }));
    let anna = a.register("anna");
    a.act(&alice, &room, "invite", &anna.id).ok();
    a.join(&anna, &room);
    network.take_carried();
    a.act(&anna, &room, "invite", &bob.id).is_error(403, "M_FORBIDDEN");
    assert!(network.take_carried().is_empty());
    assert_eq!(invited(&b, &bob, &room), None);
}

#[test]
fn an_invite_is_withdrawn() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = private_room(&a, &alice);
    a.act(&alice, &room, "invite", &bob.id).ok();
    let since = next_batch(&b.sync(&bob, None, ""));
    a.act(&alice, &room, "kick", &bob.id).ok();
    assert!(b.sync(&bob, Some(&since), "")["rooms"]["leave"].get(&room).is_some(), "its end is told");
    assert_eq!(invited(&b, &bob, &room), None);
    b.join_via(&bob, &room, a.server_name()).is_error(403, "M_FORBIDDEN");

    // What was withdrawn before it could be delivered is never heard of.
    network.cut(&a, &b);
    a.act(&alice, &room, "invite", &bob.id).ok();
    a.act(&alice, &room, "kick", &bob.id).ok();
    network.reconnect(&a, &b);
    assert_eq!(invited(&b, &bob, &room), None);
    assert!(a.homeserver.outbox().is_empty());
}

#[test]
fn only_the_inviter_withdraws_an_invite() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = private_room(&a, &alice);
    a.act(&alice, &room, "invite", &bob.id).ok();
    let stranger = network.peer();
    let leave = json!({
        "type": "m.room.member", "room_id": room, "sender": stranger.user("eve"), "state_key": bob.id,
        "content": { "membership": "leave" }, "prev_events": [], "auth_events": [], "depth": 1,
        "origin_server_ts": 1,
    });
    let rules = warren::domain::room_version::rules(&ruma::RoomVersionId::V12).unwrap();
    let object = crate::federation_peer::object(leave);
    let leave = warren::domain::event::draft::seal_template(object, &stranger.identity, &rules).unwrap();
    assert!(stranger.send_pdu(&b, &leave).is_some());
    assert!(invited(&b, &bob, &room).is_some());
}

#[test]
fn a_declined_invite_is_gone_on_both_sides_or_at_least_here() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = private_room(&a, &alice);
    a.act(&alice, &room, "invite", &bob.id).ok();
    b.try_leave(&bob, &room).ok();
    assert_eq!(invited(&b, &bob, &room), None);
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("leave"));

    a.act(&alice, &room, "invite", &bob.id).ok();
    network.cut(&a, &b);
    b.try_leave(&bob, &room).ok();
    assert_eq!(invited(&b, &bob, &room), None, "the inviter being away keeps no invite on the screen");
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("invite"));
    b.try_leave(&bob, "!never:example.org").is_error(404, "M_NOT_FOUND");
}

#[test]
fn who_was_unbanned_can_be_invited_again() {
    let (_network, (a, alice), (b, bob)) = Network::pair();
    let room = private_room(&a, &alice);
    a.act(&alice, &room, "invite", &bob.id).ok();
    b.join(&bob, &room);
    b.settle();
    a.act(&alice, &room, "ban", &bob.id).ok();
    a.act(&alice, &room, "unban", &bob.id).ok();
    a.act(&alice, &room, "invite", &bob.id).ok();
    assert!(invited(&b, &bob, &room).is_some());
    b.join(&bob, &room);
    b.settle();
    assert_eq!(a.membership(&room, &bob.id).as_deref(), Some("join"));
}

#[test]
fn a_second_user_of_a_server_in_the_room_is_invited_once() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let ben = b.register("ben");
    let room = private_room(&a, &alice);
    a.act(&alice, &room, "invite", &bob.id).ok();
    b.join(&bob, &room);
    network.settle();
    let since = next_batch(&b.sync(&ben, None, ""));
    a.act(&alice, &room, "invite", &ben.id).ok();
    let told = b.sync(&ben, Some(&since), "");
    assert!(told["rooms"]["invite"].get(&room).is_some());
    let since = next_batch(&told);
    network.settle();
    assert_eq!(b.sync(&ben, Some(&since), "").get("rooms"), None, "told once");
    assert_eq!(a.state_of(&room), b.state_of(&room));
    b.join(&ben, &room);
    network.settle();
    assert_eq!(a.membership(&room, &ben.id).as_deref(), Some("join"));
}

#[test]
fn an_invite_as_state_reaches_the_invited() {
    let (_network, (a, alice), (b, bob)) = Network::pair();
    let room = private_room(&a, &alice);
    let content = json!({ "membership": "invite", "is_direct": true, "reason": "cake" });
    a.set_state(&alice, &room, "m.room.member", &bob.id, content);
    let invite = invited(&b, &bob, &room).expect("an invite");
    let events = invite["invite_state"]["events"].as_array().unwrap();
    let own = events.iter().find(|event| event["state_key"] == bob.id).unwrap();
    assert_eq!((&own["content"]["is_direct"], &own["content"]["reason"]), (&json!(true), &json!("cake")));
}

#[test]
fn who_wants_no_invites_is_not_invited_from_elsewhere() {
    let (_network, (a, alice), (b, bob)) = Network::pair();
    let config = format!("/_matrix/client/v3/user/{}/account_data/m.invite_permission_config", bob.id);
    b.put(&config, &bob.token, json!({ "default_action": "block" })).ok();
    let room = a.create_room(&alice, json!({}));
    a.act(&alice, &room, "invite", &bob.id).is_error(403, "M_INVITE_BLOCKED");
    assert_eq!(a.membership(&room, &bob.id), None);
    assert!(b.sync(&bob, None, "")["rooms"].get("invite").is_none());
    b.put(&config, &bob.token, json!({})).ok();
    a.act(&alice, &room, "invite", &bob.id).ok();
    assert!(b.sync(&bob, None, "")["rooms"]["invite"].get(&room).is_some());
}
