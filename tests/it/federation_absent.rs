//! Servers that cannot reach each other hear of what happens from other members of the room.
use ruma::ServerName;
use serde_json::{Value, json};

use crate::{
    federation_network::{Carried, Network},
    federation_peer::PeerRoom,
};

/// Enough for a server to be missed, others to be asked, and the missed one to be greeted and to fetch.
const SOON_MS: u64 = 20_000;

fn heads_told(carried: &[Carried]) -> Vec<Value> {
    let edus = carried.iter().filter_map(|carried| carried.body["edus"].as_array()).flatten();
    edus.filter(|edu| edu["edu_type"] == "org.warren.heads").cloned().collect()
}

fn pass(network: &Network, ms: u64) {
    (0..ms / 500).for_each(|_| network.advance(500));
}

#[test]
fn what_cannot_be_sent_is_fetched_from_others_while_those_say_nothing() {
    let network = Network::new();
    let (servers, room) = network.in_one_room(3);
    let [(a, alice), _, (c, carol)] = &servers[..] else { unreachable!() };
    network.cut(a, c);
    a.say(alice, &room, "heard by way of another");
    network.settle();
    assert!(c.said_in(carol, &room).is_empty());
    pass(&network, SOON_MS);
    assert_eq!(c.said_in(carol, &room), ["heard by way of another"]);
    // Further ones go the same way, though the next attempt of our own may be minutes off by now.
    pass(&network, 600_000);
    for n in 0..3 {
        a.say(alice, &room, &format!("message {n}"));
        pass(&network, SOON_MS);
        assert_eq!(c.said_in(carol, &room).last().unwrap(), &format!("message {n}"));
    }
    c.say(carol, &room, "and back");
    pass(&network, SOON_MS);
    assert_eq!(a.said_in(alice, &room).last().unwrap(), "and back");
    assert_eq!(a.heads_of(&room), c.heads_of(&room));
}

#[test]
fn one_who_reaches_the_missing_is_found_among_many_who_do_not() {
    let network = Network::new();
    let (servers, room) = network.in_one_room(8);
    let (last, last_user) = &servers[7];
    servers[..6].iter().for_each(|(server, _)| network.cut(server, last));
    let (first, first_user) = &servers[0];
    first.say(first_user, &room, "does anybody know them?");
    // Every failed attempt asks others.
    pass(&network, 600_000);
    assert_eq!(last.said_in(last_user, &room), ["does anybody know them?"]);
}

#[test]
fn a_room_full_of_sleepers_costs_a_few_questions() {
    let network = Network::new();
    let (servers, room) = network.in_one_room(8);
    let (first, first_user) = &servers[0];
    servers[3..].iter().for_each(|(server, _)| {
        servers.iter().filter(|(other, _)| other.server_name() != server.server_name()).for_each(|(other, _)| {
            network.cut(other, server);
        });
    });
    first.say(first_user, &room, "who is awake?");
    network.settle();
    network.take_carried();
    pass(&network, 2_500);
    let told = heads_told(&network.take_carried());
    assert_eq!(told.len(), 2, "one question to each who is awake: {told:?}");
    assert!(told.iter().all(|edu| edu["content"]["absent"].as_array().unwrap().len() == 5));
}

#[test]
fn nobody_can_have_a_server_greeted_often_or_for_rooms_they_do_not_share() {
    let network = Network::new();
    let (servers, room) = network.in_one_room(2);
    let [(b, bob), (c, _)] = &servers[..] else { unreachable!() };
    let elsewhere = b.public_room(bob);
    let (member, stranger) = (network.peer(), network.peer());
    PeerRoom::join(&member, b, &room, &member.user("mallory"));
    network.settle();
    network.take_carried();
    let ask = |txn: &str, peer: &crate::federation_peer::Peer, room: &str, absent: &[&ServerName]| {
        let content = json!({ "rooms": { room: [] }, "answer": true, "absent": absent });
        peer.send(b, txn, &[], &[json!({ "edu_type": "org.warren.heads", "content": content })]).ok();
        network.settle();
    };
    let greeted = || heads_told(&network.take_carried()).len();
    ask("stranger", &stranger, &room, &[c.server_name()]);
    ask("elsewhere", &member, &elsewhere, &[c.server_name()]);
    ask("itself", &member, &room, &[b.server_name(), member.name(), stranger.name()]);
    pass(&network, SOON_MS);
    assert_eq!(greeted(), 0);
    (0..40).for_each(|n| ask(&format!("flood{n}"), &member, &room, &[c.server_name(); 60]));
    assert_eq!(greeted(), 1);
    pass(&network, SOON_MS);
    assert_eq!(greeted(), 1, "once more for all that came meanwhile");
    for (n, absent) in [json!("x"), json!(["not a name:"]), json!({}), json!(null)].into_iter().enumerate() {
        let content = json!({ "rooms": { &room: [] }, "answer": true, "absent": absent });
        let edu = json!({ "edu_type": "org.warren.heads", "content": content });
        member.send(b, &format!("bad{n}"), &[], &[edu]).ok();
    }
    pass(&network, SOON_MS);
    assert_eq!(greeted(), 0);
}
