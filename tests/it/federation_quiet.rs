//! What was missed while everybody was connected is found when a room has become quiet, and then there is silence.
use bytes::Bytes;
use serde_json::json;
use warren::homeserver::heads::quiet::QUIET_SPELL_MS;

use crate::{
    federation_network::{Link, Network},
    harness::{TestServer, TestUser},
};

const HOUR_MS: u64 = 3_600_000;
/// By then whatever happened in a room has been compared, and what was missed fetched and compared again.
const COMPARED_AFTER_MS: u64 = 6 * QUIET_SPELL_MS;

fn pass(network: &Network, ms: u64) {
    (0..ms / 1_000).for_each(|_| network.advance(1_000));
}

/// Transactions from one to the other are refused for good, so that they are given up.
fn loses(network: &Network, from: &TestServer, to: &TestServer) {
    let refusal = Link::Says(400, Bytes::from_static(br#"{ "errcode": "M_UNKNOWN", "error": "never" }"#));
    network.link_one_way(from.server_name(), to.server_name(), Link::For("/send/", Box::new(refusal)));
}

#[test]
fn what_was_missed_by_one_who_is_connected_comes_once_the_room_is_quiet() {
    for count in [2, 3, 7] {
        let network = Network::new();
        let (servers, room) = network.in_one_room(count);
        pass(&network, COMPARED_AFTER_MS);
        let (a, alice) = &servers[0];
        let (c, carol) = servers.last().unwrap();
        loses(&network, a, c);
        a.say(alice, &room, "did everybody hear that?");
        network.settle();
        assert!(c.said_in(carol, &room).is_empty(), "of {count}");
        network.link(a.server_name(), c.server_name(), Link::Up);
        pass(&network, COMPARED_AFTER_MS);
        assert_eq!(c.said_in(carol, &room), ["did everybody hear that?"], "of {count}");
    }
}

#[test]
fn a_comparison_that_gets_lost_is_made_again() {
    let network = Network::new();
    let (servers, room) = network.in_one_room(2);
    let [(a, alice), (b, bob)] = &servers[..] else { unreachable!() };
    pass(&network, COMPARED_AFTER_MS);
    loses(&network, a, b);
    a.say(alice, &room, "hello?");
    network.settle();
    network.link_one_way(a.server_name(), b.server_name(), Link::Stalling);
    pass(&network, 4 * QUIET_SPELL_MS);
    network.link_one_way(a.server_name(), b.server_name(), Link::Up);
    pass(&network, 4 * QUIET_SPELL_MS);
    assert_eq!(b.said_in(bob, &room), ["hello?"]);
}

#[test]
fn a_gap_is_filled_from_whoever_has_the_events() {
    let network = Network::new();
    let (servers, room) = network.in_one_room(3);
    let [(a, alice), _, (c, carol)] = &servers[..] else { unreachable!() };
    loses(&network, a, c);
    ["one", "two"].iter().for_each(|text| drop(a.say(alice, &room, text)));
    network.settle();
    network.link_one_way(a.server_name(), c.server_name(), Link::Up);
    // Its origin sends the third and answers nothing that it is asked.
    network.link_one_way(c.server_name(), a.server_name(), Link::Down);
    a.say(alice, &room, "three");
    network.settle();
    assert_eq!(c.said_in(carol, &room), ["one", "two", "three"]);
    assert!(c.staged_of(&room).is_empty());
}

#[test]
fn one_that_denies_what_it_has_is_not_the_last_to_be_asked() {
    let network = Network::new();
    let (servers, room) = network.in_one_room(3);
    let [(a, alice), _, (c, carol)] = &servers[..] else { unreachable!() };
    loses(&network, a, c);
    a.say(alice, &room, "one");
    network.settle();
    network.link_one_way(a.server_name(), c.server_name(), Link::Up);
    let nothing = Link::Says(404, Bytes::from_static(br#"{ "errcode": "M_NOT_FOUND", "error": "what event?" }"#));
    network.link_one_way(c.server_name(), a.server_name(), nothing);
    a.say(alice, &room, "two");
    network.settle();
    assert_eq!(c.said_in(carol, &room), ["one", "two"]);
}

/// Whoever is asked first has nothing, and nobody is told whom to ask.
#[test]
fn the_one_of_many_who_has_the_events_is_found() {
    let network = Network::new();
    let (servers, room) = network.in_one_room(9);
    pass(&network, COMPARED_AFTER_MS);
    let (a, alice) = &servers[0];
    for holder in 1..servers.len() {
        let text = format!("to {holder} alone");
        for (n, (other, _)) in servers.iter().enumerate().skip(1) {
            if n != holder {
                loses(&network, a, other);
            }
        }
        a.say(alice, &room, &text);
        network.settle();
        servers.iter().skip(1).for_each(|(other, _)| network.link(a.server_name(), other.server_name(), Link::Up));
        // Everybody hears what follows it, and its origin is gone before anybody can ask.
        for (other, _) in &servers[1..] {
            network.link_one_way(other.server_name(), a.server_name(), Link::Down);
        }
        a.say(alice, &room, &format!("after {text}"));
        network.settle();
        servers.iter().skip(1).for_each(|(other, _)| network.cut(a, other));
        pass(&network, COMPARED_AFTER_MS);
        for (n, (server, user)) in servers.iter().enumerate().skip(1) {
            let said = server.said_in(user, &room);
            assert!(said.contains(&text) && said.contains(&format!("after {text}")), "{n} of {holder}: {said:?}");
            assert!(server.staged_of(&room).is_empty());
        }
        for (other, _) in &servers[1..] {
            network.link(a.server_name(), other.server_name(), Link::Up);
            network.reconnect(a, other);
        }
        network.settle();
    }
}

#[test]
fn a_room_where_nothing_happens_is_silent() {
    let network = Network::new();
    let (servers, room) = network.in_one_room(7);
    servers.iter().for_each(|(server, user)| drop(server.say(user, &room, "hello")));
    network.settle();
    network.take_carried();
    pass(&network, COMPARED_AFTER_MS);
    let compared = network.take_carried();
    assert!(compared.len() <= 3 * servers.len(), "{} requests to compare seven servers", compared.len());
    pass(&network, HOUR_MS);
    let carried = network.take_carried();
    assert!(carried.is_empty(), "in an hour in which nothing happened: {carried:?}");
}

#[test]
fn somebody_who_never_answers_is_asked_about_ever_less() {
    let network = Network::new();
    let (mut servers, room) = network.in_one_room(4);
    let (gone, _) = servers.pop().unwrap();
    network.stop(gone);
    let (a, alice) = &servers[0];
    a.say(alice, &room, "is everybody here?");
    let asked: Vec<_> = (0..4)
        .map(|_| {
            pass(&network, HOUR_MS);
            network
                .take_carried()
                .iter()
                .filter(|carried| !carried.body["edus"][0]["content"]["absent"].is_null())
                .count()
        })
        .collect();
    assert!(asked[0] > 0 && asked[0] < 60, "{asked:?}");
    assert_eq!(asked[2..], [0, 0], "{asked:?}");
}

#[test]
fn one_that_was_put_out_and_not_told_learns_it_from_others() {
    let network = Network::new();
    let (servers, room) = network.in_one_room(3);
    let [(a, alice), (b, _), (c, carol)] = &servers[..] else { unreachable!() };
    let joined = |server: &TestServer, user: &TestUser| {
        server.get("/_matrix/client/v3/joined_rooms", &user.token).ok()["joined_rooms"].as_array().unwrap().len()
    };
    loses(&network, a, c);
    a.say(alice, &room, "before");
    a.post(&format!("/_matrix/client/v3/rooms/{room}/kick"), &alice.token, json!({ "user_id": carol.id })).ok();
    network.settle();
    network.cut(a, c);
    network.cut(b, c);
    pass(&network, COMPARED_AFTER_MS);
    assert_eq!(joined(c, carol), 1, "nobody has told it");
    network.reconnect(b, c);
    pass(&network, COMPARED_AFTER_MS);
    assert_eq!(joined(c, carol), 0);
    assert_eq!(c.said_in(carol, &room), ["before"], "and what came before that");
    network.take_carried();
    network.reconnect(b, c);
    pass(&network, COMPARED_AFTER_MS);
    assert!(network.take_carried().iter().all(|carried| carried.body["pdus"] == json!([])), "once");
}
