//! Many servers that join at once: how many are let in at a time, what the others are told, and what a server makes of being
//! told to come back.
use std::{collections::BTreeSet, rc::Rc};

use bytes::Bytes;
use ruma::{OwnedUserId, RoomVersionId, ServerName};
use serde_json::{Value, json};
use warren::{
    api::Origin,
    domain::turnstile::{AWAY_MAX_MS, INSIDE_MAX, OF_ONE_MAX, WAITING_MAX},
};

use crate::{
    federation_network::{Link, Network, join_path},
    federation_peer::{Peer, PeerRoom, value},
    harness::{Answer, Pending, TestServer, request},
    talk::escaped,
};

/// Has these servers' users ask for templates one after the other, and then send their joins all at once; the store takes its
/// time from then on.
fn all_at_once(server: &TestServer, room: &str, who: &[(Rc<Peer>, OwnedUserId)]) -> Vec<Pending> {
    let signed = |(peer, user): &(Rc<Peer>, OwnedUserId)| PeerRoom::make_join(peer, server, room, user).1;
    let joins: Vec<_> = who.iter().map(signed).collect();
    server.make_slow(7);
    let send = |((peer, _), join): (&(Rc<Peer>, OwnedUserId), warren::domain::event::Pdu)| {
        let path = format!("/_matrix/federation/v2/send_join/{}/{}", escaped(room), escaped(join.event_id.as_str()));
        server.queue_as(Origin::Peer(peer.key()), peer.request(server.server_name(), "PUT", &path, &value(&join)))
    };
    who.iter().zip(joins).map(send).collect()
}

/// As many joins as there is room for, and `more`, each of another server.
fn a_storm(network: &Network, server: &TestServer, room: &str, more: usize) -> Vec<(Rc<Peer>, Pending)> {
    let who: Vec<_> = (0..INSIDE_MAX + WAITING_MAX + more).map(|_| network.peer()).collect();
    let who: Vec<_> = who.into_iter().map(|peer| (peer.clone(), peer.user("guest"))).collect();
    let joins = all_at_once(server, room, &who);
    who.into_iter().map(|(peer, _)| peer).zip(joins).collect()
}

/// What a server that is turned away reads: in how many milliseconds it may come back.
#[track_caller]
fn wait_of(answer: &Answer) -> u64 {
    answer.is_error(429, "M_LIMIT_EXCEEDED");
    let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert_eq!(answer.body["retry_after_ms"], seconds * 1_000, "header and body agree");
    assert!((1..=AWAY_MAX_MS / 1_000).contains(&seconds));
    seconds * 1_000
}

fn make_join(peer: &Peer, server: &TestServer, room: &str, user: &OwnedUserId) -> Pending {
    let versions = "ver=1&ver=10&ver=11&ver=12";
    let path = format!("/_matrix/federation/v1/make_join/{}/{user}?{versions}", escaped(room));
    server.queue_as(Origin::Peer(peer.key()), peer.request(server.server_name(), "GET", &path, &Value::Null))
}

/// A busy server's answer.
fn busy(wait_ms: u64, others: &[&ServerName]) -> Link {
    let error = json!({
        "errcode": "M_LIMIT_EXCEEDED", "error": "Later.", "retry_after_ms": wait_ms, "org.warren.others": others,
    });
    Link::Says(429, Bytes::from(error.to_string()))
}

#[test]
fn a_few_are_let_in_at_once_some_wait_and_the_rest_are_told_when_to_come_back() {
    let (network, (a, alice), _) = Network::pair();
    let room = a.public_room(&alice);
    let storm = a_storm(&network, &a, &room, 40);
    a.settle();
    let answers: Vec<_> =
        storm.iter().map(|(peer, join)| (peer, join.take().expect("nobody waits for ever"))).collect();
    let (joined, away): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, answer)| answer.status == 200);
    assert!(joined.len() >= INSIDE_MAX + WAITING_MAX && !away.is_empty(), "{} in, {} away", joined.len(), away.len());
    for (peer, answer) in &away {
        wait_of(answer);
        assert_eq!(a.membership(&room, peer.user("guest").as_str()), None);
    }
    for (peer, _) in away {
        PeerRoom::join(peer, &a, &room, &peer.user("guest"));
        assert_eq!(a.membership(&room, peer.user("guest").as_str()).as_deref(), Some("join"));
    }
}

#[test]
fn no_server_takes_all_the_places() {
    let (network, (a, alice), _) = Network::pair();
    let room = a.public_room(&alice);
    let (greedy, other) = (network.peer(), network.peer());
    let users = (0..OF_ONE_MAX + 8).map(|number| (greedy.clone(), greedy.user(&format!("user{number}"))));
    let who: Vec<_> = users.chain([(other.clone(), other.user("guest"))]).collect();
    let mut joins = all_at_once(&a, &room, &who);
    let others = joins.pop().unwrap();
    a.settle();
    let refused: Vec<_> = joins.iter().filter_map(Pending::take).filter(|answer| answer.status == 429).collect();
    assert!(!refused.is_empty());
    refused.iter().for_each(|answer| _ = wait_of(answer));
    others.take().unwrap().ok();
}

#[test]
fn who_is_turned_away_at_the_door_is_told_whom_else_to_ask() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    b.join_via(&bob, &room, a.server_name()).ok();
    let (newcomer, banned) = (network.peer(), network.peer());
    a.act(&alice, &room, "ban", banned.user("eve").as_str()).ok();
    let storm = a_storm(&network, &a, &room, 60);
    let turned_away = make_join(&newcomer, &a, &room, &newcomer.user("guest"));
    let refused = make_join(&banned, &a, &room, &banned.user("eve"));
    a.settle();
    let answer = turned_away.take().unwrap();
    wait_of(&answer);
    let others: Vec<&str> =
        answer.body["org.warren.others"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
    assert!(!others.is_empty() && others.len() <= 3);
    let inside: BTreeSet<_> =
        storm.iter().map(|(peer, _)| peer.name().as_str()).chain([b.server_name().as_str()]).collect();
    assert!(others.iter().all(|other| inside.contains(other)), "they are in the room: {others:?}");
    let refused = refused.take().unwrap();
    refused.is_error(403, "M_FORBIDDEN");
    assert!(refused.body["org.warren.others"].is_null(), "who may not come in is told nothing of who is there");
    let template = make_join(&newcomer, &a, &room, &newcomer.user("guest"));
    a.settle();
    template.take().unwrap().ok();
}

#[test]
fn messages_wait_for_a_few_joins_and_not_for_all_of_them() {
    let (network, (a, alice), _) = Network::pair();
    let room = a.public_room(&alice);
    let storm = a_storm(&network, &a, &room, 0);
    let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/storm", escaped(&room));
    let said =
        a.queue(request("PUT", &path, Some(&alice.token), json!({ "msgtype": "m.text", "body": "hi" }).to_string()));
    let mut stillborn = Box::pin(std::future::pending::<()>());
    while said.take().is_none() {
        a.run_a_little(1, &mut stillborn);
    }
    let answered = storm.iter().filter(|(_, join)| join.take().is_some()).count();
    assert!(answered <= 2 * INSIDE_MAX, "{answered} joins came before a message");
}

#[test]
fn a_busy_server_is_asked_again_when_it_said_and_no_sooner() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    for step in ["make_join", "send_join"] {
        network.link(b.server_name(), a.server_name(), Link::For(step, Box::new(busy(5_000, &[]))));
        network.take_carried();
        let pending = b.start_join(&bob, &room, a.server_name());
        network.link(b.server_name(), a.server_name(), Link::Up);
        network.advance(4_999);
        let asked = network.take_carried().iter().filter(|carried| carried.path.contains(step)).count();
        assert_eq!(asked, 1, "{step}: not before");
        network.patiently(&pending).ok();
        assert_eq!(a.heads_of(&room), b.heads_of(&room));
        b.try_leave(&bob, &room).ok();
    }
}

#[test]
fn others_that_a_busy_server_names_are_asked_at_once() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let c = network.server();
    let carol = c.register("carol");
    let room = a.public_room(&alice);
    c.join_via(&carol, &room, a.server_name()).ok();
    let nobody = network.peer();
    network.link(b.server_name(), nobody.name(), Link::Down);
    let own = b.server_name().to_owned();
    network.link(b.server_name(), a.server_name(), busy(20_000, &[&own, nobody.name(), c.server_name()]));
    let pending = b.start_join(&bob, &room, a.server_name());
    let before_ms = network.now_ms();
    network.patiently(&pending).ok();
    assert!(network.now_ms() - before_ms <= 3_000, "as long as it takes to give up who is not there");
    assert_eq!(b.heads_of(&room), c.heads_of(&room));
}

#[test]
fn patience_with_busy_servers_has_an_end_and_the_client_is_told_when_to_ask_again() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let room = a.public_room(&alice);
    let names: Vec<_> = (0..40).map(|_| network.peer()).collect();
    let others: Vec<&ServerName> = names.iter().map(|peer| peer.name()).collect();
    others.iter().for_each(|other| network.link(b.server_name(), other, Link::Down));
    // It takes three seconds to give up each of the three that are asked.
    for (link, most) in [(busy(86_400_000, &[]), 0), (busy(7_000, &others), 9_000)] {
        network.link(b.server_name(), a.server_name(), link);
        network.take_carried();
        let before_ms = network.now_ms();
        let pending = b.start_join(&bob, &room, a.server_name());
        let answer = network.patiently(&pending);
        answer.is_error(429, "M_LIMIT_EXCEEDED");
        assert!(answer.headers.contains_key("retry-after"));
        assert!(network.now_ms() - before_ms <= 60_000 + most, "within a minute, and what others cost");
        let asked = network.take_carried().iter().filter(|carried| carried.path.contains("make_join")).count();
        assert!(asked <= 9 + 3 * 4, "{asked} requests");
        assert!(b.inspected(&room).is_none(), "nothing is kept of what failed");
    }
}

#[test]
fn a_join_that_is_asked_for_twice_is_made_once() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let (public, private) = (a.public_room(&alice), a.create_room(&alice, json!({ "preset": "private_chat" })));
    network.link(b.server_name(), a.server_name(), Link::Slow(1_000));
    for (room, status) in [(&public, 200), (&private, 403)] {
        network.take_carried();
        let path = join_path(room, a.server_name());
        let twice = [0, 1].map(|_| b.queue(request("POST", &path, Some(&bob.token), "{}")));
        for pending in &twice {
            assert_eq!(network.patiently(pending).status, status);
        }
        let asked = network.take_carried().iter().filter(|carried| carried.path.contains("make_join")).count();
        assert_eq!(asked, 1, "{status}");
    }
    let again = b.queue(request("POST", &join_path(&private, a.server_name()), Some(&bob.token), "{}"));
    network.patiently(&again).is_error(403, "M_FORBIDDEN");
    let asked = network.take_carried().iter().filter(|carried| carried.path.contains("make_join")).count();
    assert_eq!(asked, 1, "what is over is done again");
}

#[test]
fn each_of_many_is_told_the_whole_state_and_what_it_rests_on() {
    for version in ["1", "6", "10", "12"] {
        let (network, (a, alice), (b, bob)) = Network::pair();
        let room = a.create_room(&alice, json!({ "preset": "public_chat", "room_version": version }));
        b.join_via(&bob, &room, a.server_name()).ok();
        for step in 0..12 {
            match step {
                // The state loses what it had, and what only that rested on is told no more.
                4 => drop(b.try_leave(&bob, &room).ok()),
                6 => drop(a.act(&alice, &room, "kick", network.peer().user("nobody").as_str())),
                8 => {
                    drop(a.set_state(&alice, &room, "m.room.join_rules", "", json!({ "join_rule": "public", "x": 1 })))
                }
                _ => {}
            }
            let peer = network.peer();
            let (_, join) = PeerRoom::make_join(&peer, &a, &room, &peer.user("guest"));
            let path =
                format!("/_matrix/federation/v2/send_join/{}/{}", escaped(&room), escaped(join.event_id.as_str()));
            let answer = peer.ask(&a, "PUT", &path, value(&join)).ok();
            a.settle();
            let known = PeerRoom::learn(&room, &RoomVersionId::try_from(version).unwrap(), &answer, &join);
            let in_chain: BTreeSet<_> =
                answer["auth_chain"].as_array().unwrap().iter().map(|raw| known.parse(raw).event_id).collect();
            let mut expected = BTreeSet::new();
            let mut pending: Vec<_> = known.state.values().filter(|id| **id != join.event_id).cloned().collect();
            while let Some(id) = pending.pop() {
                let event = known.events.get(&id).expect("nothing is left out");
                pending.extend(event.auth_events.iter().filter(|id| expected.insert((*id).clone())).cloned());
            }
            if version == "12" {
                expected.extend(known.state.iter().find(|(key, _)| key.0 == "m.room.create").map(|(_, id)| id.clone()));
            }
            assert_eq!(in_chain, expected, "version {version}, step {step}");
        }
    }
}

#[test]
fn who_came_back_past_a_ban_learns_of_it_from_those_who_know() {
    let (network, (a, alice), (b, bob)) = Network::pair();
    let c = network.server();
    let carol = c.register("carol");
    let room = a.public_room(&alice);
    for (server, user) in [(&b, &bob), (&c, &carol)] {
        server.join_via(user, &room, a.server_name()).ok();
    }
    network.settle();
    // Only a and b know of the ban; c, which does not, lets bob in again.
    network.cut(&a, &c);
    network.cut(&b, &c);
    a.act(&alice, &room, "ban", &bob.id).ok();
    network.settle();
    assert_eq!(b.membership(&room, &bob.id).as_deref(), Some("ban"));
    network.link(b.server_name(), c.server_name(), Link::Up);
    network.cut(&a, &b);
    b.join_via(&bob, &room, c.server_name()).ok();
    assert_eq!(b.membership(&room, &bob.id).as_deref(), Some("join"));
    network.cut(&b, &c);
    network.reconnect(&a, &c);
    network.settle();
    assert_eq!(c.membership(&room, &bob.id).as_deref(), Some("ban"), "c has heard of it");
    network.reconnect(&b, &c);
    network.reconnect(&a, &b);
    network.settle();
    assert_eq!(b.membership(&room, &bob.id).as_deref(), Some("ban"), "and so has b, again");
    assert!(!b.is_resident(&room));
}

#[test]
fn a_ban_that_was_lifted_is_not_brought_back_by_sending_it_again() {
    for said_meanwhile in [false, true] {
        let (network, (a, alice), (b, bob)) = Network::pair();
        let room = a.public_room(&alice);
        b.join_via(&bob, &room, a.server_name()).ok();
        let eve = network.peer();
        PeerRoom::join(&eve, &a, &room, &eve.user("eve"));
        a.act(&alice, &room, "ban", &bob.id).ok();
        let ban = &a.state_of(&room)[&("m.room.member".to_owned(), bob.id.clone())];
        let ban: Value = serde_json::from_str(&a.inspected_event(ban).unwrap().json).unwrap();
        if said_meanwhile {
            a.say(&alice, &room, "bob does not hear this");
        }
        a.act(&alice, &room, "unban", &bob.id).ok();
        if said_meanwhile {
            a.say(&alice, &room, "nor this");
        }
        b.join_via(&bob, &room, a.server_name()).ok();
        let heads = b.heads_of(&room);
        eve.send(&b, "again", &[ban], &[]).ok();
        assert_eq!(b.membership(&room, &bob.id).as_deref(), Some("join"));
        assert!(b.is_resident(&room));
        assert!(said_meanwhile || b.heads_of(&room) == heads, "nothing has changed");
    }
}
